# Expected: ok or error or crash.
# mremap and madvise with odd arguments: only the own memory is there to be moved.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    for advice in (9, 12, 16, 17, 18, 21, 100, 101):
        if libc.madvise(ctypes.c_void_p(0), 0, advice) == 0:
            raise ValueError("accepted")
    libc.syscall(25, 0, 0, 4096, 1, 0)
    return plane
