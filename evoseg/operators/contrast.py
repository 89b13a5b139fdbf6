"""Change grey levels: by a curve, by the neighbourhood, or by the background."""

from functools import lru_cache
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray
from evoseg.operators.gray import SQUARE, as_gray, equalising_table, round_gray, smooth, smooth_cost, smooth_reach
from evoseg.operators.parameters import Doc, Numbers, Range
from evoseg.operators.registry import WHOLE, operator
from evoseg.operators.smoothing import median_any, median_factor
from evoseg.operators.strips import by_histogram
from evoseg.operators.texture import local_moments

BACKGROUND = Doc(
    "Of the Gaussian background, from 3 px on at reduced scale. "
    "Take several times the size of the objects. The border is mirrored."
)

NOISE_FLOOR = 2.0
"""Levels added to the deviation in `local_normalise`, so that flat ground is not blown up."""


@operator(revision=1, cost=0.02, reach=0)
def invert(plane: Gray) -> Gray:
    """Swap bright and dark.

    Returns
    -------
    uint8 array of shape (M, N), 255 - `plane`
    """
    return as_gray(cv2.bitwise_not(plane))


@lru_cache(maxsize=256)
def gamma_table(exponent: float) -> NDArray[np.uint8]:
    """Return 255 (i / 255)^exponent."""
    return np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)


@operator(revision=1, cost=0.3, reach=0)
def gamma(plane: Gray, *, exponent: Annotated[float, Range(0.2, 5, log=True)] = 0.5) -> Gray:
    """Raise the grey levels to a power (gamma correction).

    Parameters
    ----------
    exponent : float
        Below 1 lifts the dark levels apart, above 1 the bright ones.

    Returns
    -------
    uint8 array of shape (M, N), 255 (plane / 255)^exponent
    """
    return as_gray(cv2.LUT(plane, gamma_table(exponent)))


@lru_cache(maxsize=1024)
def stretch_table(low: int, high: int) -> NDArray[np.uint8]:
    """Return a ramp from 0 at `low` to 255 at `high`; a step if they are equal."""
    levels = np.arange(256)
    if low == high:
        return np.where(levels > low, 255, 0).astype(np.uint8)
    return np.rint(np.clip(255 * (levels - low) / (high - low), 0, 255)).astype(np.uint8)


@operator(revision=1, cost=0.3, reach=0)
def stretch(
    plane: Gray,
    *,
    low: Annotated[int, Range(0, 255, unit="level")] = 32,
    high: Annotated[int, Range(0, 255, unit="level")] = 224,
) -> Gray:
    """Stretch the range between two grey levels to the whole scale, the same for every image.

    Parameters
    ----------
    low, high : int, level
        Become 0 and 255. `high` below `low` inverts; equal ones mark what lies above.
    """
    return as_gray(cv2.LUT(plane, stretch_table(low, high)))


@lru_cache(maxsize=1024)
def curve_table(points: tuple[float, ...]) -> NDArray[np.uint8]:
    """Return the polygon through points at equal distances over 0..255."""
    at = np.linspace(0, 255, len(points))
    return np.rint(np.interp(np.arange(256), at, points)).astype(np.uint8)


@operator(revision=1, cost=0.3, reach=0)
def curve(
    plane: Gray,
    *,
    points: Annotated[tuple[float, ...], Numbers(0, 255, least=2, most=17)] = (0.0, 32.0, 128.0, 224.0, 255.0),
) -> Gray:
    """Map grey levels through a curve chosen by the search.

    Parameters
    ----------
    points : 2 to 17 numbers, level
        New values of levels spaced evenly from 0 to 255; straight lines between them.
    """
    return as_gray(cv2.LUT(plane, curve_table(points)))


@operator(
    revision=1,
    cost=0.6,
    reach=WHOLE,
    two_pass=by_histogram(
        lambda counts, p: equalising_table(counts), lambda plane, table, p: as_gray(cv2.LUT(plane, table))
    ),
)
def equalise(plane: Gray) -> Gray:
    """Equalise each image's histogram, so that all grey levels are about equally frequent."""
    return as_gray(cv2.equalizeHist(plane))


@operator(revision=1, cost=2.4, reach=WHOLE)
def clahe(
    plane: Gray,
    *,
    clip: Annotated[float, Range(1, 20, log=True)] = 3.0,
    tiles: Annotated[int, Range(2, 16, log=True)] = 8,
) -> Gray:
    """Equalise contrast locally, up to a limit (CLAHE).

    Parameters
    ----------
    clip : float
        Limit of the contrast; larger values raise more, noise too.
    tiles : int
        The image is parted into this many tiles along each side.

    References
    ----------
    K. Zuiderveld, Graphics Gems IV, 1994.
    """
    rows, cols = plane.shape
    grid = (min(tiles, cols), min(tiles, rows))
    return as_gray(cv2.createCLAHE(clip, grid).apply(plane))


@operator(revision=1, cost=2.3, reach=lambda p: p["radius"])
def local_normalise(
    plane: Gray,
    *,
    radius: Annotated[int, Range(2, 60, unit="px", log=True), SQUARE] = 15,
    gain: Annotated[float, Range(10, 100, unit="level", log=True)] = 40.0,
) -> Gray:
    """Measure how many local standard deviations each pixel lies above or below the local mean.

    Parameters
    ----------
    gain : float, level
        Levels per standard deviation; the mean becomes 128. 2 levels are added to the deviation, so that flat ground
        stays calm.
    """
    mean, spread = local_moments(plane, radius)
    spread += np.float32(NOISE_FLOOR)
    above = cv2.subtract(plane, mean, mean, dtype=cv2.CV_32F)
    return round_gray(cv2.divide(above, spread, spread, scale=gain), 128.0)


@operator(revision=1, cost=lambda p: 0.1 + smooth_cost(p["sigma"]), reach=lambda p: smooth_reach(p["sigma"]))
def flatten(plane: Gray, *, sigma: Annotated[float, Range(2, 80, unit="px", log=True), BACKGROUND] = 20.0) -> Gray:
    """Subtract a smooth background; pixels equal to it become 128.

    Returns
    -------
    uint8 array of shape (M, N), `plane` - background + 128
    """
    return as_gray(cv2.addWeighted(plane, 1.0, smooth(plane, sigma), -1.0, 128.0))


@operator(revision=1, cost=1.6, reach=lambda p: 5 * median_factor(p["radius"]))
def flatten_median(plane: Gray, *, radius: Annotated[int, Range(2, 50, unit="px", log=True)] = 20) -> Gray:
    """Subtract the local median, which ignores objects on less than half of its area; pixels equal to it become 128.

    Parameters
    ----------
    radius : int, px
        Of the median, as in `median`: above 2 px at reduced scale.

    Returns
    -------
    uint8 array of shape (M, N), `plane` - median + 128
    """
    return as_gray(cv2.addWeighted(plane, 1.0, median_any(plane, radius), -1.0, 128.0))


@operator(revision=1, cost=lambda p: 0.4 + smooth_cost(p["sigma"]), reach=lambda p: smooth_reach(p["sigma"]))
def divide_background(
    plane: Gray, *, sigma: Annotated[float, Range(2, 80, unit="px", log=True), BACKGROUND] = 20.0
) -> Gray:
    """Divide by a smooth background to correct uneven illumination; pixels equal to it become 128.

    Returns
    -------
    uint8 array of shape (M, N), 128 `plane` / background
    """
    background = np.maximum(smooth(plane, sigma), np.uint8(1))
    return as_gray(cv2.divide(plane, background, scale=128))
