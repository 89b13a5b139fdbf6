"""Masks to masks, by neighbourhood and by logic."""

from functools import lru_cache
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray, Mask
from evoseg.operators.gray import BORDER, SIDE, box_cost
from evoseg.operators.morphology import LINE_ANGLES
from evoseg.operators.parameters import Range
from evoseg.operators.registry import operator
from evoseg.operators.structuring import (
    DiskRadius,
    close_disk,
    close_line_padded,
    dilate_disk,
    disk_cost,
    erode_disk,
    open_disk,
    pad_mirrored,
)

SKELETON_STEPS = 20
"""Layers that `skeleton` peels off at most."""


@operator(revision=1, cost=lambda p: 2 * disk_cost(p["radius"]), reach=lambda p: 2 * p["radius"])
def open_mask(mask: Mask, *, radius: DiskRadius = 2) -> Mask:
    """Remove specks, hairs and thin bridges into which a disk does not fit."""
    return open_disk(mask.view(np.uint8), radius).view(np.bool_)


@operator(revision=1, cost=lambda p: 2 * disk_cost(p["radius"]), reach=lambda p: 2 * p["radius"])
def close_mask(mask: Mask, *, radius: DiskRadius = 2) -> Mask:
    """Fill pores, cracks and gaps into which a disk does not fit."""
    return close_disk(mask.view(np.uint8), radius).view(np.bool_)


@operator(revision=1, cost=lambda p: disk_cost(p["radius"]), reach=lambda p: p["radius"])
def dilate_mask(mask: Mask, *, radius: DiskRadius = 1) -> Mask:
    """Grow objects by a radius."""
    return dilate_disk(mask.view(np.uint8), radius).view(np.bool_)


@operator(revision=1, cost=lambda p: disk_cost(p["radius"]), reach=lambda p: p["radius"])
def erode_mask(mask: Mask, *, radius: DiskRadius = 1) -> Mask:
    """Shrink objects by a radius, except at the image's border."""
    return erode_disk(mask.view(np.uint8), radius).view(np.bool_)


@operator(revision=1, cost=lambda p: 0.05 + box_cost(p["radius"]), reach=lambda p: p["radius"])
def majority(mask: Mask, *, radius: Annotated[int, Range(1, 30, unit="px", log=True), SIDE] = 2) -> Mask:
    """Set each pixel to the majority of the pixels in the square around it."""
    side = 2 * radius + 1
    counts = cv2.boxFilter(mask.view(np.uint8), cv2.CV_16S, (side, side), normalize=False, borderType=BORDER)
    return counts > side * side // 2


@operator(revision=1, cost=3.6, reach=lambda p: 2 * p["length"])
def line_close_mask(mask: Mask, *, length: Annotated[int, Range(3, 60, unit="px", log=True)] = 11) -> Mask:
    """Join broken lines: fill gaps that are closed by a line in any of 12 directions.

    Parameters
    ----------
    length : int, px
        Gaps shorter than it between pieces in line are filled. The border is mirrored.

    Returns
    -------
    bool array of shape (M, N), the union of closings by lines
    """
    padded = pad_mirrored(mask.view(np.uint8), length)
    joined = close_line_padded(padded, length, length, LINE_ANGLES[0])
    for angle in LINE_ANGLES[1:]:
        joined = cv2.max(joined, close_line_padded(padded, length, length, angle))
    return joined.view(np.bool_)


@lru_cache(maxsize=2)
def thinning_table(second: bool) -> NDArray[np.uint8]:
    """Return 1 for each 8-bit neighbourhood (bit 0 north, then clockwise) in which a pixel stays (Zhang & Suen)."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    n, e, s, w = bits[:, 0], bits[:, 2], bits[:, 4], bits[:, 6]
    neighbours = bits.sum(axis=1)
    rises = ((bits == 0) & (np.roll(bits, -1, axis=1) == 1)).sum(axis=1)
    corner = (n * e * w == 0) & (n * s * w == 0) if second else (n * e * s == 0) & (e * s * w == 0)
    goes = (neighbours >= 2) & (neighbours <= 6) & (rises == 1) & corner
    return np.where(goes, 0, 1).astype(np.uint8)


@operator(revision=1, retired=True, cost=30.0, reach=2 * SKELETON_STEPS)
def skeleton(mask: Mask) -> Mask:
    """Thin objects to lines one pixel wide.

    Parameters
    ----------
    mask : bool array of shape (M, N)
        At most 20 layers are peeled off; what is thicker than 40 px keeps a thick core.

    References
    ----------
    T. Y. Zhang, C. Y. Suen, Commun. ACM 27(3), 1984. doi:10.1145/357994.358023
    """
    weights = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.float32)
    thin: NDArray[Any] = mask.view(np.uint8)
    for _ in range(SKELETON_STEPS):
        before = thin
        for second in (False, True):
            codes = cv2.filter2D(thin, cv2.CV_8U, weights, borderType=cv2.BORDER_CONSTANT)
            thin = cv2.bitwise_and(thin, cv2.LUT(codes, thinning_table(second)))
        if np.array_equal(thin, before):
            break
    return thin.view(np.bool_)


@operator(revision=1, cost=0.035, reach=0)
def invert_mask(mask: Mask) -> Mask:
    """Swap foreground and background."""
    return ~mask


@operator(revision=1, cost=0.035, reach=0, commutative=True)
def mask_and(a: Mask, b: Mask) -> Mask:
    """Mark pixels that both masks mark."""
    return a & b


@operator(revision=1, cost=0.035, reach=0, commutative=True)
def mask_or(a: Mask, b: Mask) -> Mask:
    """Mark pixels that at least one of two masks marks."""
    return a | b


@operator(revision=1, retired=True, cost=0.035, reach=0)
def mask_minus(a: Mask, b: Mask) -> Mask:
    """Mark pixels that the first mask marks and the second does not."""
    return a > b


@operator(revision=1, retired=True, cost=0.035, reach=0, commutative=True)
def mask_xor(a: Mask, b: Mask) -> Mask:
    """Mark pixels that exactly one of two masks marks."""
    return a ^ b


@operator(revision=1, retired=True, cost=0.1, reach=0, commutative=True)
def vote(a: Mask, b: Mask, c: Mask) -> Mask:
    """Mark pixels that at least two of three masks mark."""
    return (a & b) | (c & (a | b))


@operator(revision=1, retired=True, cost=0.03, reach=0)
def keep_where(plane: Gray, mask: Mask) -> Gray:
    """Keep a plane inside a mask; outside it becomes 0."""
    return plane * mask.view(np.uint8)
