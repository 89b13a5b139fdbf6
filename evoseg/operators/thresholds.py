"""From a plane to a mask: levels fixed, fitted, or found in each image."""

from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray, Mask
from evoseg.operators.gray import BORDER, as_gray, box_cost, kmeans_levels, otsu_level, triangle_level
from evoseg.operators.labelling import component_labels
from evoseg.operators.morphology import reconstruct_within
from evoseg.operators.parameters import Doc, Fitted, InOrder, OneOf, Range
from evoseg.operators.registry import WHOLE, operator
from evoseg.operators.strips import Params, by_histogram, by_object
from evoseg.operators.texture import local_moments

LEVEL_OFFSET = Doc("Added to the level found.")


MAXIMA_STEPS = 32
"""Pixels that `regional_maxima` goes in search of a higher value."""


def beyond(plane: NDArray[np.uint8], level: float, polarity: str) -> NDArray[np.bool_]:
    """Mark what lies above `level` if bright, else what does not."""
    return plane > level if polarity == "bright" else plane <= level


@operator(revision=1, cost=0.03, reach=0)
def threshold(
    plane: Gray,
    *,
    level: Annotated[int, Range(0, 255, unit="level"), Fitted()] = 128,
    polarity: Annotated[str, OneOf("bright", "dark"), Fitted()] = "bright",
) -> Mask:
    """Mark pixels beyond a level that the search fits to the masks.

    Parameters
    ----------
    level : int, level
        Fitted: bright marks pixels above it, dark those at or below it.
    polarity : str
        Fitted.
    """
    return plane > level if polarity == "bright" else plane <= level


@operator(revision=1, cost=0.03, reach=0)
def level(
    plane: Gray,
    *,
    level: Annotated[int, Range(0, 255, unit="level")] = 128,
    polarity: Annotated[str, OneOf("bright", "dark")] = "bright",
) -> Mask:
    """Mark pixels beyond a level that the search varies like any other number.

    Parameters
    ----------
    level : int, level
        bright marks pixels above it, dark those at or below it.
    """
    return beyond(plane, level, polarity)


@operator(revision=1, cost=0.09, reach=0)
def in_range(
    plane: Gray,
    *,
    low: Annotated[int, Range(0, 255, unit="level")] = 64,
    high: Annotated[int, Range(0, 255, unit="level")] = 192,
) -> Mask:
    """Mark pixels between two levels.

    Parameters
    ----------
    low, high : int, level
        Both included. If `low` is above `high` the range goes round the end, from `low` up and from `high` down,
        as hues do.
    """
    if low <= high:
        return (plane >= low) & (plane <= high)
    return (plane >= low) | (plane <= high)


def beyond_found(plane: NDArray[np.uint8], found: int, params: Params) -> NDArray[np.bool_]:
    """Mark what lies beyond a level that was found, moved by the offset."""
    return beyond(plane, found + params["offset"], params["polarity"])


