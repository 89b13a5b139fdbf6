# Expected: time or error or memory.
import sys


def operator(plane):
    sys.set_int_max_str_digits(0)
    return str(7 ** (10**8))
