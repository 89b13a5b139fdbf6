# Expected: crash.
import os
def operator(plane):
    os.abort()
