# Expected: error.
# prctl (parent-death signal, dumpable), seccomp, personality, arch_prctl is harmless and still refused.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    if all(libc.syscall(*call) < 0 for call in ((157, 1, 0), (157, 4, 1), (317, 0, 0, 0), (135, 0x40000), (158, 0x1002, 0))):
        raise OSError("all refused")
    return plane
