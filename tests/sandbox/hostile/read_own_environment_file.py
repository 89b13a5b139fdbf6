# Expected: error.
def operator(plane):
    open("/proc/self/environ", "rb").read()
    return plane
