# Expected: ok.
import sys
def operator(plane):
    for name in list(sys.modules):
        if name not in ("sys", "builtins"):
            sys.modules[name] = None
    return plane
