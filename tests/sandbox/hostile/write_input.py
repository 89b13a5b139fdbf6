# Expected: result.
def operator(plane):
    plane[:] = 0
    return plane
