# Expected: ok or error or crash.
import cv2
def operator(plane):
    cv2.setNumThreads(64)
    return cv2.GaussianBlur(cv2.resize(plane, None, fx=16, fy=16), (0, 0), 5)[::16, ::16].copy()
