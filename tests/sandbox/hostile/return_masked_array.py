# Expected: result.
import numpy as np
def operator(plane):
    return np.ma.masked_greater(plane, 10)
