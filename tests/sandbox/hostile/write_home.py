# Expected: error.
import os
def operator(plane):
    open(os.path.expanduser("~/evoseg-canary"), "w").write("here")
    return plane
