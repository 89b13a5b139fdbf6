# Expected: error.
import time
def operator(plane):
    time.clock_gettime((~1 << 3) | 2)
    return plane
