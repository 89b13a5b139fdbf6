"""Smoothing filters, which reduce noise and preserve edges more or less; and the free linear filter."""

import math
from functools import lru_cache
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray
from evoseg.operators.gray import (
    ADDED,
    BORDER,
    SIDE,
    SQUARE,
    as_gray,
    box_cost,
    enlarge,
    reduction,
    shrink,
    smooth,
    smooth_cost,
    smooth_reach,
)
from evoseg.operators.parameters import Numbers, Range
from evoseg.operators.registry import operator


@operator(revision=1, cost=lambda p: smooth_cost(p["sigma"]), reach=lambda p: smooth_reach(p["sigma"]))
def gaussian(plane: Gray, *, sigma: Annotated[float, Range(0.5, 50, unit="px", log=True)] = 2.0) -> Gray:
    """Smooth with a Gaussian.

    Parameters
    ----------
    sigma : float, px
        Standard deviation. From 3 px on the filter works at reduced scale. The border is mirrored.
    """
    return as_gray(smooth(plane, sigma))


@operator(revision=1, cost=lambda p: box_cost(p["radius"]), reach=lambda p: p["radius"])
def box(plane: Gray, *, radius: Annotated[int, Range(1, 60, unit="px", log=True), SIDE] = 3) -> Gray:
    """Replace each pixel by the mean of the square around it."""
    side = 2 * radius + 1
    return as_gray(cv2.blur(plane, (side, side), borderType=BORDER))


def median_factor(radius: int) -> int:
    """Return the reduction at which a median of this radius becomes one of side 3 or 5."""
    return 1 if radius <= 2 else reduction(radius, 1.5)


def median_any(plane: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Median filter; above radius 2 a median of side 3 or 5 among block means."""
    factor = median_factor(radius)
    side = 5 if radius / factor >= 1.5 else 3
    small = cv2.medianBlur(np.ascontiguousarray(shrink(plane, factor)), side)
    return as_gray(enlarge(small, factor, plane.shape))


@operator(
    revision=1,
    cost=lambda p: {1: 0.13, 2: 0.9}.get(p["radius"], 0.5),
    reach=lambda p: 5 * median_factor(p["radius"]),
)
def median(plane: Gray, *, radius: Annotated[int, Range(1, 50, unit="px", log=True)] = 2) -> Gray:
    """Replace each pixel by the median of its neighbourhood: specks are removed, edges stay.

    Parameters
    ----------
    radius : int, px
        1 and 2 are exact squares of side 3 and 5. Above that the plane is reduced to block means whose side is a
        power of two, so that a square of side 5 covers the radius, filtered, and enlarged linearly. Edge pixels
        are repeated beyond the border.
    """
    return median_any(plane, radius)


@operator(revision=1, cost=lambda p: {1: 1.6, 2: 3.6, 3: 11.0}[p["radius"]], reach=lambda p: p["radius"])
def bilateral(
    plane: Gray,
    *,
    radius: Annotated[int, Range(1, 3, unit="px")] = 2,
    contrast: Annotated[float, Range(2, 120, unit="level", log=True)] = 25.0,
) -> Gray:
    """Average similar pixels only: noise is removed, edges stay (bilateral filter).

    Parameters
    ----------
    radius : int, px
        Of the neighbourhood; its weights fall with a sigma of radius / 1.5. The border is mirrored.
    contrast : float, level
        Sigma over grey levels: differences well above it survive.

    References
    ----------
    C. Tomasi, R. Manduchi, ICCV 1998. doi:10.1109/ICCV.1998.710815
    """
    return as_gray(cv2.bilateralFilter(plane, 2 * radius + 1, contrast, radius / 1.5, borderType=BORDER))


@operator(revision=1, cost=5.0, reach=lambda p: 2 * p["radius"])
def guided(
    plane: Gray,
    *,
    radius: Annotated[int, Range(1, 40, unit="px", log=True), SQUARE] = 4,
    eps: Annotated[float, Range(1, 100, unit="level", log=True)] = 12.0,
) -> Gray:
    """Smooth where the plane varies little and keep it elsewhere (guided filter, with itself as the guide).

    Parameters
    ----------
    eps : float, level
        Neighbourhoods whose deviation lies well below it become flat, those well above stay as they are.

    References
    ----------
    K. He, J. Sun, X. Tang, IEEE TPAMI 35(6), 2013. doi:10.1109/TPAMI.2012.213
    """
    side = (2 * radius + 1, 2 * radius + 1)
    mean = cv2.boxFilter(plane, cv2.CV_32F, side, borderType=BORDER)
    square_mean = cv2.sqrBoxFilter(plane, cv2.CV_32F, side, borderType=BORDER)
    work = cv2.multiply(mean, mean)
    variance = cv2.subtract(square_mean, work, square_mean)
    # Around each pixel the result is slope * plane + level; both are averaged over all squares that hold the pixel.
    slope = cv2.divide(variance, variance + np.float32(eps * eps), variance)
    level = cv2.subtract(mean, cv2.multiply(slope, mean, work), mean)
    level = cv2.blur(level, side, borderType=BORDER)
    slope = cv2.blur(slope, side, borderType=BORDER)
    slope = cv2.multiply(slope, plane, slope, dtype=cv2.CV_32F)
    return as_gray(cv2.add(slope, level, dtype=cv2.CV_8U))


@operator(revision=1, cost=lambda p: 0.1 + smooth_cost(p["sigma"]), reach=lambda p: smooth_reach(p["sigma"]))
def sharpen(
    plane: Gray,
    *,
    sigma: Annotated[float, Range(0.5, 20, unit="px", log=True)] = 2.0,
    amount: Annotated[float, Range(0.1, 8, log=True)] = 1.0,
) -> Gray:
    """Enhance the details that a Gaussian would remove (unsharp mask).

    Parameters
    ----------
    sigma : float, px
        Of the Gaussian: details of about this size are raised. The border is mirrored.
    amount : float
        How much of the difference is added; the sum is clipped to 0..255.
    """
    return as_gray(cv2.addWeighted(plane, 1.0 + amount, smooth(plane, sigma), -amount, 0.0))


@lru_cache(maxsize=256)
def square_weights(weights: tuple[float, ...]) -> NDArray[np.float32]:
    """Return weights as a square float32 kernel."""
    side = math.isqrt(len(weights))
    return np.array(weights, np.float32).reshape(side, side)


@operator(
    revision=1,
    cost=lambda p: 0.1 + 0.022 * len(p["weights"]) + 0.00023 * len(p["weights"]) ** 2,
    reach=lambda p: math.isqrt(len(p["weights"])) // 2,
)
def kernel(
    plane: Gray,
    *,
    weights: Annotated[tuple[float, ...], Numbers(-4, 4, least=9, most=121, square=True)] = (
        (0.0, -0.5, 0.0, -0.5, 3.0, -0.5, 0.0, -0.5, 0.0)
    ),
    offset: Annotated[float, Range(-255, 255, unit="level"), ADDED] = 0.0,
) -> Gray:
    """Correlate with a square kernel whose weights the search chooses.

    Parameters
    ----------
    weights : 9, 25, 49, 81 or 121 numbers
        The kernel row by row, used as it is, neither mirrored nor normalised. The border is mirrored.
    """
    return as_gray(cv2.filter2D(plane, cv2.CV_8U, square_weights(weights), delta=offset, borderType=BORDER))
