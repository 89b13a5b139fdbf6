# Expected: impure.
import numpy as np
def operator(plane):
    return plane ^ np.uint8(hash("a text") % 251)
