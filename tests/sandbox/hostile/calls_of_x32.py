# Expected: error.
# Numbers from 2**30 are those of another interface of the same processor.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    if all(libc.syscall(ctypes.c_long((1 << 30) + n), b"/", 0, 0) < 0 for n in (0, 1, 2, 39, 41, 56, 57, 59, 257, 520)):
        raise OSError("all refused")
    return plane
