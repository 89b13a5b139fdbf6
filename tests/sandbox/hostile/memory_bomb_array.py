# Expected: memory or time.
import numpy as np
def operator(plane):
    return np.ones(1 << 40, np.uint8)
