"""Watersheds: from masks to objects, with touching ones divided along the valleys of a landscape.

Every pixel climbs to the highest of its neighbours until it stands on a top, and tops that a rule does not keep apart
are joined over the highest pass between them: a watershed by immersion whose order is that of the passes. Neighbours
are the eight around a pixel.
"""

from collections.abc import Callable
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray, Labels, Mask
from evoseg.operators.gray import smooth, smooth_cost
from evoseg.operators.labelling import component_labels
from evoseg.operators.parameters import Doc, OneOf, Range
from evoseg.operators.registry import WHOLE, operator

SMOOTHED_FIRST = Doc("Of a Gaussian that smooths the plane first.")

STEPS_PER_PX = 16
"""Heights of distance landscapes are whole numbers of these."""


@operator(revision=1, cost=1.2, reach=WHOLE)
def components(mask: Mask) -> Labels:
    """Label connected components.

    Parameters
    ----------
    mask : bool array of shape (M, N)
        Pixels that touch by an edge or a corner are one object.

    Returns
    -------
    int32 array of shape (M, N), 0 on background
    """
    return component_labels(mask)[1]


@operator(revision=1, cost=40.0, reach=WHOLE)
def distance_watershed(mask: Mask, *, distance: Annotated[float, Range(1.5, 60, unit="px", log=True)] = 8.0) -> Labels:
    """Split touching objects at narrow necks, one object for each centre far enough from the others.

    Parameters
    ----------
    distance : float, px
        Least distance between the centres (where the background is farthest) of two objects that touch. Take about the
        width of the smallest object; larger values part less.

    Returns
    -------
    int32 array of shape (M, N), 0 on background
    """
    heights = distances(mask)
    basins, tops = climb(heights, mask)
    row, col = np.divmod(tops, mask.shape[1])
    rows, cols = row.tolist(), col.tolist()

    def apart(a: int, b: int, height: int) -> bool:
        return bool((rows[a - 1] - rows[b - 1]) ** 2 + (cols[a - 1] - cols[b - 1]) ** 2 >= distance**2)

    return join_basins(basins, heights, heights.ravel()[tops], apart)


@operator(revision=1, cost=40.0, reach=WHOLE)
def depth_watershed(mask: Mask, *, depth: Annotated[float, Range(0.2, 20, unit="px", log=True)] = 1.0) -> Labels:
    """Split touching objects at narrow necks (h-maxima of the distance).

    Parameters
    ----------
    depth : float, px
        By how much the half-width must fall from the narrower of two objects to the neck between them. Larger values
        part less.

    Returns
    -------
    int32 array of shape (M, N), 0 on background

    References
    ----------
    M. Grimaud, SPIE 1769, 1992. doi:10.1117/12.60650 (dynamics of a top)
    """
    heights = distances(mask)
    return part_by_depth(heights, mask, STEPS_PER_PX * depth)


@operator(revision=1, cost=lambda p: 35.0 + smooth_cost(p["sigma"]), reach=WHOLE)
def bright_watershed(
    plane: Gray,
    mask: Mask,
    *,
    sigma: Annotated[float, Range(2.0, 20, unit="px", log=True), SMOOTHED_FIRST] = 2.0,
    depth: Annotated[int, Range(1, 128, unit="level", log=True)] = 8,
    polarity: Annotated[str, OneOf("bright", "dark")] = "bright",
) -> Labels:
    """Split touching objects along the valleys of a plane, one object for each maximum that stands out.

    Parameters
    ----------
    mask : bool array of shape (M, N)
        Where objects are.
    depth : int, level
        How far one must go down from the lower of two tops to reach the other. Larger values part less.
    polarity : str
        dark parts along ridges, one object for each bottom.

    Returns
    -------
    int32 array of shape (M, N), 0 on background
    """
    smoothed = smooth(plane, sigma)
    heights = (smoothed if polarity == "bright" else cv2.bitwise_not(smoothed)).astype(np.int32)
    return part_by_depth(heights, mask, depth)


