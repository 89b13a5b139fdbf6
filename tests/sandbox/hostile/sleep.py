# Expected: error.
import time
def operator(plane):
    time.sleep(3600)
    return plane