@operator(
    revision=1,
    cost=0.47,
    reach=WHOLE,
    two_pass=by_histogram(lambda counts, p: otsu_level(counts), beyond_found),
)
def otsu(
    plane: Gray,
    *,
    polarity: Annotated[str, OneOf("bright", "dark")] = "bright",
    offset: Annotated[int, Range(-64, 64, unit="level"), LEVEL_OFFSET] = 0,
) -> Mask:
    """Mark pixels beyond the level that best splits each image's histogram in two.

    References
    ----------
    N. Otsu, IEEE Trans. SMC 9(1), 1979. doi:10.1109/TSMC.1979.4310076
    """
    found, _ = cv2.threshold(plane, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return beyond(plane, found + offset, polarity)


@operator(
    revision=1,
    cost=0.45,
    reach=WHOLE,
    two_pass=by_histogram(lambda counts, p: triangle_level(counts), beyond_found),
)
def triangle(
    plane: Gray,
    *,
    polarity: Annotated[str, OneOf("bright", "dark")] = "bright",
    offset: Annotated[int, Range(-64, 64, unit="level"), LEVEL_OFFSET] = 0,
) -> Mask:
    """Mark pixels beyond the foot of the histogram's single large peak: for few objects on a large background.

    References
    ----------
    G. W. Zack et al., J. Histochem. Cytochem. 25(7), 1977. doi:10.1177/25.7.70454
    """
    found, _ = cv2.threshold(plane, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_TRIANGLE)
    return beyond(plane, found + offset, polarity)


def within(plane: NDArray[np.uint8], levels: tuple[int, int]) -> NDArray[np.bool_]:
    """Mark what lies from a first level up to another."""
    return np.greater_equal(plane, levels[0]) & np.less(plane, levels[1])


@operator(
    revision=1,
    cost=1.0,
    reach=WHOLE,
    two_pass=by_histogram(
        # OpenCV counts in float32.
        lambda counts, p: kmeans_levels(counts.astype(np.float32).astype(np.float64), p["k"], p["index"]),
        lambda plane, levels, p: within(plane, levels),
    ),
    in_order=InOrder("index", "k", strict=True, means="lowered"),
)
def kmeans_class(
    plane: Gray,
    *,
    k: Annotated[int, Range(2, 5)] = 3,
    index: Annotated[int, Range(0, 4)] = 0,
) -> Mask:
    """Divide each image's grey levels into k clusters and mark one of them.

    Parameters
    ----------
    k : int
        Number of clusters. They start evenly spaced between the darkest and the brightest pixel, and 24 rounds of
        Lloyd's algorithm on the histogram move them.
    index : int
        Which one, from the darkest, counted from 0; less than `k`.
    """
    counts = cv2.calcHist([plane], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    return within(plane, kmeans_levels(counts, k, index))


@operator(revision=1, cost=lambda p: 0.3 + box_cost(p["window"] // 2), reach=lambda p: p["window"] // 2)
def local_mean(
    plane: Gray,
    *,
    window: Annotated[int, Range(3, 151, unit="px", log=True, odd=True)] = 31,
    offset: Annotated[int, Range(-64, 64, unit="level")] = 5,
    polarity: Annotated[str, OneOf("bright", "dark")] = "bright",
) -> Mask:
    """Mark pixels that differ from the mean of their neighbourhood.

    Parameters
    ----------
    window : int, px
        Side of the square neighbourhood, odd. The border is mirrored.
    offset : int, level
        How far above (bright) or below (dark) the rounded mean a pixel must lie; it must exceed it.
    """
    mean = cv2.blur(plane, (window, window), borderType=BORDER)
    if polarity == "bright":
        return cv2.subtract(plane, mean, dtype=cv2.CV_16S) > offset
    return cv2.subtract(mean, plane, dtype=cv2.CV_16S) > offset


@operator(revision=1, cost=2.2, reach=lambda p: p["window"] // 2)
def sauvola(
    plane: Gray,
    *,
    window: Annotated[int, Range(3, 101, unit="px", log=True, odd=True)] = 25,
    k: Annotated[float, Range(0.01, 0.8)] = 0.2,
    polarity: Annotated[str, OneOf("bright", "dark")] = "dark",
) -> Mask:
    """Mark pixels beyond a threshold computed from the mean and contrast of their neighbourhood.

    Parameters
    ----------
    window : int, px
        Side of the square neighbourhood, odd. Take several times the width of the objects. The border is mirrored.
    k : float
        Weight of the local contrast. Larger values mark fewer pixels.
    polarity : str
        dark is the rule as published, plane < mean (1 + k (deviation / 128 - 1)); bright applies it to the
        inverted plane.

    References
    ----------
    J. Sauvola, M. Pietikäinen, Pattern Recognition 33(2), 2000. doi:10.1016/S0031-3203(99)00055-2
    """
    source = plane if polarity == "dark" else cv2.bitwise_not(plane)
    mean, spread = local_moments(as_gray(source), window // 2)
    # 128 is the largest deviation that 8-bit values can reach; Sauvola's R.
    spread *= np.float32(k / 128)
    spread += np.float32(1 - k)
    return np.less(source, cv2.multiply(mean, spread, mean))


def weak_and_strong(
    plane: NDArray[np.uint8], low: int, high: int, polarity: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Mark what lies beyond the nearer and beyond the farther of two levels."""
    first, second = min(low, high), max(low, high)
    if polarity == "bright":
        return plane > first, plane > second
    return plane <= second, plane <= first


@operator(
    revision=1,
    retired=True,
    cost=4.0,
    reach=WHOLE,
    two_pass=by_object(
        lambda n, labels, arrays, place, p: np.bincount(labels[weak_and_strong(arrays[0], **p)[1]], minlength=n),
        lambda sums, p: sums[:, 0] > 0,
        mask=lambda arrays, p: weak_and_strong(arrays[0], **p)[0],
    ),
    in_order=InOrder("low", "high"),
)
def hysteresis(
    plane: Gray,
    *,
    low: Annotated[int, Range(0, 255, unit="level")] = 64,
    high: Annotated[int, Range(0, 255, unit="level")] = 128,
    polarity: Annotated[str, OneOf("bright", "dark")] = "bright",
) -> Mask:
    """Mark pixels beyond a weak level that are connected (8 neighbours) to one beyond a strong level.

    Parameters
    ----------
    low, high : int, level
        bright: weak above `low`, strong above `high`; dark: weak at or below `high`, strong at or below `low`.
        `low` may not exceed `high`.
    """
    weak, strong = weak_and_strong(plane, low, high, polarity)
    n, labels = component_labels(weak)
    hit = np.zeros(n, np.bool_)
    hit[labels[strong]] = True
    return np.take(hit, labels)


@operator(revision=1, retired=True, cost=6.0, reach=WHOLE, in_order=InOrder("low", "high"))
def canny(
    plane: Gray,
    *,
    low: Annotated[int, Range(5, 1000, log=True)] = 60,
    high: Annotated[int, Range(5, 1000, log=True)] = 150,
) -> Mask:
    """Mark edges one pixel wide.

    Parameters
    ----------
    plane : uint8 array of shape (M, N)
        Smooth it first if it is noisy.
    low, high : int
        Thresholds on |dx| + |dy| of 3 x 3 Sobel derivatives (a step of 1 level counts 4): edges weaker than `low`
        go, those above `high` stay, the others stay if they touch one that stays. `low` may not exceed `high`.

    References
    ----------
    J. Canny, IEEE TPAMI 8(6), 1986. doi:10.1109/TPAMI.1986.4767851
    """
    return cv2.Canny(plane, min(low, high), max(low, high), apertureSize=3, L2gradient=False) > 0


@operator(revision=1, retired=True, cost=4.5, reach=MAXIMA_STEPS)
def regional_maxima(
    plane: Gray,
    *,
    h: Annotated[int, Range(1, 128, unit="level", log=True)] = 10,
    polarity: Annotated[str, OneOf("bright", "dark")] = "bright",
) -> Mask:
    """Mark maxima that rise at least h levels above the saddle towards anything higher (h-maxima).

    Parameters
    ----------
    h : int, level
        Depth that a top must have. Larger values mark fewer.
    polarity : str
        dark marks bottoms instead.

    Notes
    -----
    The plane lowered by h grows back under itself for 32 steps of one pixel, not until nothing changes: that bounds
    time and reach, and a plateau wider than 64 px counts as a top.
    """
    source = plane if polarity == "bright" else cv2.bitwise_not(plane)
    lowered = cv2.subtract(source, np.full_like(source, h))
    grown = reconstruct_within(lowered, source, MAXIMA_STEPS)
    return cv2.subtract(source, grown) >= h
