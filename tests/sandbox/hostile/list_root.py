# Expected: error.
import os
def operator(plane):
    os.listdir("/")
    return plane
