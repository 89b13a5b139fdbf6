# Expected: result.
def operator(plane):
    return plane.astype("datetime64[s]")
