# Expected: crash.
import ctypes
def operator(plane):
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.create_string_buffer(b"\xcc" * 16)))()
    return plane
