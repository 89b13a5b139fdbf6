# Expected: ok.
def operator(plane):
    return plane[::-1, ::-1]
