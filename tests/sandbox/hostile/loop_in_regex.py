# Expected: time.
import re
def operator(plane):
    re.match("(a+)+$", "a" * 64 + "b")
    return plane
