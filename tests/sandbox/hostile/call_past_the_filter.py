# Expected: crash or error.
# uretprobe of x86-64, which newer kernels let past every filter: it ends a process that calls it.
import ctypes
def operator(plane):
    if ctypes.CDLL(None).syscall(335, 0, 0, 0) < 0:
        raise OSError("refused")
    return plane
