# Expected: error.
import os, signal
def operator(plane):
    signal.raise_signal(signal.SIGSTOP)
    return plane
