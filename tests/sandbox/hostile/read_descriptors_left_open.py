# Expected: error.
import os
def operator(plane):
    for descriptor in range(256):
        try:
            os.read(descriptor, 1)
        except OSError:
            continue
        return plane
    raise OSError("all refused")
