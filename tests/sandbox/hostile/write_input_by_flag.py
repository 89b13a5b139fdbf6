# Expected: result.
def operator(plane):
    plane.flags.writeable = True
    plane[:] = 0
    return plane
