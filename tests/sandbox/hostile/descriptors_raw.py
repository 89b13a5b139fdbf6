# Expected: error.
# fcntl, ioctl, sendfile, splice, tee, vmsplice, pread64, pwrite64, writev, pwritev2, ftruncate, fchmod, flock, sendmsg.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    numbers = (72, 16, 40, 275, 276, 278, 17, 18, 20, 328, 77, 91, 73, 46)
    room = ctypes.create_string_buffer(4096)
    if all(libc.syscall(number, fd, room, 1, 0, 0, 0) < 0 for number in numbers for fd in range(256)):
        raise OSError("all refused")
    return plane
