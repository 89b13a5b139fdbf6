# Expected: error.
import os, signal
def operator(plane):
    os.killpg(0, signal.SIGKILL)
    return plane
