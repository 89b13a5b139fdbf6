# Expected: ok.
import ctypes, sys
def operator(plane):
    libc = ctypes.CDLL(None)
    for _ in range(2000):
        sys.__stderr__ and libc.dprintf(2, b"%s\n", b"x" * 1000)
        libc.puts(b"x" * 1000)
    return plane
