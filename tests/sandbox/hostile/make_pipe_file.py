# Expected: error.
import os
def operator(plane):
    os.mkfifo("/tmp/evoseg-canary")
    return plane
