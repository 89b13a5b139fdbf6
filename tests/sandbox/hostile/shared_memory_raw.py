# Expected: error.
# shmget, semget, msgget, mq_open, mmap shared, of huge pages, of an open descriptor.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    calls = [(29, 0, 4096, 0o1600), (64, 0, 1000, 0o1600), (68, 0, 0o1600), (240, b"/canary", 0o102, 0o600, None)]
    calls += [(9, None, 4096, 3, 0x21, -1, 0), (9, None, 1 << 21, 3, 0x40022, -1, 0), *((9, None, 4096, 1, 2, fd, 0) for fd in range(256))]
    if all(libc.syscall(*call) == -1 for call in calls):
        raise OSError("all refused")
    return plane
