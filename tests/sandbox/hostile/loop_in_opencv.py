# Expected: time or memory.
import cv2
def operator(plane):
    large = cv2.resize(plane, (20000, 20000))
    while True:
        large = cv2.medianBlur(large, 51)
