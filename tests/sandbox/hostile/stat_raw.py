# Expected: error.
# x86-64 numbers: stat, lstat, access, readlink, statx, newfstatat, getcwd.
import ctypes
def operator(plane):
    buffer = ctypes.create_string_buffer(4096)
    calls = (4, b"/", buffer), (6, b"/", buffer), (21, b"/", 0), (89, b"/proc/self/exe", buffer, 4096), (79, buffer, 4096)
    if all(ctypes.CDLL(None).syscall(*call) < 0 for call in calls):
        raise OSError("all refused")
    return plane
