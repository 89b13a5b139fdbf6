# Expected: ok.
import cv2
import numpy as np

def operator(plane: Gray, *, step: Annotated[int, Range(4, 32)] = 12, size: Annotated[int, Range(16, 4096, unit="px2", log=True)] = 256) -> Gray:
    """Mark dark regions whose area hardly changes with the threshold, in the manner of MSER."""
    stable = np.zeros(plane.shape, np.float64)
    levels = range(step, 256 - step, step)
    for level in levels:
        masks = [(plane < t).astype(np.uint8) for t in (level - step // 2, level, level + step // 2)]
        n, labels, stats, _ = cv2.connectedComponentsWithStats(masks[1])
        inner = np.bincount(labels.ravel(), weights=masks[0].ravel(), minlength=n)
        _, outer_labels, outer, _ = cv2.connectedComponentsWithStats(masks[2])
        area = stats[:, cv2.CC_STAT_AREA].astype(float)
        first = np.zeros(n, np.int64)
        np.maximum.at(first, labels.ravel(), outer_labels.ravel())
        growth = (outer[first, cv2.CC_STAT_AREA] - inner) / area
        score = np.where((area <= size) & (growth < 1), 1 - growth, 0)
        score[0] = 0
        stable += score[labels]
    return stable / max(len(levels), 1)
