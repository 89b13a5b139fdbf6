# Expected: error.
import os, signal
def operator(plane):
    os.kill(-1, signal.SIGKILL)
    return plane
