# Expected: error.
# fork, vfork, clone, clone3.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    arguments = ctypes.create_string_buffer(88)
    for call in ((57,), (58,), (56, 17, 0, 0, 0, 0), (56, 0x100, 0, 0, 0, 0), (435, arguments, 88)):
        child = libc.syscall(*call)
        if child == 0:
            libc._exit(0)
        if child > 0:
            return plane
    raise OSError("all refused")
