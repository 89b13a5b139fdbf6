# Expected: error.
import cv2
def operator(plane):
    if not cv2.imwrite("/tmp/evoseg-canary.png", plane):
        raise OSError("not written")
    return plane
