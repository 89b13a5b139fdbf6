# Expected: ok.
import cv2
import numpy as np
from scipy import ndimage

def operator(plane: Gray, mask: Mask, *, distance: Annotated[int, Range(2, 30, unit="px")] = 5) -> Labels:
    """Number the parts of a mask by their peaks of distance; pixels go to the nearest peak."""
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    peaks = (depth == ndimage.maximum_filter(depth, 2 * distance + 1)) & mask
    markers, _ = ndimage.label(peaks, np.ones((3, 3)))
    if not markers.any():
        return markers
    _, (rows, cols) = ndimage.distance_transform_edt(markers == 0, return_indices=True)
    return np.where(mask, markers[rows, cols], 0)
