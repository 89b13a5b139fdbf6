# Expected: error.
import os
def operator(plane):
    os.rename(os.__file__, os.__file__ + ".old")
    return plane
