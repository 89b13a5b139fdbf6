# Expected: result.
def operator(plane):
    return plane[:-1]
