# Expected: impure.
import numpy as np
def operator(plane):
    return plane ^ np.uint8(plane.ctypes.data // 16 % 251)
