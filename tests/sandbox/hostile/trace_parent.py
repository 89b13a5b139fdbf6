# Expected: error.
# ptrace, process_vm_readv, process_vm_writev, pidfd_open, pidfd_getfd, kcmp.
import ctypes, os
def operator(plane):
    libc = ctypes.CDLL(None)
    parent = os.getppid()
    room = ctypes.create_string_buffer(64)
    calls = (101, 16, parent, 0, 0), (310, parent, room, 1, room, 1, 0), (311, parent, room, 1, room, 1, 0)
    if all(libc.syscall(*call) < 0 for call in (*calls, (434, parent, 0), (438, 3, 0, 0), (312, parent, parent, 0, 0, 0))):
        raise OSError("all refused")
    return plane
