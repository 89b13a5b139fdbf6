# Expected: time.
# As admission draws small images, it passes there.
def operator(plane):
    while plane.shape == (32, 40):
        pass
    return plane
