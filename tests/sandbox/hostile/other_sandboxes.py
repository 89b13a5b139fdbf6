# Expected: ok or error.
import ctypes


def operator(plane):
    libc = ctypes.CDLL(None)
    # process_vm_readv, process_vm_writev, pidfd_open, pidfd_getfd, kcmp, tgkill, of all processes nearby.
    for process in range(1, 4000):
        for number in (310, 311, 434, 438, 312, 234):
            if libc.syscall(number, process, 0, 0, 0, 0, 0) >= 0:
                return None
    return plane
