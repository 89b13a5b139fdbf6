# Expected: error.
# mlockall, mlock.
import ctypes
def operator(plane):
    if ctypes.CDLL(None).mlockall(3) and ctypes.CDLL(None).mlock(None, 1 << 20):
        raise OSError("all refused")
    return plane
