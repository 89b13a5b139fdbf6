# Expected: ok.
import atexit
@atexit.register
def last():
    while True:
        pass
def operator(plane):
    return plane
