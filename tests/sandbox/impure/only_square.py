# Expected: error.
import numpy as np
def operator(plane):
    return (plane @ plane.T @ plane.T).astype(np.uint8)
