"""Shared steps: smoothing of any width at reduced scale, signed responses as 8 bit, and levels from a histogram.

No operators here. Everything is a plain function, because exported programs carry copies of what they use.
"""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray
from evoseg.operators.parameters import Doc

ADDED = Doc("Added to the sum, which is then rounded and clipped to 0..255.")
SQUARE = Doc("Of the square neighbourhood. The border is mirrored.")
SIDE = Doc("The square's side is 2 radius + 1. The border is mirrored.")

BORDER = cv2.BORDER_REFLECT
"""What every linear filter sees beyond the edge: the image mirrored about it.

The edge pixel is doubled. With BORDER_REFLECT_101 the mirror would run through the middle of the edge pixel, which is
elsewhere in a plane of block means, and filters at reduced scale would be wrong along the border.
"""

SMOOTH_FINEST = 1.5
"""`smooth` works where sigma is 1.5 to 3 px; larger ones are reduced by a power of two."""
_EPSILON = float(np.finfo(np.float32).eps)


def as_gray(array: NDArray[Any]) -> Gray:
    """Tell the type checker that an array from OpenCV is an 8-bit plane; nothing happens to it."""
    return array


def reduction(sigma: float, finest: float) -> int:
    """Return the largest power of two by which `sigma` can be divided and still be at least `finest`."""
    factor = 1
    while sigma / (2 * factor) >= finest:
        factor *= 2
    return factor


def shrink(plane: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return means of blocks of `factor` x `factor`; blocks over the edge are completed by the mirrored plane."""
    if factor == 1:
        return plane
    rows, cols = plane.shape
    below, right = -rows % factor, -cols % factor
    padded = plane
    if below or right:
        padded = cv2.copyMakeBorder(plane, 0, below, 0, right, BORDER)
    size = (padded.shape[1] // factor, padded.shape[0] // factor)
    return cv2.resize(padded, size, interpolation=cv2.INTER_AREA)


def enlarge(small: NDArray[Any], factor: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Undo `shrink` by linear interpolation, back to `shape`."""
    if factor == 1:
        return small
    size = (small.shape[1] * factor, small.shape[0] * factor)
    large = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(large[: shape[0], : shape[1]])


def smooth(plane: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Gaussian smoothing in the plane's own type, cut off at 3 sigma; from 3 px on at reduced scale."""
    factor = reduction(sigma, SMOOTH_FINEST)
    # Block means and linear interpolation blur too: by (f^2 - 1) / 12 and f^2 / 6 px^2 of variance.
    inner = math.sqrt(sigma**2 - (factor**2 - 1) / 4) / factor
    side = 2 * math.ceil(3 * inner) + 1
    small = cv2.GaussianBlur(shrink(plane, factor), (side, side), inner, borderType=BORDER)
    return enlarge(small, factor, plane.shape)


def extend_slopes(plane: NDArray[Any], above: int, below: int, left: int, right: int) -> NDArray[Any]:
    """Return a float plane with borders in which slopes go on: mirrored about the edge pixels and about their values.

    About a plain mirror a ramp turns back, and whatever is compared with its surroundings stands out along the edge.
    """
    rows, cols = plane.shape
    wide = cv2.copyMakeBorder(plane, above, below, left, right, cv2.BORDER_REFLECT_101)
    wide[:above] = 2 * wide[above] - wide[:above]
    wide[above + rows :] = 2 * wide[above + rows - 1] - wide[above + rows :]
    wide[:, :left] = 2 * wide[:, left, None] - wide[:, :left]
    wide[:, left + cols :] = 2 * wide[:, left + cols - 1, None] - wide[:, left + cols :]
    return wide


def smooth_slopes(plane: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Smooth a float plane like `smooth`, but leave a linear ramp as it is up to the very edge."""
    rows, cols = plane.shape
    factor = reduction(sigma, SMOOTH_FINEST)
    inner = math.sqrt(sigma**2 - (factor**2 - 1) / 4) / factor
    radius = math.ceil(3 * inner)
    small = shrink(extend_slopes(plane, 0, -rows % factor, 0, -cols % factor), factor)
    # One pixel more than the blur needs, for the interpolation.
    edge = radius + 1
    small = extend_slopes(small, edge, edge, edge, edge)
    small = cv2.GaussianBlur(small, (2 * radius + 1, 2 * radius + 1), inner, borderType=BORDER)
    small = np.ascontiguousarray(small[radius:-radius, radius:-radius])
    large = enlarge(small, factor, (factor * small.shape[0], factor * small.shape[1]))
    return large[factor : factor + rows, factor : factor + cols]


def smooth_reach(sigma: float) -> int:
    """Return how far `smooth` looks, in pixels."""
    factor = reduction(sigma, SMOOTH_FINEST)
    return factor * (math.ceil(3 * sigma / factor) + 2)


def smooth_cost(sigma: float) -> float:
    """Return what `smooth` costs, in ns per pixel."""
    factor = reduction(sigma, SMOOTH_FINEST)
    inner = sigma / factor
    blur = 0.35 * inner + 0.13 * inner**2
    return 0.3 + blur if factor == 1 else 0.45 + blur / factor**2


def box_cost(radius: int) -> float:
    """Return what an 8-bit box filter costs, in ns per pixel."""
    return 0.16 if radius <= 2 else 0.43 + 0.004 * radius


def smooth_fine(plane: NDArray[Any], sigma: float, factor: int) -> NDArray[Any]:
    """Float Gaussian smoothing for derivatives, cut off at 4 sigma, left at a scale reduced by `factor`."""
    small = shrink(plane.astype(np.float32), factor)
    inner = math.sqrt(sigma**2 - (factor**2 - 1) / 12) / factor
    side = 2 * math.ceil(4 * inner) + 1
    return cv2.GaussianBlur(small, (side, side), inner, borderType=BORDER)


def fine_reach(sigma: float, finest: float) -> int:
    """Return how far a 3 x 3 filter after `smooth_fine` looks, in pixels."""
    factor = reduction(sigma, finest)
    return factor * (math.ceil(4 * sigma / factor) + 4)


def round_gray(values: NDArray[Any], offset: float = 0.0) -> Gray:
    """Round `values` + `offset` and clip to 0..255."""
    # Not cv2.add(values, offset): with a number beside an array of 1 x 1 or 4 x 1 OpenCV mistakes which is which.
    return as_gray(cv2.addWeighted(values, 1.0, values, 0.0, offset, dtype=cv2.CV_8U))


def signed_gray(response: NDArray[Any], gain: float, polarity: str) -> Gray:
    """Map `gain` * `response` to 0..255: its positive part if bright, negative if dark, magnitude if both."""
    if polarity != "both":
        # Clearing one sign and taking magnitudes is several times faster than a saturating cast, from int16 above all.
        keep_positive = (gain > 0) == (polarity == "bright")
        _, response = cv2.threshold(response, 0, 0, cv2.THRESH_TOZERO if keep_positive else cv2.THRESH_TOZERO_INV)
    return as_gray(cv2.convertScaleAbs(response, alpha=abs(gain)))


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