@operator(revision=1, cost=lambda p: 40.0 + smooth_cost(p["sigma"]), reach=WHOLE)
def marker_watershed(
    plane: Gray,
    markers: Mask,
    mask: Mask,
    *,
    sigma: Annotated[float, Range(1.5, 20, unit="px", log=True), SMOOTHED_FIRST] = 2.0,
    polarity: Annotated[str, OneOf("bright", "dark")] = "bright",
) -> Labels:
    """Split a mask along the valleys of a plane, one object for each marker; parts without a marker are removed.

    Parameters
    ----------
    markers : bool array of shape (M, N)
        What hangs together is one marker.
    mask : bool array of shape (M, N)
        Where objects are; markers beyond it do not count.
    polarity : str
        dark parts along ridges.

    Returns
    -------
    int32 array of shape (M, N), 0 on background

    References
    ----------
    F. Meyer, S. Beucher, J. Visual Communication and Image Representation 1(1), 1990.
    doi:10.1016/1047-3203(90)90014-M
    """
    # Markers stand above everything, so that each is one top, and levels keep their order below.
    smoothed = smooth(plane, sigma)
    heights = (smoothed if polarity == "bright" else cv2.bitwise_not(smoothed)).astype(np.int32)
    marked = markers & mask
    heights[marked] = 256
    basins, tops = climb(heights, mask)
    is_marker = (heights.ravel()[tops] == 256).astype(np.int32)
    marker_of = component_labels(marked)[1].ravel()[tops].tolist()

    def apart(a: int, b: int, height: int) -> bool:
        return bool(marker_of[a - 1] and marker_of[b - 1] and marker_of[a - 1] != marker_of[b - 1])

    labels = join_basins(basins, heights, is_marker, apart)
    hit = np.zeros(int(labels.max()) + 1, np.bool_)
    hit[labels[marked]] = True
    return renumber_kept(labels, hit)


@operator(revision=1, cost=12.0, reach=WHOLE)
def nearest_marker(markers: Mask, mask: Mask) -> Labels:
    """Give each pixel of a mask to the nearest marker.

    Parameters
    ----------
    markers : bool array of shape (M, N)
        What hangs together is one marker.
    mask : bool array of shape (M, N)
        Where objects are; empty where there is no marker at all.

    Returns
    -------
    int32 array of shape (M, N), 0 on background
    """
    _, seeds = component_labels(markers)
    return renumber(np.where(mask, spread_labels(seeds)[0], 0).astype(np.int32))


def distances(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the distance to the background in whole steps; the image's border is no background."""
    # Where there is no background, OpenCV answers with a huge number.
    far = min(sum(mask.shape), 2**15)
    found = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5)
    # A light blur joins the many small tops along the spine of an object.
    steps: NDArray[np.int32] = np.rint(STEPS_PER_PX * smooth(np.minimum(found, np.float32(far)), 1.0)).astype(np.int32)
    return steps


