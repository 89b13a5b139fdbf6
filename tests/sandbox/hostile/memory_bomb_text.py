# Expected: memory or time.
def operator(plane):
    return "a" * (1 << 45)
