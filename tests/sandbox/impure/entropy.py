# Expected: error.
import os
import numpy as np
def operator(plane):
    return plane ^ np.uint8(os.urandom(1)[0])
