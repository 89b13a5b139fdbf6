# Expected: error.
# execve, execveat with an open descriptor.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    arguments = (ctypes.c_char_p * 2)(b"true", None)
    calls = [(59, b"/bin/true", arguments, None), *((322, fd, b"", arguments, None, 0x1000) for fd in range(256))]
    if all(libc.syscall(*call) < 0 for call in calls):
        raise OSError("all refused")
    return plane
