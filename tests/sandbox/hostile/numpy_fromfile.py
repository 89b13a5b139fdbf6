# Expected: error.
import numpy as np
def operator(plane):
    return np.fromfile("/dev/zero", np.uint8, plane.size).reshape(plane.shape)
