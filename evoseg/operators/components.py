"""Masks to masks, object by object: objects are 8-connected, holes 4-connected."""

from collections.abc import Callable
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Mask
from evoseg.operators.labelling import (
    are_largest,
    are_round,
    component_labels,
    is_between,
    keep_by_area,
    label_areas,
    label_sums,
    moments,
    select_labels,
)
from evoseg.operators.parameters import InOrder, Range
from evoseg.operators.registry import WHOLE, operator
from evoseg.operators.strips import Params, Strip, TwoPass, by_object

MAX_OUTLINES = 300
"""Objects whose convex hull is looked at, the largest first; more would cost too much."""


def by_area(rule: Callable[[NDArray[np.int64], Params], NDArray[np.bool_]]) -> TwoPass:
    """Return the form for large images of what `keep_by_area` does."""

    def kept(sums: NDArray[np.float64], params: Params) -> NDArray[np.bool_]:
        areas = sums[:, 0].astype(np.int64)
        areas[0] = 0
        return rule(areas, params)

    return by_object(lambda n, labels, arrays, place, params: label_areas(n, labels, arrays[0]), kept)


def by_shape(rule: Callable[[NDArray[np.float64], Params], NDArray[np.bool_]]) -> TwoPass:
    """Return the form for large images of an operator that keeps objects by their moments."""
    return by_object(lambda n, labels, arrays, place, params: label_sums(n, labels, place.first), rule)


@operator(revision=1, cost=3.5, reach=WHOLE, two_pass=by_area(lambda areas, p: areas >= p["area"]))
def remove_small(mask: Mask, *, area: Annotated[int, Range(2, 20000, unit="px2", log=True)] = 50) -> Mask:
    """Remove objects smaller than a given area.

    Parameters
    ----------
    area : int, px2
        Objects of at least this many pixels stay.
    """
    return keep_by_area(mask, lambda areas: areas >= area)


@operator(revision=1, cost=3.5, reach=WHOLE, two_pass=by_area(lambda areas, p: areas <= p["area"]))
def remove_large(mask: Mask, *, area: Annotated[int, Range(10, 200000, unit="px2", log=True)] = 2000) -> Mask:
    """Remove objects larger than a given area.

    Parameters
    ----------
    area : int, px2
        Objects of at most this many pixels stay.
    """
    return keep_by_area(mask, lambda areas: areas <= area)


@operator(
    revision=1,
    cost=2.9,
    reach=WHOLE,
    two_pass=by_area(lambda areas, p: is_between(areas, p["low"], p["high"])),
    in_order=InOrder("low", "high"),
)
def keep_area(
    mask: Mask,
    *,
    low: Annotated[int, Range(1, 20000, unit="px2", log=True)] = 50,
    high: Annotated[int, Range(10, 200000, unit="px2", log=True)] = 5000,
) -> Mask:
    """Keep objects whose area lies between two limits.

    Parameters
    ----------
    low, high : int, px2
        Both included. `low` may not exceed `high`.
    """
    return keep_by_area(mask, lambda areas: is_between(areas, low, high))


@operator(revision=1, cost=3.0, reach=WHOLE, two_pass=by_area(lambda areas, p: are_largest(areas, p["count"])))
def keep_largest(mask: Mask, *, count: Annotated[int, Range(1, 50, log=True)] = 1) -> Mask:
    """Keep the largest objects.

    Parameters
    ----------
    count : int
        How many. Of equal ones those that come first stay, row by row.
    """
    return keep_by_area(mask, lambda areas: are_largest(areas, count))


def _edges(labels: NDArray[np.int32], place: Strip, margin: int) -> NDArray[np.int32]:
    """Return the labels of some rows that lie in the image's frame; some twice."""
    above, below = max(0, margin - place.first), max(0, place.shape[0] - margin - place.first)
    frame = (labels[:above], labels[below:], labels[:, :margin], labels[:, -margin:])
    return np.concatenate([part.ravel() for part in frame])


@operator(
    revision=1,
    cost=lambda p: 1.2 if p["area"] == 0 else 4.0,
    reach=WHOLE,
    two_pass=by_object(
        lambda n, labels, arrays, place, p: np.stack(
            [label_areas(n, labels, ~arrays[0]), np.bincount(_edges(labels, place, 1), minlength=n)], axis=1
        ),
        lambda sums, p: (sums[:, 1] == 0) & ((sums[:, 0] <= p["area"]) | (p["area"] == 0)),
        mask=lambda arrays, p: ~arrays[0],
        then=lambda holes, arrays: holes | arrays[0],
        connectivity=4,
    ),
)
def fill_holes(mask: Mask, *, area: Annotated[int, Range(0, 100000, unit="px2")] = 0) -> Mask:
    """Fill holes: background that does not reach the image's border.

    Parameters
    ----------
    area : int, px2
        Largest hole that is filled; 0 fills all.
    """
    if area == 0:
        return np.logical_not(outside(mask))
    background = ~mask
    n, labels = component_labels(background, connectivity=4)
    hole = label_areas(n, labels, background) <= area
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        hole[edge] = False
    return mask | select_labels(hole, labels, background)


