# Expected: impure.
import numpy as np
most = [1.0]
def operator(plane):
    most[0] = max(most[0], float(plane.max()))
    return plane / most[0]
