# Expected: result.
def operator(plane):
    return plane.astype(float)
