# Expected: ok or error or result.
def operator(plane):
    result = plane.copy()
    plane.shape = (-1,)
    plane.dtype = "u2"
    plane.strides = (0,)
    return result
