# Expected: result.
def operator(plane):
    return (plane - plane.mean()) / plane.std()
