# Expected: result.
def operator(plane):
    return plane.tolist()
