# Expected: crash.
def operator(plane):
    import ctypes
    ctypes.memset(plane.ctypes.data, 0, 1 << 30)
    return plane
