# Expected: ok or crash.
import sys
def trace(frame, event, argument):
    frame.f_locals.clear()
    return trace
def operator(plane):
    sys.settrace(trace)
    sys.setprofile(trace)
    return plane
