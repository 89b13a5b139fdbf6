"""Several planes into one, pixel by pixel: by arithmetic, by a table, or each along a curve of its own."""

import math
from functools import lru_cache, reduce
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray
from evoseg.operators.gray import ADDED, as_gray, signed_gray
from evoseg.operators.parameters import Numbers, Range
from evoseg.operators.registry import operator

POLYNOMIAL_UNIT = 8
"""Steps per level in which `polynomial` adds up, as 16-bit integers."""


@operator(revision=1, cost=0.03, reach=0, commutative=True)
def add(a: Gray, b: Gray) -> Gray:
    """Add two planes; sums above 255 become 255."""
    return as_gray(cv2.add(a, b))


@operator(revision=1, cost=0.03, reach=0)
def subtract(a: Gray, b: Gray) -> Gray:
    """Subtract the second plane from the first; values below 0 become 0."""
    return as_gray(cv2.subtract(a, b))


@operator(revision=1, cost=0.03, reach=0, commutative=True)
def difference(a: Gray, b: Gray) -> Gray:
    """Take the absolute difference of two planes.

    Returns
    -------
    uint8 array of shape (M, N), `|a - b|`
    """
    return as_gray(cv2.absdiff(a, b))


@operator(revision=1, cost=0.03, reach=0, commutative=True)
def minimum(a: Gray, b: Gray) -> Gray:
    """Take the darker of two planes at each pixel."""
    return as_gray(cv2.min(a, b))


@operator(revision=1, cost=0.03, reach=0, commutative=True)
def maximum(a: Gray, b: Gray) -> Gray:
    """Take the brighter of two planes at each pixel."""
    return as_gray(cv2.max(a, b))


@operator(revision=1, cost=0.15, reach=0, commutative=True)
def multiply(a: Gray, b: Gray) -> Gray:
    """Multiply two planes as fractions of 255: bright where both are bright.

    Returns
    -------
    uint8 array of shape (M, N), a b / 255
    """
    return as_gray(cv2.multiply(a, b, scale=1 / 255))


@operator(revision=1, cost=0.45, reach=0, commutative=True)
def hypot(a: Gray, b: Gray) -> Gray:
    """Take the root of the sum of two planes' squares; results above 255 become 255.

    Returns
    -------
    uint8 array of shape (M, N), the root of a^2 + b^2
    """
    length = cv2.magnitude(a.astype(np.float32), b.astype(np.float32))
    return as_gray(cv2.convertScaleAbs(length))


@operator(revision=1, cost=0.6, reach=0, commutative=True)
def geometric_mean(a: Gray, b: Gray) -> Gray:
    """Take the geometric mean of two planes: a soft "and" that keeps the scale.

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
    offset: Annotated[float, Range(-512, 512, unit="level"), ADDED] = 128.0,
) -> Gray:
    """Add two planes with weights.

    Parameters
    ----------
    weights : 2 numbers
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
    """Combine two planes by a quadratic polynomial.

    Parameters
    ----------
    a, b : uint8 arrays of shape (M, N)
        They count as shares s = a / 255 and t = b / 255.
    coefficients : 6 numbers
        Of 1, s, t, s^2, s t and t^2. The result times 255 is rounded and clipped to 0..255; inside, eighths of a
        level are added up, saturating at 4095 levels.
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
    """Map each pair of grey levels of two planes through a table of values chosen by the search.

    Parameters
    ----------
    values : 9, 25, 49, 81 or 121 numbers, level
        Results on a square grid spaced evenly over 0..255 in both planes: `a` picks the row, `b` the column. Between
        them the table is bilinear.
    """
    pairs = np.ascontiguousarray(cv2.merge([b, a])).view("<u2").reshape(a.shape)
    return np.take(plane_table(values), pairs)


KNOTS = 9
"""Points of one curve, evenly spaced over 0..255."""
MOST_LEVELS = 510.0
"""Largest magnitude of a curve's values."""
CURVE_UNIT = 8
"""Steps per level in which curves are added up, as 16-bit integers; four curves cannot overflow."""

HALVES = tuple(float(v) for v in np.linspace(0, 127, KNOTS).round(1))
"""A straight line up to half of the levels."""


@lru_cache(maxsize=2048)
def curve_steps(points: tuple[float, ...]) -> NDArray[np.int16]:
    """Return the polygon through points at equal distances over 0..255, in steps of `1 / CURVE_UNIT` level."""
    at = np.linspace(0, 255, len(points))
    return np.rint(CURVE_UNIT * np.interp(np.arange(256), at, points)).astype(np.int16)


def sum_of_curves(planes: tuple[NDArray[np.uint8], ...], curves: tuple[float, ...]) -> Gray:
    """Look every plane up in its own curve, add, round and clip to 0..255."""
    looked_up: list[NDArray[Any]] = [
        cv2.LUT(plane, curve_steps(curves[KNOTS * i : KNOTS * (i + 1)])) for i, plane in enumerate(planes)
    ]
    return signed_gray(reduce(lambda total, more: cv2.add(total, more, total), looked_up), 1 / CURVE_UNIT, "bright")


@operator(revision=1, cost=0.75, reach=0)
def add_curves(
    a: Gray,
    b: Gray,
    *,
    curves: Annotated[tuple[float, ...], Numbers(-MOST_LEVELS, MOST_LEVELS, least=18, most=18)] = HALVES * 2,
) -> Gray:
    """Map each of two planes through its own curve and add them.

    Parameters
    ----------
    curves : 18 numbers, level
        9 for each plane: what its levels 0, 32, 64 ... 255 contribute, with straight lines between. The sum is
        rounded and clipped to 0..255. The search fits them so that the sum tells foreground from background.

    References
    ----------
    T. Hastie, R. Tibshirani, Statistical Science 1(3), 1986. doi:10.1214/ss/1177013604
    """
    return sum_of_curves((a, b), curves)


@operator(revision=1, cost=1.4, reach=0)
def add_curves4(
    a: Gray,
    b: Gray,
    c: Gray,
    d: Gray,
    *,
    curves: Annotated[tuple[float, ...], Numbers(-MOST_LEVELS, MOST_LEVELS, least=36, most=36)] = HALVES * 4,
) -> Gray:
    """Map each of four planes through its own curve and add them.

    Parameters
    ----------
    curves : 36 numbers, level
        9 for each plane, as in `add_curves`.

    References
    ----------
    T. Hastie, R. Tibshirani, Statistical Science 1(3), 1986. doi:10.1214/ss/1177013604
    """
    return sum_of_curves((a, b, c, d), curves)
