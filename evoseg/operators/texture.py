"""Texture: local contrast, entropy, patterns and coherence."""

import math
from functools import lru_cache
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray
from evoseg.operators.edges import gradient_magnitude
from evoseg.operators.gray import BORDER, SQUARE, as_gray, box_cost, enlarge, reduction, shrink
from evoseg.operators.parameters import Range
from evoseg.operators.registry import operator
from evoseg.operators.structuring import square

BINS = 16
"""Grey-level classes among which `entropy` counts."""

COHERENCE_FLOOR = 32.0
"""Squared Sobel slopes that count as noise in `coherence`: a plane nearly flat is not coherent."""


def local_moments(plane: NDArray[np.uint8], radius: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and standard deviation over a square, as float32."""
    side = (2 * radius + 1, 2 * radius + 1)
    mean = cv2.boxFilter(plane, cv2.CV_32F, side, borderType=BORDER)
    square_mean = cv2.sqrBoxFilter(plane, cv2.CV_32F, side, borderType=BORDER)
    variance = cv2.subtract(square_mean, cv2.multiply(mean, mean), square_mean)
    # Rounding can leave a flat plane a little below 0.
    _, variance = cv2.threshold(variance, 0, 0, cv2.THRESH_TOZERO, variance)
    return mean, cv2.sqrt(variance, variance)


@operator(revision=1, cost=lambda p: 1.0 + 1.3 * box_cost(p["radius"]), reach=lambda p: p["radius"])
def deviation(plane: Gray, *, radius: Annotated[int, Range(1, 50, unit="px", log=True), SQUARE] = 4) -> Gray:
    """Measure the local standard deviation, times 2."""
    return as_gray(cv2.convertScaleAbs(local_moments(plane, radius)[1], alpha=2))


@operator(revision=1, cost=lambda p: 0.25 + 0.05 * p["radius"], reach=lambda p: p["radius"])
def local_range(plane: Gray, *, radius: Annotated[int, Range(1, 30, unit="px", log=True)] = 3) -> Gray:
    """Take the difference between the brightest and the darkest value within a square.

    Parameters
    ----------
    radius : int, px
        The square's side is 2 radius + 1. Pixels beyond the border are ignored.
    """
    element = square(radius)
    return as_gray(cv2.subtract(cv2.dilate(plane, element), cv2.erode(plane, element)))


@lru_cache(maxsize=1)
def surprise() -> NDArray[np.uint16]:
    """Return -p log2(p) in units of 1/15360 for shares p = i / 255: 16 classes make at most 4 bits = 61440."""
    share = np.arange(1, 256) / 255
    table = np.zeros(256, np.uint16)
    table[1:] = np.rint(-15360 * share * np.log2(share))
    return table


def entropy_factor(radius: int) -> int:
    """Return the reduction at which `entropy` counts."""
    return reduction(radius, 2.0)


@operator(
    revision=1,
    retired=True,
    cost=lambda p: 9.0 if p["radius"] < 4 else 4.3 + 4.0 / entropy_factor(p["radius"]) ** 2,
    reach=lambda p: p["radius"] + 4 * entropy_factor(p["radius"]),
)
def entropy(plane: Gray, *, radius: Annotated[int, Range(2, 40, unit="px", log=True)] = 5) -> Gray:
    """Measure the entropy of the grey levels around each pixel: 0 for a single level, 255 if all are equally frequent.

    Parameters
    ----------
    radius : int, px
        Of the square neighbourhood. From 3 px on shares are counted on block means, at reduced scale. The border is
        mirrored.

    Returns
    -------
    uint8 array of shape (M, N)
        Shannon entropy over 16 classes of 16 levels, 4 bits = 255.
    """
    factor = entropy_factor(radius)
    reach = max(1, round(radius / factor))
    side = (2 * reach + 1, 2 * reach + 1)
    table = surprise()
    total: NDArray[Any] | None = None
    classes = plane // np.uint8(256 // BINS)
    for label in range(BINS):
        inside = shrink((classes == label).view(np.uint8) * np.uint8(255), factor)
        part = cv2.LUT(cv2.blur(inside, side, borderType=BORDER), table)
        total = part if total is None else cv2.add(total, part)
    assert total is not None
    return as_gray(enlarge(cv2.convertScaleAbs(total, alpha=255 / 61440), factor, plane.shape))


@operator(revision=1, retired=True, cost=1.2, reach=1)
def lbp(plane: Gray) -> Gray:
    """Encode which of the 8 neighbours are at least as bright (local binary pattern).

    Parameters
    ----------
    plane : uint8 array of shape (M, N)
        The border is mirrored.

    Returns
    -------
    uint8 array of shape (M, N)
        One bit per neighbour, from the upper left (1) clockwise to the left (128).

    References
    ----------
    T. Ojala, M. Pietikäinen, T. Mäenpää, IEEE TPAMI 24(7), 2002. doi:10.1109/TPAMI.2002.1017623
    """
    rows, cols = plane.shape
    padded = cv2.copyMakeBorder(plane, 1, 1, 1, 1, BORDER)
    code = np.zeros(plane.shape, np.uint8)
    for bit, (row, col) in enumerate(((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))):
        brighter = padded[row : row + rows, col : col + cols] >= plane
        code += brighter.view(np.uint8) * np.uint8(1 << bit)
    return code


@operator(revision=1, cost=lambda p: 0.6 + box_cost(p["radius"]), reach=lambda p: 1 + p["radius"])
def lbp_rough(
    plane: Gray,
    *,
    radius: Annotated[int, Range(1, 30, unit="px", log=True)] = 5,
    contrast: Annotated[int, Range(0, 32, unit="level")] = 3,
) -> Gray:
    """Measure the fraction of local maxima and minima around each pixel: noise and grain, whatever their contrast.

    Parameters
    ----------
    radius : int, px
        Of the square over which shares are counted. The border is mirrored.
    contrast : int, level
        How far a pixel must lie above or below the mean of its 8 neighbours to count.

    Returns
    -------
    uint8 array of shape (M, N), 255 = all pixels
    """
    weights = np.full((3, 3), 1 / 8, np.float32)
    weights[1, 1] = 0
    around = cv2.filter2D(plane, cv2.CV_8U, weights, borderType=BORDER)
    lone = (cv2.absdiff(plane, around) > contrast).view(np.uint8) * np.uint8(255)
    side = 2 * radius + 1
    return as_gray(cv2.blur(lone, (side, side), borderType=BORDER))


def coherence_radius(sigma: float) -> int:
    """Return the radius of a box filter of this standard deviation."""
    return max(1, round(math.sqrt(3) * sigma - 0.5))


@operator(
    revision=1,
    cost=lambda p: 2.3 if p["sigma"] < 3 else 2.0,
    reach=lambda p: 1 + reduction(p["sigma"], 2.0) * (coherence_radius(p["sigma"] / reduction(p["sigma"], 2.0)) + 3),
)
def coherence(plane: Gray, *, sigma: Annotated[float, Range(1, 16, unit="px", log=True)] = 4.0) -> Gray:
    """Measure how well the edges around each pixel agree in direction (structure tensor).

    Parameters
    ----------
    sigma : float, px
        Width of the neighbourhood: a box filter of the same variance, from 3 px on at reduced scale. The border is
        mirrored.

    Returns
    -------
    uint8 array of shape (M, N)
        255 (l1 - l2) / (l1 + l2) of the tensor's eigenvalues; 0 on flat ground.

    References
    ----------
    J. Bigün, G. H. Granlund, ICCV 1987.
    """
    factor = reduction(sigma, 2.0)
    radius = coherence_radius(sigma / factor)
    side = (2 * radius + 1, 2 * radius + 1)
    across = cv2.Sobel(plane, cv2.CV_32F, 1, 0, ksize=3, borderType=BORDER)
    down = cv2.Sobel(plane, cv2.CV_32F, 0, 1, ksize=3, borderType=BORDER)
    xy = cv2.blur(shrink(cv2.multiply(across, down), factor), side, borderType=BORDER)
    xx = cv2.blur(shrink(cv2.multiply(across, across, across), factor), side, borderType=BORDER)
    yy = cv2.blur(shrink(cv2.multiply(down, down, down), factor), side, borderType=BORDER)
    total = cv2.add(xx, yy) + np.float32(COHERENCE_FLOOR)
    spread = cv2.magnitude(cv2.subtract(xx, yy, xx), cv2.add(xy, xy, xy), xy)
    return as_gray(enlarge(cv2.divide(spread, total, scale=255, dtype=cv2.CV_8U), factor, plane.shape))


@operator(revision=1, cost=lambda p: 0.6 + box_cost(p["radius"]), reach=lambda p: 1 + p["radius"])
def energy(plane: Gray, *, radius: Annotated[int, Range(1, 50, unit="px", log=True)] = 5) -> Gray:
    """Measure the mean gradient magnitude around each pixel.

    Parameters
    ----------
    radius : int, px
        Of the square over which the Sobel magnitude (2 A for a step of A levels, clipped at 255) is averaged. The
        border is mirrored.
    """
    side = 2 * radius + 1
    steep = cv2.convertScaleAbs(gradient_magnitude(plane), alpha=0.5)
    return as_gray(cv2.blur(steep, (side, side), borderType=BORDER))


@operator(revision=1, cost=1.4, reach=lambda p: 1 + p["radius"])
def gradient_density(
    plane: Gray,
    *,
    radius: Annotated[int, Range(1, 50, unit="px", log=True)] = 5,
    contrast: Annotated[float, Range(1, 120, unit="level", log=True)] = 10.0,
) -> Gray:
    """Measure the fraction of edge pixels around each pixel: texture, whatever its contrast.

    Parameters
    ----------
    radius : int, px
        Of the square over which they are counted. The border is mirrored.
    contrast : float, level
        Steps above it are edges (Sobel magnitude / 4).

    Returns
    -------
    uint8 array of shape (M, N), 255 = all pixels
    """
    side = 2 * radius + 1
    steep = (gradient_magnitude(plane) > np.float32(4 * contrast)).view(np.uint8) * np.uint8(255)
    return as_gray(cv2.blur(steep, (side, side), borderType=BORDER))
