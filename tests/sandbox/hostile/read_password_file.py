# Expected: error.
def operator(plane):
    open("/etc/passwd").read()
    return plane
