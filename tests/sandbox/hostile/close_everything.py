# Expected: error.
import os
def operator(plane):
    for descriptor in range(256):
        os.close(descriptor)
    return plane
