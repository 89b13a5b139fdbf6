# Expected: error.
def operator(plane):
    open("/tmp/evoseg-canary", "w").write("here")
    return plane
