"""Two planes into one, pixel by pixel."""

import math
from functools import lru_cache
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.base.kinds import Gray
from evoseg.operators.parameters import Numbers, Range
from evoseg.operators.registry import operator
from evoseg.operators.scales import as_gray, signed_gray

POLYNOMIAL_UNIT = 8
"""Steps per level in which `polynomial` adds up, as 16-bit integers."""


@operator(revision=1, cost=0.03, reach=0, commutative=True)
def add(a: Gray, b: Gray) -> Gray:
    """Add two planes; sums above 255 become 255.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)

    Returns
    -------
    uint8 array of shape (M, N)
    """
    return as_gray(cv2.add(a, b))


@operator(revision=1, cost=0.03, reach=0)
def subtract(a: Gray, b: Gray) -> Gray:
    """Subtract the second plane from the first; what falls below 0 becomes 0.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)

    Returns
    -------
    uint8 array of shape (M, N)
    """
    return as_gray(cv2.subtract(a, b))


@operator(revision=1, cost=0.03, reach=0, commutative=True)
def difference(a: Gray, b: Gray) -> Gray:
    """Take how far two planes lie apart.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)

    Returns
    -------
    uint8 array of shape (M, N), `|a - b|`
    """
    return as_gray(cv2.absdiff(a, b))


@operator(revision=1, cost=0.03, reach=0, commutative=True)
def minimum(a: Gray, b: Gray) -> Gray:
    """Take the darker of two planes at each pixel.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)

    Returns
    -------
    uint8 array of shape (M, N)
    """
    return as_gray(cv2.min(a, b))


@operator(revision=1, cost=0.03, reach=0, commutative=True)
def maximum(a: Gray, b: Gray) -> Gray:
    """Take the brighter of two planes at each pixel.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)

    Returns
    -------
    uint8 array of shape (M, N)
    """
    return as_gray(cv2.max(a, b))


@operator(revision=1, cost=0.15, reach=0, commutative=True)
def multiply(a: Gray, b: Gray) -> Gray:
    """Multiply two planes as shares of 255: bright where both are.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)

    Returns
    -------
    uint8 array of shape (M, N), a b / 255
    """
    return as_gray(cv2.multiply(a, b, scale=1 / 255))


@operator(revision=1, cost=0.45, reach=0, commutative=True)
def hypot(a: Gray, b: Gray) -> Gray:
    """Join two planes like the sides of a right angle; results above 255 become 255.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)

    Returns
    -------
    uint8 array of shape (M, N), the root of a^2 + b^2
    """
    length = cv2.magnitude(a.astype(np.float32), b.astype(np.float32))
    return as_gray(cv2.convertScaleAbs(length))


@operator(revision=1, cost=0.6, reach=0, commutative=True)
def geometric_mean(a: Gray, b: Gray) -> Gray:
    """Take the geometric mean of two planes: a soft "and" that keeps the scale.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)

    Returns
    -------
    uint8 array of shape (M, N), the root of a b
    """
    return as_gray(cv2.convertScaleAbs(cv2.sqrt(cv2.multiply(a, b, dtype=cv2.CV_32F))))


@operator(revision=1, cost=0.13, reach=0)
def blend(a: Gray, b: Gray, *, weight: Annotated[float, Range(0, 1)] = 0.5) -> Gray:
    """Mix two planes.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)
    weight : float
        Share of the second plane.

    Returns
    -------
    uint8 array of shape (M, N), (1 - weight) a + weight b
    """
    return as_gray(cv2.addWeighted(a, 1.0 - weight, b, weight, 0.0))


@operator(revision=1, cost=0.53, reach=0)
def ratio(a: Gray, b: Gray, *, gain: Annotated[float, Range(8, 255, unit="level", log=True)] = 100.0) -> Gray:
    """Divide the first plane by the second.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)
        Zeros in `b` count as ones.
    gain : float, level
        What equal planes become.

    Returns
    -------
    uint8 array of shape (M, N), gain a / b
    """
    return as_gray(cv2.divide(a, np.maximum(b, np.uint8(1)), scale=gain))


