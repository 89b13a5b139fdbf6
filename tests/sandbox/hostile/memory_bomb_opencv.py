# Expected: error or memory or time.
import cv2
def operator(plane):
    return cv2.resize(plane, (30000, 30000))
