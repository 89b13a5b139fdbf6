# Expected: error.
import ctypes
def operator(plane):
    if all(ctypes.CDLL(None).ioctl(fd, 0x5412, b"x") < 0 for fd in range(256)):
        raise OSError("all refused")
    return plane
