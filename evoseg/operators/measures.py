"""From a mask to a plane: distances, densities and properties of objects."""

import math
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray, Mask
from evoseg.operators.gray import BORDER, SIDE, as_gray, box_cost
from evoseg.operators.labelling import component_labels, label_areas
from evoseg.operators.parameters import Range
from evoseg.operators.registry import WHOLE, operator
from evoseg.operators.strips import by_object


@operator(revision=1, cost=2.6, reach=lambda p: math.ceil(255.5 / p["gain"]) + 2)
def distance(mask: Mask, *, gain: Annotated[float, Range(1, 32, unit="level", log=True)] = 8.0) -> Gray:
    """Measure each foreground pixel's distance from the background.

    Parameters
    ----------
    mask : bool array of shape (M, N)
        What lies beyond the image's border does not count as background.
    gain : float, level
        Levels per px; larger distances than 255 / gain become 255. Distances are Euclidean up to 2 % (5 x 5 chamfer).

    Returns
    -------
    uint8 array of shape (M, N), 0 on background

    References
    ----------
    G. Borgefors, Comput. Vis. Graph. Image Process. 34(3), 1986. doi:10.1016/S0734-189X(86)80047-0
    """
    lengths = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5)
    # Without any background the lengths are huge; a limit keeps the conversion within its integers.
    return as_gray(cv2.convertScaleAbs(np.minimum(lengths, np.float32(256)), alpha=gain))


@operator(revision=1, cost=lambda p: 0.05 + box_cost(p["radius"]), reach=lambda p: p["radius"])
def density(mask: Mask, *, radius: Annotated[int, Range(1, 60, unit="px", log=True), SIDE] = 8) -> Gray:
    """Measure the fraction of foreground in the square around each pixel.

    Returns
    -------
    uint8 array of shape (M, N), 255 = all
    """
    side = 2 * radius + 1
    return as_gray(cv2.blur(mask.view(np.uint8) * np.uint8(255), (side, side), borderType=BORDER))


def areas_and_sums(n: int, labels: NDArray[np.int32], plane: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return per label its area and its sum of grey levels, shape (n, 2)."""
    owner = labels.ravel()
    return np.stack([np.bincount(owner, minlength=n), np.bincount(owner, plane.ravel(), n)], axis=1)


def means_of(sums: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return mean grey levels, from what `areas_and_sums` returns."""
    return np.rint(sums[:, 1] / np.maximum(sums[:, 0], 1)).astype(np.uint8)


@operator(
    revision=1,
    retired=True,
    cost=8.0,
    reach=WHOLE,
    two_pass=by_object(
        lambda n, labels, arrays, place, p: areas_and_sums(n, labels, arrays[0]),
        lambda sums, p: means_of(sums),
        mask=lambda arrays, p: arrays[1],
    ),
)
def component_mean(plane: Gray, mask: Mask) -> Gray:
    """Give each object its mean grey level, so that a threshold decides about whole objects.

    Parameters
    ----------
    mask : bool array of shape (M, N)
        Objects are 8-connected.

    Returns
    -------
    uint8 array of shape (M, N), 0 outside the objects
    """
    n, labels = component_labels(mask)
    means = means_of(areas_and_sums(n, labels, plane))
    means[0] = 0
    return np.take(means, labels)


def area_levels(areas: NDArray[np.number[Any]]) -> NDArray[np.uint8]:
    """Return 12 levels per doubling of the area; 0 for the first, the background."""
    levels = np.zeros(len(areas), np.uint8)
    levels[1:] = np.rint(np.minimum(12 * np.log2(2 * areas[1:]), 255))
    return levels


@operator(
    revision=1,
    retired=True,
    cost=2.4,
    reach=WHOLE,
    two_pass=by_object(
        lambda n, labels, arrays, place, p: label_areas(n, labels, arrays[0]),
        lambda sums, p: area_levels(sums[:, 0]),
    ),
)
def component_area(mask: Mask) -> Gray:
    """Give each object its area on a logarithmic scale.

    Parameters
    ----------
    mask : bool array of shape (M, N)
        Objects are 8-connected.

    Returns
    -------
    uint8 array of shape (M, N)
        12 levels per doubling of the area: 12 for one pixel (12 log2(2 area)), 0 on background.
    """
    n, labels = component_labels(mask)
    return np.take(area_levels(label_areas(n, labels, mask)), labels)
