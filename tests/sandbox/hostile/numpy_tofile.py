# Expected: error.
def operator(plane):
    plane.tofile("/tmp/evoseg-canary")
    return plane
