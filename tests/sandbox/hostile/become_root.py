# Expected: error.
import os
def operator(plane):
    os.setuid(0)
    return plane
