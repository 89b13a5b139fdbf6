# Expected: error.
# unshare (user, mount, network), setns, mount, umount2, pivot_root.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    calls = (272, 0x10000000), (272, 0x20000), (308, 0, 0), (165, b"none", b"/tmp", b"tmpfs", 0, 0), (166, b"/tmp", 0)
    if all(libc.syscall(*call) < 0 for call in calls):
        raise OSError("all refused")
    return plane
