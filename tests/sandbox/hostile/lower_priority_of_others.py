# Expected: error.
import os
def operator(plane):
    os.setpriority(os.PRIO_USER, 0, 19)
    return plane
