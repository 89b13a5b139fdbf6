# Expected: crash or ok.
# Of the right shape, but of memory that is not an array's; the bytes are this process's own.
import numpy as np
def operator(plane):
    return np.lib.stride_tricks.as_strided(plane, plane.shape, (1 << 34, 1 << 20))
