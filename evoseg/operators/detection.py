"""From planes, masks and objects to points, with places finer than a pixel."""

from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Gray, Labels, Mask, Points
from evoseg.operators.gray import BORDER
from evoseg.operators.labelling import component_labels
from evoseg.operators.parameters import Doc, Fitted, OneOf, Range
from evoseg.operators.registry import WHOLE, operator
from evoseg.operators.structuring import dilate_disk, disk

LEAST_AREA = Doc("Smaller objects are left out.")

MOST_POINTS = 5000
"""Points that one answer holds at most, the strongest."""


@operator(revision=1, cost=lambda p: 6.0 + 0.1 * p["distance"], reach=WHOLE)
def peaks(
    plane: Gray,
    *,
    distance: Annotated[int, Range(1, 25, unit="px", log=True)] = 5,
    level: Annotated[int, Range(0, 255, unit="level"), Fitted()] = 128,
    polarity: Annotated[str, OneOf("bright", "dark"), Fitted()] = "bright",
) -> Points:
    """Find local maxima beyond a level that the search fits, each the highest within a distance.

    Parameters
    ----------
    plane : uint8 array of shape (M, N)
        Smooth it first if it is noisy.
    distance : int, px
        Least distance between two points.
    level : int, level
        Fitted: bright takes tops above it, dark bottoms at or below it.
    polarity : str
        Fitted.
    """
    values = plane.astype(np.float32)
    return find_tops(values, distance, level) if polarity == "bright" else find_tops(-values, distance, -level - 1)


@operator(revision=1, cost=lambda p: 8.0 + 1.6 * p["sigma"] + 0.1 * p["sigma"] ** 2, reach=WHOLE)
def blobs(
    plane: Gray,
    *,
    sigma: Annotated[float, Range(0.8, 15, unit="px", log=True)] = 2.0,
    contrast: Annotated[float, Range(0.1, 60, unit="level", log=True)] = 4.0,
    polarity: Annotated[str, OneOf("bright", "dark")] = "bright",
) -> Points:
    """Find spots of one size: local maxima of a difference of Gaussians, computed in floating point.

    Parameters
    ----------
    sigma : float, px
        Of the narrower Gaussian; the other is 1.6 times as wide. Take the spots' radius by 1.4. Two points lie at least
        this far apart.
    contrast : float, level
        Least difference of the two.

    References
    ----------
    D. Marr, E. Hildreth, Proc. R. Soc. London B 207, 1980. doi:10.1098/rspb.1980.0020
    """
    values = plane.astype(np.float32)
    narrow = cv2.GaussianBlur(values, (0, 0), sigma, borderType=BORDER)
    response = narrow - cv2.GaussianBlur(values, (0, 0), 1.6 * sigma, borderType=BORDER)
    return find_tops(response if polarity == "bright" else -response, max(1, round(sigma)), contrast)


@operator(revision=1, retired=True, cost=35.0, reach=WHOLE)
def disc_matches(
    plane: Gray,
    *,
    radius: Annotated[int, Range(2, 20, unit="px", log=True)] = 5,
    correlation: Annotated[float, Range(0.1, 0.95)] = 0.5,
    polarity: Annotated[str, OneOf("bright", "dark")] = "bright",
) -> Points:
    """Find discs of one size, whatever their brightness: local maxima of the correlation with a disc.

    Parameters
    ----------
    radius : int, px
        Of the disc. Two points lie at least this far apart.
    correlation : float
        Least correlation with the disc and the ground around it, at most 1.
    polarity : str
        dark seeks dark discs.
    """
    margin = radius + 2
    template = cv2.GaussianBlur(np.pad(disk(radius), 2).astype(np.float32), (0, 0), 1.0)
    wide = cv2.copyMakeBorder(plane.astype(np.float32), margin, margin, margin, margin, BORDER)
    found: NDArray[Any] = cv2.matchTemplate(wide, template, cv2.TM_CCOEFF_NORMED)
    # Where nothing varies, OpenCV divides noise by noise.
    response = np.where(np.isfinite(found) & (np.abs(found) <= 1), found, 0).astype(np.float32)
    return find_tops(response if polarity == "bright" else -response, radius, correlation)


@operator(revision=1, cost=2.0, reach=WHOLE)
def centroids(mask: Mask, *, area: Annotated[int, Range(1, 2000, unit="px2", log=True), LEAST_AREA] = 5) -> Points:
    """Find the centroid of each connected component."""
    return find_middles(component_labels(mask)[1], area)


@operator(revision=1, cost=2.5, reach=WHOLE)
def label_centroids(
    labels: Labels, *, area: Annotated[int, Range(1, 2000, unit="px2", log=True), LEAST_AREA] = 5
) -> Points:
    """Find the centroid of each object."""
    return find_middles(labels, area)


def find_middles(labels: NDArray[np.int32], area: int) -> Points:
    """Return the mean place of each label of at least an area."""
    places = np.flatnonzero(labels)
    owner = labels.ravel()[places]
    row, col = np.divmod(places, labels.shape[1])
    areas = np.bincount(owner, minlength=1)
    sums = np.stack([np.bincount(owner, row, len(areas)), np.bincount(owner, col, len(areas))], axis=1)
    kept = np.flatnonzero(areas >= max(area, 1))
    kept = kept[np.argsort(-areas[kept], kind="stable")][:MOST_POINTS]
    return np.asarray(sums[kept] / areas[kept, None], np.float64).reshape(-1, 2)


def find_tops(response: NDArray[Any], distance: int, least: float) -> Points:
    """Return the tops of a float response above a value, each the highest within a distance, finer than a pixel."""
    around = dilate_disk(response, distance)
    n, plateaus = component_labels((response == around) & (response > least))
    places = find_middles(plateaus, 1)
    if not n or not len(places):
        return np.zeros((0, 2), np.float64)
    row, col = np.rint(places).astype(np.intp).T
    strongest = np.argsort(-response[row, col], kind="stable")[:MOST_POINTS]
    places, row, col = places[strongest], row[strongest], col[strongest]
    single = np.all(places == np.rint(places), axis=1)
    wide = cv2.copyMakeBorder(response, 1, 1, 1, 1, cv2.BORDER_REPLICATE).astype(np.float64)
    middle = wide[row + 1, col + 1]
    for axis, (before, after) in enumerate(
        ((wide[row, col + 1], wide[row + 2, col + 1]), (wide[row + 1, col], wide[row + 1, col + 2]))
    ):
        # The top of the parabola through three pixels; a plateau of several keeps its middle.
        bend = before - 2 * middle + after
        shift = np.divide(before - after, 2 * bend, out=np.zeros_like(bend), where=bend < 0)
        places[:, axis] += np.where(single, np.clip(shift, -0.5, 0.5), 0)
    return np.clip(places, 0, np.array(response.shape) - 1.0)
