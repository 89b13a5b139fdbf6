# Expected: error.
import os, signal
def operator(plane):
    os.kill(os.getppid(), signal.SIGKILL)
    return plane
