# Expected: error.
import os
def operator(plane):
    os.symlink("/etc/passwd", "/tmp/evoseg-canary")
    return plane
