# Expected: error.
import os, sys
def operator(plane):
    os.execv(sys.executable, ["python", "-c", "pass"])
