# Expected: error.
# open, openat, openat2, creat, open_by_handle_at, open_tree.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    how = ctypes.create_string_buffer(24)
    calls = (2, b"/", 0), (257, -100, b"/", 0), (437, -100, b"/", how, 24), (85, b"/tmp/evoseg-canary", 0o600)
    if all(libc.syscall(*call) < 0 for call in (*calls, (304, -100, how, 0), (428, -100, b"/", 0))):
        raise OSError("all refused")
    return plane
