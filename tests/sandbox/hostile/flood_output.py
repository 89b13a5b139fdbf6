# Expected: ok.
def operator(plane):
    for _ in range(20000):
        print("x" * 1000)
    return plane
