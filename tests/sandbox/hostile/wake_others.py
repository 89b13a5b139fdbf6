# Expected: ok.
# Futexes of other processes are out of reach: no memory is shared.
import ctypes
def operator(plane):
    word = ctypes.c_int(0)
    ctypes.CDLL(None).syscall(202, ctypes.byref(word), 1, 1 << 30, None, None, 0)
    return plane
