# Expected: result.
import numpy as np
def operator(plane):
    return np.asmatrix(plane)
