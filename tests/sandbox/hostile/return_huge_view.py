# Expected: result.
import numpy as np
def operator(plane):
    return np.lib.stride_tricks.as_strided(plane, (1 << 20, 1 << 20), (0, 0))
