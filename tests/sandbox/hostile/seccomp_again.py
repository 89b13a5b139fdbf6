# Expected: ok or error.
import ctypes


def operator(plane):
    libc = ctypes.CDLL(None)
    # A filter that allows all, by prctl and by seccomp(2), with and without a listener; then no filter.
    for arguments in ((22, 2, 0), (22, 1), (38, 0), (4, 1), (59, 8), (35, 1, 0)):
        libc.prctl(*arguments)
    for flags in (0, 1, 8):
        libc.syscall(317, 1, flags, 0)
        libc.syscall(277, 1, flags, 0)
    libc.syscall(446, 3, 0)
    libc.personality(0x0400000)
    return plane if libc.open(b"/etc/passwd", 0) < 0 else None
