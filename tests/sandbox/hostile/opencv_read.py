# Expected: error.
import cv2
def operator(plane):
    if cv2.imread("/tmp/evoseg-canary.png") is None:
        raise OSError("not read")
    return plane
