# Expected: error.
def operator(plane):
    open("/dev/shm/evoseg-canary", "w").write("here")
    return plane
