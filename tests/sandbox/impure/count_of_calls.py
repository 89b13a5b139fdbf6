# Expected: impure.
import numpy as np
calls = []
def operator(plane):
    calls.append(1)
    return plane ^ np.uint8(len(calls))
