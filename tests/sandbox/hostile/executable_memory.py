# Expected: error.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    refused = libc.mmap(None, 4096, 7, 0x22, -1, 0) == ctypes.c_void_p(-1).value
    page = libc.mmap(None, 4096, 3, 0x22, -1, 0)
    if refused and libc.mprotect(ctypes.c_void_p(page), 4096, 5) < 0 and libc.syscall(329, page, 4096, 5, 0) < 0:
        raise OSError("all refused")
    return plane
