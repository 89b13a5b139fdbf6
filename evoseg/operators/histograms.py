"""What is concluded from a plane's histogram.

No operators here: where the plane is at hand, they leave to OpenCV what it can do. A test holds the two together.
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


def kmeans_levels(counts: NDArray[np.float64], k: int, index: int) -> tuple[int, int]:
    """Return the first level of a cluster and the first beyond it, of a histogram's counts."""
    present = np.flatnonzero(counts)
    below = np.concatenate(([0.0], np.cumsum(counts)))
    weighted = np.concatenate(([0.0], np.cumsum(counts * np.arange(256))))
    first, last = int(present[0]), int(present[-1])
    centres = first + (last - first) * (np.arange(k) + 0.5) / k
    edges = np.array([0] + [256] * k)
    for _ in range(24):
        # Bin edges[i] is the first level nearer to centre i than to centre i - 1.
        inner = np.floor((centres[:-1] + centres[1:]) / 2).astype(int) + 1
        moved = np.concatenate(([0], inner, [256]))
        if np.array_equal(moved, edges):
            break
        edges = moved
        n = below[edges[1:]] - below[edges[:-1]]
        total = weighted[edges[1:]] - weighted[edges[:-1]]
        centres = np.where(n > 0, total / np.maximum(n, 1), centres)
    chosen = min(index, k - 1)
    return int(edges[chosen]), int(edges[chosen + 1])
