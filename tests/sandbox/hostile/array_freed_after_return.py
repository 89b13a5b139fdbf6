# Expected: crash or ok or error or memory.
import ctypes

import numpy as np


def operator(plane):
    page = ctypes.CDLL(None).mmap
    page.restype = ctypes.c_void_p
    at = page(None, ctypes.c_size_t(4096), 3, 0x22, -1, ctypes.c_long(0))
    given = np.frombuffer((ctypes.c_uint8 * plane.size).from_address(at), np.uint8).reshape(plane.shape)
    ctypes.CDLL(None).munmap(ctypes.c_void_p(at), ctypes.c_size_t(4096))
    return given
