# Expected: time.
def operator(plane):
    total = 0
    for value in plane.tolist() * 4000:
        total += sum(x * x for x in value)
    return plane
