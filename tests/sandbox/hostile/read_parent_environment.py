# Expected: error.
import os
def operator(plane):
    open(f"/proc/{os.getppid()}/environ", "rb").read()
    return plane
