# Expected: impure.
import time
import numpy as np
def operator(plane):
    return np.full(plane.shape, time.time_ns() // 1000 % 251, np.uint8)
