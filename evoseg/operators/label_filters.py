"""Labels to labels: objects grown, smoothed, merged, or kept by what they are."""

from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray, Labels
from evoseg.operators.labelling import are_round, is_between, label_sums
from evoseg.operators.parameters import InOrder, OneOf, Range
from evoseg.operators.registry import WHOLE, operator
from evoseg.operators.structuring import DISK, disk_parts
from evoseg.operators.watershed import renumber, renumber_kept, spread_labels


@operator(revision=1, cost=14.0, reach=WHOLE)
def expand_labels(labels: Labels, *, distance: Annotated[float, Range(1, 40, unit="px", log=True)] = 2.0) -> Labels:
    """Grow every object into the background; where two meet, the nearer one wins.

    Parameters
    ----------
    distance : float, px
        How far objects grow.
    """
    nearest, far = spread_labels(labels)
    return np.where(far <= distance, nearest, 0).astype(np.int32)


@operator(revision=1, cost=30.0, reach=WHOLE)
def open_labels(labels: Labels, *, radius: Annotated[int, Range(1, 20, unit="px", log=True), DISK] = 2) -> Labels:
    """Open every object with a disk; objects into which none fits are removed."""
    # OpenCV has no morphology of 32-bit integers; floats are exact up to 2^24 objects.
    lowest: NDArray[Any] = labels.astype(np.float32)
    highest = lowest
    for part in disk_parts(radius):
        lowest, highest = cv2.erode(lowest, part), cv2.dilate(highest, part)
    core: NDArray[Any] = np.where(lowest == highest, labels, 0).astype(np.float32)
    for part in disk_parts(radius):
        core = cv2.dilate(core, part)
    return renumber(np.where(core == labels, labels, 0).astype(np.int32))


@operator(revision=1, cost=14.0, reach=WHOLE)
def merge_labels(labels: Labels, *, share: Annotated[float, Range(0.05, 0.9)] = 0.35) -> Labels:
    """Merge touching objects that share much of their outlines.

    Parameters
    ----------
    share : float
        Least part of the smaller object's outline, in edges of pixels, that lies against the other. Larger values join
        less.
    """
    n = int(labels.max()) + 1
    outline = np.zeros(n, np.int64)
    pairs = []
    for a, b in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        edge = np.flatnonzero(a != b)
        first, second = a.ravel()[edge].astype(np.int64), b.ravel()[edge].astype(np.int64)
        outline += np.bincount(first, minlength=n) + np.bincount(second, minlength=n)
        touch = (first > 0) & (second > 0)
        pairs.append(np.minimum(first, second)[touch] * n + np.maximum(first, second)[touch])
    keys, common = np.unique(np.concatenate(pairs), return_counts=True)
    a, b = np.divmod(keys, n)
    close = common >= share * np.minimum(outline[a], outline[b])
    root = np.arange(n, dtype=np.int32)
    # In order of size, so that each ends with the smallest number of its group.
    for first, second in zip(a[close].tolist(), b[close].tolist(), strict=True):
        low, high = sorted((int(root[first]), int(root[second])))
        root[root == high] = low
    kept = np.zeros(n, np.bool_)
    kept[root] = True
    return renumber_kept(np.take(root, labels), kept)


@operator(revision=1, cost=3.5, reach=WHOLE, in_order=InOrder("low", "high"))
def keep_area_labels(
    labels: Labels,
    *,
    low: Annotated[int, Range(1, 20000, unit="px2", log=True)] = 30,
    high: Annotated[int, Range(10, 200000, unit="px2", log=True)] = 20000,
) -> Labels:
    """Keep objects whose area lies between two limits.

    Parameters
    ----------
    low, high : int, px2
        Both included. `low` may not exceed `high`.
    """
    return renumber_kept(labels, is_between(np.bincount(labels.ravel()), low, high))


@operator(revision=1, cost=9.0, reach=WHOLE)
def keep_round_labels(labels: Labels, *, roundness: Annotated[float, Range(0.1, 0.98)] = 0.6) -> Labels:
    """Keep objects that resemble a disk: compact, without holes.

    Parameters
    ----------
    roundness : float
        Least value of area / (2 pi (variance along rows + along columns)): 1 for a disk, less for all that is long,
        ragged or hollow.

    References
    ----------
    J. Žunić, K. Hirota, P. L. Rosin, Pattern Recognition 43(1), 2010. doi:10.1016/j.patcog.2009.06.017
    """
    return renumber_kept(labels, are_round(label_sums(int(labels.max()) + 1, labels), roundness))


@operator(revision=1, cost=6.0, reach=WHOLE)
def keep_bright_labels(
    labels: Labels,
    plane: Gray,
    *,
    level: Annotated[int, Range(0, 255, unit="level")] = 128,
    polarity: Annotated[str, OneOf("bright", "dark")] = "bright",
) -> Labels:
    """Keep objects by their mean grey level in a plane.

    Parameters
    ----------
    level : int, level
        bright keeps objects whose mean is above it, dark the others.
    """
    means = label_means(labels, plane)
    return renumber_kept(labels, means > level if polarity == "bright" else means <= level)


def label_means(labels: NDArray[np.int32], plane: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean of a plane over each label; 0 for numbers that do not occur."""
    areas = np.bincount(labels.ravel())
    sums = np.bincount(labels.ravel(), plane.ravel())
    return np.asarray(sums / np.maximum(areas, 1), np.float64)
