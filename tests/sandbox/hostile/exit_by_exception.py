# Expected: error.
import sys
def operator(plane):
    sys.exit(0)
