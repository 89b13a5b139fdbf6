# Expected: error.
import os
def operator(plane):
    os.listdir("/proc/self/fd")
    return plane
