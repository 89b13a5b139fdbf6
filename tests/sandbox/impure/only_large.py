# Expected: error.
def operator(plane):
    return plane + plane[5, 5]
