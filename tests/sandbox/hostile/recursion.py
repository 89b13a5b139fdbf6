# Expected: error.
def operator(plane):
    return operator(plane)
