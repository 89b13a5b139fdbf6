# Expected: ok.
def operator(plane):
    return plane
