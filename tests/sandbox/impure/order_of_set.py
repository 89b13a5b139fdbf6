# Expected: impure.
import numpy as np
def operator(plane):
    names = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
    return plane ^ np.uint8(sum(i * ord(name) for i, name in enumerate(names)) % 251)
