# Expected: impure.
import numpy as np
def operator(plane):
    return plane ^ np.uint8(id(plane) // 16 % 251)
