# Expected: error.
import os
def operator(plane):
    os.chroot("/tmp")
    return plane
