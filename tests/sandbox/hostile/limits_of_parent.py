# Expected: error.
import os, resource
def operator(plane):
    resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))
    return plane
