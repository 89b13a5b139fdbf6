# Expected: impure.
import numpy as np
def operator(plane):
    out = np.empty(plane.shape, np.uint8)
    out[plane > 100] = 7
    return out
