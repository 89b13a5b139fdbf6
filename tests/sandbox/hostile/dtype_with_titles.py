# Expected: ok or result.
import numpy as np


def operator(plane):
    return plane.view(np.dtype(np.uint8, metadata={"__reduce__": exec}))
