# Expected: ok or memory or crash or error.
import ctypes


def operator(plane):
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    size = 4096 * 60000
    at = libc.mmap(None, ctypes.c_size_t(size), 3, 0x22, -1, ctypes.c_long(0))
    # Every second page otherwise: as many pieces as the kernel allows.
    for i in range(0, 60000, 2):
        libc.mprotect(ctypes.c_void_p(at + 4096 * i), ctypes.c_size_t(4096), 1)
    return plane