def climb(heights: NDArray[np.int32], mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Send every pixel of a mask uphill; return the number of its top per pixel, and the tops' places.

    Numbers start at 1. Of equal heights the later pixel counts as the higher, so that plateaus have tops, too.
    """
    bits = int(mask.size).bit_length()
    # Height and place in one number, which the largest of the neighbours brings along.
    keys = heights.astype(np.float64) * 2.0**bits + np.arange(mask.size, dtype=np.float64).reshape(mask.shape)
    keys[~mask] = -1
    highest = cv2.dilate(keys, np.ones((3, 3), np.uint8))
    places = np.flatnonzero(mask)
    number = np.zeros(mask.size, np.intp)
    number[places] = np.arange(len(places))
    up = number[highest.ravel()[places].astype(np.int64) & (2**bits - 1)]
    while True:
        further = up[up]
        if np.array_equal(further, up):
            break
        up = further
    is_top = up == np.arange(len(up))
    count = np.cumsum(is_top)
    basins = np.zeros(mask.size, np.int32)
    basins[places] = count[up]
    tops: NDArray[np.intp] = places[is_top]
    return basins.reshape(mask.shape), tops


def part_by_depth(heights: NDArray[np.int32], mask: NDArray[np.bool_], depth: float) -> NDArray[np.int32]:
    """Part a mask into tops from the lower of which one must go down by `depth` to reach another."""
    basins, tops = climb(heights, mask)
    top = heights.ravel()[tops].tolist()

    def apart(a: int, b: int, height: int) -> bool:
        return bool(top[b - 1] - height >= depth)

    return join_basins(basins, heights, heights.ravel()[tops], apart)


def join_basins(
    basins: NDArray[np.int32],
    heights: NDArray[np.int32],
    rank: NDArray[np.int32],
    apart: Callable[[int, int, int], bool],
) -> NDArray[np.int32]:
    """Join basins over their passes, the highest pass first, unless a rule keeps them apart.

    The basin of higher rank gives the joint one its number, and `apart(a, b, height)` is asked with that one first.
    """
    n = len(rank)
    root = list(range(n + 1))
    ranks = [0, *rank.tolist()]

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for first, second, height in passes(basins, heights, n):
        a, b = find(first), find(second)
        if a == b:
            continue
        if ranks[a] < ranks[b]:
            a, b = b, a
        if not apart(a, b, height):
            root[b] = a
    roots = np.array([find(i) for i in range(n + 1)], np.int32)
    kept = np.zeros(n + 1, np.bool_)
    kept[roots[1:]] = True
    return renumber_kept(np.take(roots, basins), kept)


def renumber_kept(labels: NDArray[np.int32], kept: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Number the kept labels anew from 1, and set all others to 0."""
    kept[0] = False
    return np.take(np.where(kept, np.cumsum(kept), 0).astype(np.int32), labels)


def renumber(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Number the labels that occur from 1 without gaps."""
    return renumber_kept(labels, np.bincount(labels.ravel()) > 0)


def passes(basins: NDArray[np.int32], heights: NDArray[np.int32], n: int) -> list[tuple[int, int, int]]:
    """Return each pair of touching basins with the height of the highest pass between them, the highest first."""
    keys, found = [], []
    rows, cols = basins.shape
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(0, rows - down), slice(max(0, -right), cols - max(0, right)))
        there = (slice(down, rows), slice(max(0, right), cols - max(0, -right)))
        a, b = basins[here], basins[there]
        edge = np.flatnonzero((a != b) & (a > 0) & (b > 0))
        a, b = a.ravel()[edge].astype(np.int64), b.ravel()[edge].astype(np.int64)
        keys.append(np.minimum(a, b) * (n + 1) + np.maximum(a, b))
        found.append(np.minimum(heights[here].ravel()[edge], heights[there].ravel()[edge]))
    key, height = np.concatenate(keys), np.concatenate(found)
    if not len(key):
        return []
    order = np.lexsort((-height, key))
    key, height = key[order], height[order]
    first = np.concatenate([[True], key[1:] != key[:-1]])
    key, height = key[first], height[first]
    order = np.argsort(-height, kind="stable")
    a, b = np.divmod(key[order], n + 1)
    return list(zip(a.tolist(), b.tolist(), height[order].tolist(), strict=True))


def spread_labels(labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return for every pixel the nearest label and how far that is, px; without labels, 0 and infinity."""
    inside = labels > 0
    if not inside.any():
        return np.zeros_like(labels), np.full(labels.shape, np.inf, np.float32)
    found: tuple[Any, Any] = cv2.distanceTransformWithLabels(
        np.logical_not(inside).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    far, place = found
    number = np.zeros(int(place.max()) + 1, np.int32)
    number[place[inside]] = labels[inside]
    return np.take(number, place), far
