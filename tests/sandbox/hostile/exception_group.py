# Expected: error.
def operator(plane):
    group = ValueError("inner")
    for _ in range(5000):
        group = BaseExceptionGroup("outer", [group])
    raise group
