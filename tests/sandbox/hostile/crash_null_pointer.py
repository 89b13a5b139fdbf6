# Expected: crash.
import ctypes
def operator(plane):
    ctypes.memset(8, 0, 8)
    return plane
