# Expected: impure.
import cv2
import numpy as np
def operator(plane):
    return plane ^ np.uint8(cv2.getTickCount() % 251)
