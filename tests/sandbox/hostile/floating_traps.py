# Expected: crash.
import ctypes


def operator(plane):
    libm = ctypes.CDLL(None)
    libm.feenableexcept(61)
    return plane / (plane.astype(float) * 0)
