# Expected: error.
import os
def operator(plane):
    while True:
        os.fork()
