# Expected: error.
import numpy as np
def operator(plane):
    open(np.__file__).read()
    return plane
