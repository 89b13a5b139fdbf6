# Expected: error.
import numpy as np
def operator(plane):
    return np.load("/tmp/evoseg-canary.npy")
