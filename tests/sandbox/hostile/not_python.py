# Expected: error.
def operator(plane) return plane
