# Expected: ok.
import numpy as np
def operator(plane):
    return np.full(plane.shape, 60000, np.float16)
