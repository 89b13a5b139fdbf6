# Expected: error.
import cv2
def operator(plane):
    if not cv2.VideoCapture("/dev/video0").isOpened():
        raise OSError("not opened")
    return plane
