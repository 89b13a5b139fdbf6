# Expected: ok.
import cv2
import numpy as np

def operator(plane: Gray, *, step: Annotated[int, Range(8, 40)] = 16, size: Annotated[int, Range(64, 2048, unit="px2", log=True)] = 256) -> Gray:
    """Mark small dark regions whose area hardly changes with the threshold, in the manner of MSER."""
    stable = np.zeros(plane.shape, np.float32)
    levels = range(step, 256 - step, step)
    for level in levels:
        inner = plane < level - step // 2
        _, labels, stats, _ = cv2.connectedComponentsWithStats((plane < level + step // 2).astype(np.uint8))
        area = stats[:, cv2.CC_STAT_AREA]
        core = np.bincount(labels[inner], minlength=len(area))
        score = np.where(area <= size, core / area, 0).astype(np.float32)
        score[0] = 0
        stable += score[labels]
    return stable / max(len(levels), 1)
