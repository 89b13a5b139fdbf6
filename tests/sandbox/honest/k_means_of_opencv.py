# Expected: ok.
import cv2
import numpy as np

def operator(image: Raw) -> Gray:
    """Cluster the colours; the generator of OpenCV starts anew for each image."""
    values = image.reshape(-1, image.shape[2]).astype(np.float32)
    k = min(3, len(values))
    if k == 1:  # OpenCV would take the channels of a single pixel for pixels
        return np.zeros(image.shape[:2])
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 1.0)
    _, labels, centres = cv2.kmeans(values, k, None, criteria, 1, cv2.KMEANS_PP_CENTERS)
    rank = np.argsort(np.argsort(centres.sum(1)))
    return (rank[labels.ravel()] / max(k - 1, 1)).reshape(image.shape[:2])
