# Expected: ok or crash.
import sys
def operator(plane):
    zygote = sys.modules["__main__"]
    zygote.as_declared = lambda result, *rest: plane
    zygote.DONE = b"D"
    zygote.wait_for = lambda *a: True
    zygote.ENDING = zygote.REQUEST
    return "anything"
