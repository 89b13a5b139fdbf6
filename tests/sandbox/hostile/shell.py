# Expected: error.
import os
def operator(plane):
    if os.system("touch /tmp/evoseg-canary"):
        raise OSError("not run")
    return plane
