# Expected: result.
import numpy as np
def operator(plane):
    return np.where(plane > 100, np.nan, 1.0)
