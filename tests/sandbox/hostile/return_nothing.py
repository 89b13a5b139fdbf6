# Expected: result.
def operator(plane):
    pass
