# Expected: error.
def operator(plane):
    raise KeyboardInterrupt
