# Expected: ok.
import numpy as np
from scipy import ndimage

def operator(plane: Gray, *, radius: Annotated[int, Range(2, 20, unit="px")] = 5) -> Gray:
    """Weight local contrast by the local entropy of eight grey levels."""
    size = 2 * radius + 1
    entropy = np.zeros(plane.shape)
    for level in range(8):
        share = ndimage.uniform_filter((plane // 32 == level).astype(np.float64), size)
        share = np.clip(share, 1e-12, 1)
        entropy -= share * np.log2(share)
    contrast = ndimage.maximum_filter(plane, size).astype(float) - ndimage.minimum_filter(plane, size)
    return entropy / 3 * contrast / 255
