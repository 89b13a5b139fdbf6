# Expected: error.
def operator(plane):
    raise ValueError("\x1b]0;" + "x" * (1 << 26))
