# Expected: error.
# All numbers there are, but for those of the list of allowed ones, with arguments of zero. Newer kernels let uretprobe
# and uprobe (335, 336) past every filter, and end a process that calls them from anywhere but their own code.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    allowed = (1, 9, 10, 11, 12, 25, 28, 202, 204, 231, 335, 336)
    if all(libc.syscall(number, 0, 0, 0, 0, 0, 0) < 0 for number in range(600) if number not in allowed):
        raise OSError("all refused")
    return plane
