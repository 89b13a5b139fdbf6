# Expected: time.
def operator(plane):
    return 10 ** (10**9)
