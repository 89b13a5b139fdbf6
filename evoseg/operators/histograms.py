"""What OpenCV concludes from a plane's histogram, from the histogram alone.

No operators here: they leave it to OpenCV, which is quicker where the plane is at hand. A test holds the two together.
"""

import numpy as np
from numpy.typing import NDArray

_EPSILON = float(np.finfo(np.float32).eps)


def otsu_level(counts: NDArray[np.int64]) -> int:
    """Return the level that best parts a histogram of 256 levels, as `cv2.threshold` with THRESH_OTSU."""
    scale = 1.0 / int(counts.sum())
    mean = sum(i * float(n) for i, n in enumerate(counts)) * scale
    mean_below = share_below = best = 0.0
    level = 0
    # Step by step as OpenCV does it: another order of the sums would round otherwise.
    for i, n in enumerate(counts):
        share = float(n) * scale
        mean_below *= share_below
        share_below += share
        share_above = 1.0 - share_below
        if min(share_below, share_above) < _EPSILON or max(share_below, share_above) > 1.0 - _EPSILON:
            continue
        mean_below = (mean_below + i * share) / share_below
        mean_above = (mean - share_below * mean_below) / share_above
        between = share_below * share_above * (mean_below - mean_above) * (mean_below - mean_above)
        if between > best:
            best, level = between, i
    return level


def triangle_level(counts: NDArray[np.int64]) -> int:
    """Return the level farthest below the line from a histogram's peak to its end, as THRESH_TRIANGLE."""
    present = np.flatnonzero(counts)
    left = max(0, int(present[0]) - 1)
    right = min(255, int(present[-1]) + 1)
    peak = int(np.argmax(counts))
    flipped = peak - left < right - peak
    if flipped:
        counts, left, peak = counts[::-1], 255 - right, 255 - peak
    levels = np.arange(left + 1, peak + 1)
    distances = counts[peak] * levels + (left - peak) * counts[left + 1 : peak + 1]
    # The first farthest one; none if nothing lies below the line.
    farthest = int(np.argmax(distances)) if distances.size else 0
    level = (left + 1 + farthest if distances.size and distances[farthest] > 0 else left) - 1
    return 255 - level if flipped else level


def equalising_table(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the table of levels by which `cv2.equalizeHist` maps a plane with this histogram."""
    first, total = int(np.flatnonzero(counts)[0]), int(counts.sum())
    if counts[first] == total:
        return np.full(256, first, np.uint8)
    scale = np.float32(255) / np.float32(total - int(counts[first]))
    above = np.cumsum(counts) - counts[first]
    table = np.rint(above.astype(np.float32) * scale)
    return np.clip(np.where(np.arange(256) > first, table, 0), 0, 255).astype(np.uint8)
