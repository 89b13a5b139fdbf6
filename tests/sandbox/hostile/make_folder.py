# Expected: error.
import os
def operator(plane):
    os.mkdir("/tmp/evoseg-canary")
    return plane
