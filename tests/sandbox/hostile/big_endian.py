# Expected: ok.
def operator(plane):
    return plane.astype(">i8")
