# Expected: error.
import os
def operator(plane):
    os.stat("/etc/shadow")
    return plane
