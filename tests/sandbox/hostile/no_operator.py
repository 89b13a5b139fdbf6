# Expected: result.
def operate(plane):
    return plane
