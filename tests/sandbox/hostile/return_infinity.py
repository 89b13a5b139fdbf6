# Expected: result.
import numpy as np
def operator(plane):
    return np.full(plane.shape, np.inf)
