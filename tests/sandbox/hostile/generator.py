# Expected: result.
def operator(plane):
    yield plane