def outside(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark background that is connected with the image's border."""
    rows, cols = mask.shape
    flooded = np.zeros((rows + 2, cols + 2), np.uint8)
    flooded[1:-1, 1:-1] = mask
    cv2.floodFill(flooded, None, (0, 0), 2, flags=4)
    background: NDArray[np.bool_] = flooded[1:-1, 1:-1] == 2
    return background


@operator(
    revision=1,
    cost=1.5,
    reach=WHOLE,
    two_pass=by_object(
        lambda n, labels, arrays, place, p: np.bincount(_edges(labels, place, p["margin"]), minlength=n),
        lambda sums, p: sums[:, 0] == 0,
    ),
)
def clear_border(mask: Mask, *, margin: Annotated[int, Range(1, 30, unit="px", log=True)] = 1) -> Mask:
    """Remove objects that touch the image's border.

    Parameters
    ----------
    margin : int, px
        Width of the frame that counts as border.
    """
    n, labels = component_labels(mask)
    keep = np.ones(n, np.bool_)
    for frame in (labels[:margin], labels[-margin:], labels[:, :margin], labels[:, -margin:]):
        keep[frame] = False
    return select_labels(keep, labels, mask)


def are_elongated(sums: NDArray[np.float64], ratio: float) -> NDArray[np.bool_]:
    """Mark objects whose axes have at least a ratio."""
    _, rows, cols, both = moments(sums)
    spread = np.hypot((rows - cols) / 2, both)
    mean = (rows + cols) / 2
    # The ratio of axes is the root of the ratio of variances; written as a product it needs no division.
    return np.asarray(mean + spread >= ratio**2 * (mean - spread))


@operator(
    revision=1,
    retired=True,
    cost=9.0,
    reach=WHOLE,
    two_pass=by_shape(lambda sums, p: are_elongated(sums, p["ratio"])),
)
def keep_elongated(mask: Mask, *, ratio: Annotated[float, Range(1.1, 20, log=True)] = 3.0) -> Mask:
    """Keep objects that are longer than wide.

    Parameters
    ----------
    ratio : float
        Least ratio of the axes of the ellipse that has the object's second moments.
    """
    n, labels = component_labels(mask)
    return select_labels(are_elongated(label_sums(n, labels), ratio), labels, mask)


@operator(
    revision=1,
    cost=9.0,
    reach=WHOLE,
    two_pass=by_shape(lambda sums, p: are_round(sums, p["roundness"])),
)
def keep_round(mask: Mask, *, roundness: Annotated[float, Range(0.1, 0.98)] = 0.8) -> Mask:
    """Keep objects that resemble a disk: compact, without holes.

    Parameters
    ----------
    roundness : float
        Least value of area / (2 pi (variance along rows + along columns)): 1 for a disk, 0.95 for a square, less
        for all that is long, ragged or hollow.

    References
    ----------
    J. Žunić, K. Hirota, P. L. Rosin, Pattern Recognition 43(1), 2010. doi:10.1016/j.patcog.2009.06.017
    """
    n, labels = component_labels(mask)
    return select_labels(are_round(label_sums(n, labels), roundness), labels, mask)


def largest_outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    """Return the outer outlines of the largest objects, at most `MAX_OUTLINES`, that are not convex by their size.

    Objects that lie in holes of others are left out: the tracing of holes takes ten times as long.
    """
    mask = keep_by_area(mask, lambda areas: are_largest(areas, MAX_OUTLINES))
    outlines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    result: list[Any] = [outline for outline in outlines if len(outline) > 3]
    return result


@operator(revision=1, retired=True, cost=11.0, reach=WHOLE)
def keep_solid(mask: Mask, *, solidity: Annotated[float, Range(0.2, 0.98)] = 0.8) -> Mask:
    """Keep objects that fill their convex hull.

    Parameters
    ----------
    solidity : float
        Least ratio of the area within the object's outline to that of its hull, both through pixel centres; holes
        count as filled. Objects beyond the 300 largest, or in holes of others, stay unexamined.
    """
    n, labels = component_labels(mask)
    keep = np.ones(n, np.bool_)
    for outline in largest_outlines(mask):
        hull = cv2.convexHull(outline)
        if cv2.contourArea(outline) < solidity * cv2.contourArea(hull):
            col, row = outline[0, 0]
            keep[labels[row, col]] = False
    return select_labels(keep, labels, mask)


@operator(revision=1, cost=7.0, reach=WHOLE)
def convex_hull(mask: Mask) -> Mask:
    """Fill each object up to its convex hull.

    Parameters
    ----------
    mask : bool array of shape (M, N)
        Objects beyond the 300 largest stay as they are.
    """
    filled = mask.view(np.uint8).copy()
    for outline in largest_outlines(mask):
        cv2.fillConvexPoly(filled, cv2.convexHull(outline), 1)
    return filled.view(np.bool_)


@operator(
    revision=1,
    cost=2.4,
    reach=WHOLE,
    two_pass=by_object(
        lambda n, labels, arrays, place, p: np.bincount(labels[arrays[0]], minlength=n),
        lambda sums, p: sums[:, 0] > 0,
        mask=lambda arrays, p: arrays[1],
    ),
)
def reconstruct_mask(seed: Mask, limit: Mask) -> Mask:
    """Keep the objects of the limit that the seed touches.

    Parameters
    ----------
    limit : bool array of shape (M, N)
        Its objects stay whole or go whole.
    """
    n, labels = component_labels(limit)
    keep = np.zeros(n, np.bool_)
    keep[labels[seed]] = True
    return select_labels(keep, labels, limit)
