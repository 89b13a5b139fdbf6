# Expected: error or crash or ok.
import sys
def hook(event, arguments):
    raise RuntimeError("no")
def operator(plane):
    sys.addaudithook(hook)
    return plane
