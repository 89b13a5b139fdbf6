# Expected: error.
import os, signal
def operator(plane):
    os.kill(os.getppid(), signal.SIGSTOP)
    return plane
