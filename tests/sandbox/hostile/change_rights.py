# Expected: error.
import os
def operator(plane):
    os.chmod("/tmp", 0o777)
    return plane
