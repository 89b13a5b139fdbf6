# Expected: error or memory or crash.
import ctypes
def operator(plane):
    work = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: None)
    thread = ctypes.c_ulong()
    if ctypes.CDLL(None).pthread_create(ctypes.byref(thread), None, work, None):
        raise OSError("no thread")
    return plane
