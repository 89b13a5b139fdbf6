# Expected: error.
import numpy as np
def operator(plane):
    return plane ^ np.random.default_rng().integers(0, 255, plane.shape, np.uint8)
