# Expected: error.
import os
def operator(plane):
    os.memfd_create("canary")
    return plane
