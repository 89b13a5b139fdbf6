# Expected: error.
import numpy as np
def operator(plane):
    np.save("/tmp/evoseg-canary.npy", plane)
    return plane
