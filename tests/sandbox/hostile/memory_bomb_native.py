# Expected: error.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    while libc.malloc(ctypes.c_size_t(1 << 28)):
        pass
    raise OSError("no more")
