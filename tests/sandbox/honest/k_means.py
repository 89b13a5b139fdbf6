# Expected: ok.
import numpy as np

def operator(plane: Gray, *, k: Annotated[int, Range(2, 6)] = 3) -> Gray:
    """Cluster the grey levels, from evenly spread centres, and show the clusters in order."""
    histogram = np.bincount(plane.ravel(), minlength=256)
    levels = np.arange(256)
    centres = np.linspace(0, 255, k)
    for _ in range(30):
        nearest = np.abs(levels[:, None] - centres).argmin(1)
        for i in range(k):
            weight = histogram[nearest == i]
            if weight.sum():
                centres[i] = (weight * levels[nearest == i]).sum() / weight.sum()
    return (nearest * (255 // (k - 1))).astype(np.uint8)[plane]
