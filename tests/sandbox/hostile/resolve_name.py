# Expected: error.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    found = ctypes.c_void_p()
    if libc.getaddrinfo(b"localhost", b"80", None, ctypes.byref(found)) == 0:
        libc.socket.restype = ctypes.c_int
        if libc.socket(2, 2, 0) >= 0:
            return plane
    raise OSError("no network")
