# Expected: error.
import os
def operator(plane):
    os.unlink(os.__file__)
    return plane
