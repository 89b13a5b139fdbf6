# Expected: crash.
import os
def operator(plane):
    os._exit(0)
