# Expected: crash or error or memory.
import sys
def operator(plane):
    sys.setrecursionlimit(1 << 30)
    class Nested:
        def __repr__(self):
            return repr([self])
    return repr(Nested())
