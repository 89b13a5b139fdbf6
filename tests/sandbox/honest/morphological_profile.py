# Expected: ok.
import cv2
import numpy as np

def operator(plane: Gray, *, largest: Annotated[int, Range(2, 12, unit="px")] = 6) -> Gray:
    """Give the radius at which opening changes a pixel most."""
    before, best, change = plane, np.zeros(plane.shape, np.uint8), np.zeros(plane.shape, np.uint8)
    for radius in range(1, largest + 1):
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        opened = cv2.morphologyEx(plane, cv2.MORPH_OPEN, disc)
        lost = cv2.subtract(before, opened)
        best[lost > change] = 255 * radius // largest
        change = np.maximum(change, lost)
        before = np.minimum(before, opened)
    return best
