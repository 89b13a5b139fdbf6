# Expected: error.
# Every family and type; socketpair; io_uring_setup.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    pair = (ctypes.c_int * 2)()
    made = [libc.socket(family, kind, 0) for family in range(46) for kind in (1, 2, 3, 5)]
    if max(made) < 0 and libc.socketpair(1, 1, 0, pair) < 0 and libc.syscall(425, 1, pair) < 0:
        raise OSError("all refused")
    return plane