@operator(revision=1, cost=0.13, reach=0)
def combine(
    a: Gray,
    b: Gray,
    *,
    weights: Annotated[tuple[float, ...], Numbers(-4, 4, least=2, most=2)] = (1.0, -1.0),
    offset: Annotated[float, Range(-512, 512, unit="level")] = 128.0,
) -> Gray:
    """Add two planes up with weights.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)
    weights : 2 numbers
    offset : float, level
        Added to the sum, which is then rounded and clipped to 0..255.

    Returns
    -------
    uint8 array of shape (M, N)
    """
    return as_gray(cv2.addWeighted(a, weights[0], b, weights[1], offset))


@lru_cache(maxsize=512)
def quadratic_table(constant: float, linear: float, square: float) -> NDArray[np.int16]:
    """Return constant + linear t + square t^2 over t = i / 255, in eighths of a level."""
    t = np.arange(256) / 255
    return np.rint(POLYNOMIAL_UNIT * 255 * (constant + linear * t + square * t * t)).astype(np.int16)


@operator(revision=1, cost=1.9, reach=0)
def polynomial(
    a: Gray,
    b: Gray,
    *,
    coefficients: Annotated[tuple[float, ...], Numbers(-4, 4, least=6, most=6)] = (0.0, 0.0, 0.0, 0.0, 1.0, 0.0),
) -> Gray:
    """Join two planes by a quadratic expression.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)
        They count as shares s = a / 255 and t = b / 255.
    coefficients : 6 numbers
        Of 1, s, t, s^2, s t and t^2. The result times 255 is rounded and clipped to 0..255; inside, eighths of a
        level are added up, saturating at 4095 levels.

    Returns
    -------
    uint8 array of shape (M, N)
    """
    one, of_a, of_b, of_aa, of_ab, of_bb = coefficients
    total = cv2.add(cv2.LUT(a, quadratic_table(one, of_a, of_aa)), cv2.LUT(b, quadratic_table(0.0, of_b, of_bb)))
    product = cv2.multiply(a, b, scale=POLYNOMIAL_UNIT * of_ab / 255, dtype=cv2.CV_16S)
    return signed_gray(cv2.add(total, product, total), 1 / POLYNOMIAL_UNIT, "bright")


@lru_cache(maxsize=256)
def plane_table(values: tuple[float, ...]) -> NDArray[np.uint8]:
    """Return the bilinear surface through a square grid of values, as 65536 levels: [256 a + b]."""
    side = math.isqrt(len(values))
    at = np.linspace(0, 255, side)
    grid = np.array(values, float).reshape(side, side)
    levels = np.arange(256)
    rows = np.array([np.interp(levels, at, row) for row in grid])
    cell = np.minimum((levels * (side - 1)) // 255, side - 2)
    share = (levels * (side - 1) / 255 - cell)[:, None]
    surface: NDArray[np.float64] = rows[cell] * (1 - share) + rows[cell + 1] * share
    return np.rint(surface).astype(np.uint8).ravel()


@operator(revision=1, cost=0.9, reach=0)
def lookup(
    a: Gray,
    b: Gray,
    *,
    values: Annotated[tuple[float, ...], Numbers(0, 255, least=9, most=121, square=True)] = (
        (0.0, 64.0, 128.0, 64.0, 128.0, 192.0, 128.0, 192.0, 255.0)
    ),
) -> Gray:
    """Look each pair of levels up in a free table of two planes.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)
    values : 9, 25, 49, 81 or 121 numbers, level
        Results on a square grid spaced evenly over 0..255 in both planes: `a` picks the row, `b` the column. Between
        them the table is bilinear.

    Returns
    -------
    uint8 array of shape (M, N)
    """
    pairs = np.ascontiguousarray(cv2.merge([b, a])).view("<u2").reshape(a.shape)
    return np.take(plane_table(values), pairs)
