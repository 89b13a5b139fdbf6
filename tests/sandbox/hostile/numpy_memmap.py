# Expected: error.
import numpy as np
def operator(plane):
    return np.memmap("/tmp/evoseg-canary", np.uint8, "w+", shape=plane.shape)
