# Expected: error.
def operator(plane):
    open("/proc/self/mem", "r+b")
    return plane
