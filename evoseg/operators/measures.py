"""From a mask back to a plane, so that a program can go on: distances, densities, and properties of objects."""

from typing import Annotated

import cv2
import numpy as np

from evoseg.base.kinds import Gray, Mask
from evoseg.operators.labelling import component_labels, label_areas
from evoseg.operators.parameters import Range
from evoseg.operators.registry import WHOLE, operator
from evoseg.operators.scales import BORDER, as_gray, box_cost


@operator(revision=1, cost=2.6, reach=WHOLE)
def distance(mask: Mask, *, gain: Annotated[float, Range(1, 32, unit="level", log=True)] = 8.0) -> Gray:
    """Measure how far each pixel of an object lies from the background.

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
def density(mask: Mask, *, radius: Annotated[int, Range(1, 60, unit="px", log=True)] = 8) -> Gray:
    """Measure the share of foreground in the square around each pixel.

    Parameters
    ----------
    mask : bool array of shape (M, N)
    radius : int, px
        The square's side is 2 radius + 1. The border is mirrored.

    Returns
    -------
    uint8 array of shape (M, N), 255 = all
    """
    side = 2 * radius + 1
    return as_gray(cv2.blur(mask.view(np.uint8) * np.uint8(255), (side, side), borderType=BORDER))


@operator(revision=1, cost=8.0, reach=WHOLE)
def component_mean(plane: Gray, mask: Mask) -> Gray:
    """Give each object its mean grey level, so that a threshold decides about whole objects.

    Parameters
    ----------
    plane : uint8 array of shape (M, N)
    mask : bool array of shape (M, N)
        Objects are 8-connected.

    Returns
    -------
    uint8 array of shape (M, N), 0 outside the objects
    """
    n, labels = component_labels(mask)
    areas = np.bincount(labels.ravel(), minlength=n)
    sums = np.bincount(labels.ravel(), weights=plane.ravel(), minlength=n)
    means = np.rint(sums / np.maximum(areas, 1)).astype(np.uint8)
    means[0] = 0
    return np.take(means, labels)


@operator(revision=1, cost=2.4, reach=WHOLE)
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
    areas = label_areas(n, labels, mask)
    levels = np.zeros(n, np.uint8)
    levels[1:] = np.rint(np.minimum(12 * np.log2(2 * areas[1:]), 255))
    return np.take(levels, labels)
