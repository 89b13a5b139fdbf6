# Expected: crash.
# Then the process returns into the zygote's loop, with an operator's locks.
import os
def operator(plane):
    os._exit = lambda code: None
    return plane
