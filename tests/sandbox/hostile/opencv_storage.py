# Expected: error.
import cv2
def operator(plane):
    storage = cv2.FileStorage("/tmp/evoseg-canary.yml", cv2.FILE_STORAGE_WRITE)
    if not storage.isOpened():
        raise OSError("not opened")
    return plane
