# Expected: impure.
import os
import numpy as np
def operator(plane):
    return plane ^ np.uint8(hash(str(os.environ)) % 251)
