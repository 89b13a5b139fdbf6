# Expected: error.
import os
def operator(plane):
    os.chdir("/tmp")
    return plane
