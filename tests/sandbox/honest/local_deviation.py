# Expected: ok.
import cv2
import numpy as np

def operator(plane, *, sigma: Annotated[float, Range(0.5, 20.0, unit="px", log=True)] = 3.0) -> Gray:
    """Local standard deviation with Gaussian weights, against half the range."""
    x = plane.astype(np.float32)
    mean = cv2.GaussianBlur(x, (0, 0), sigma)
    square = cv2.GaussianBlur(x * x, (0, 0), sigma)
    return np.sqrt(np.maximum(square - mean * mean, 0)) / 127.5
