# Expected: error.
# nanosleep, clock_nanosleep, pause, poll, ppoll, futex (wait), wait4, rt_sigtimedwait, epoll_create1, eventfd2.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    long = (ctypes.c_long * 2)(3600, 0)
    word = ctypes.c_int(0)
    calls = (35, long, None), (230, 1, 0, long, None), (34,), (7, None, 0, -1), (271, None, 0, None, None, 8)
    calls += (202, ctypes.byref(word), 0, 0, long, None, 0), (202, ctypes.byref(word), 128, 0, long, None, 0)
    if all(libc.syscall(*call) < 0 for call in (*calls, (61, -1, None, 0, None), (291, 0), (290, 0, 0))):
        raise OSError("all refused")
    return plane
