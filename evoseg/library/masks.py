"""What is sought: the objects' size, number and shape, and how they stand out of their images.

The same images can pose different problems, and unlike images the same one.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.library.features import Descriptor, Feature, rounded
from evoseg.library.images import Floats, blurred, gray_of, middle, value_range

MOST_OBJECTS = 60
"""Objects of an image whose outline is looked at: the largest."""
RING = 5
"""Width of the surroundings that objects are compared with, px."""
BINS = 256

MASKS = Descriptor(
    "masks-1",
    (
        Feature("share", "foreground share", -3.7, 1.9, log=True),
        Feature("count", "objects per image", 0.29, 2.4, log=True),
        Feature("area", "object area", 11.0, 3.1, "px2", log=True),
        Feature("spread", "spread of areas", 0.027, 0.96),
        Feature("thickness", "object thickness", 4.5, 1.3, "px", log=True),
        Feature("elongation", "elongation", 2.2, 1.5, log=True),
        Feature("solidity", "solidity", 0.88, 0.23),
        Feature("holes", "share of holes", 0.0, 0.1),
        Feature("border", "objects cut by the border", 0.2, 0.56),
        Feature("brightness", "brighter than the rest", -0.46, 0.69),
        Feature("separation", "told apart by one plane", 0.75, 0.28),
        Feature("local_brightness", "brighter than the neighbourhood", -0.47, 0.64),
        Feature("ring", "step at the edge", -0.87, 0.94, "deviations"),
        Feature("edge", "edge sharpness", 1.6, 1.1, log=True),
        Feature("texture", "rougher inside", 0.61, 1.1, log=True),
        Feature("fine_texture", "finer grain inside", 0.39, 0.7, log=True),
        Feature("steadiness", "change of brightness between images", 0.58, 0.63),
    ),
)


def mask_statistics(
    images: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]], known: Sequence[NDArray[np.bool_] | None]
) -> dict[str, float] | None:
    """Return the features of `MASKS` as medians over the images that show any object; None if none does.

    Parameters
    ----------
    images : sequence of arrays of shape (M, N, C)
    masks, known : sequence of bool arrays of shape (M, N)
        `known` is None where all pixels count.
    """
    shown = [
        (middle(image), mask_of, known_of)
        for image, mask, valid in zip(images, masks, known, strict=True)
        for mask_of, known_of in [_middles(mask, valid)]
        if mask_of.any() and (known_of & ~mask_of).any()
    ]
    if not shown:
        return None
    low, high = value_range([patch for patch, _, _ in shown])
    found = [_shape(mask) | _contrast((p - low) / (high - low), mask, valid) for p, mask, valid in shown]
    values = {name: float(np.median([one[name] for one in found])) for name in found[0]}
    inside, spread = [one["inside"] for one in found], values.pop("deviation")
    values.pop("inside")
    values["steadiness"] = float(np.std(inside)) / max(spread, 1e-6)
    return rounded(values)


def _middles(mask: NDArray[np.bool_], known: NDArray[np.bool_] | None) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    valid = np.ones_like(mask) if known is None else known
    mask, valid = (middle(plane[:, :, None])[:, :, 0] > 0 for plane in (mask, valid))
    return mask & valid, valid


def _shape(mask: NDArray[np.bool_]) -> dict[str, float]:
    """Return the features that need no image."""
    padded = np.pad(mask, 1).view(np.uint8)  # so that distances end at the border, too
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    n, *found = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    labels, boxes = np.asarray(found[0], np.int32), np.asarray(found[1], np.int32)
    areas = boxes[1:, cv2.CC_STAT_AREA].astype(np.float64)
    flat = labels.ravel()
    mean_depth = np.bincount(flat, depth.ravel(), n)[1:] / areas
    # In a band of width w the mean distance to its edge is w / 4; pixels reach half a pixel beyond their centres.
    thickness = 4 * (mean_depth - 0.5)
    large = areas >= max(4.0, 0.05 * areas.max())
    outlines = [_outline(labels, boxes, i + 1) for i in np.argsort(-areas)[:MOST_OBJECTS] if large[i]]
    left, top = boxes[1:, cv2.CC_STAT_LEFT], boxes[1:, cv2.CC_STAT_TOP]
    right, bottom = left + boxes[1:, cv2.CC_STAT_WIDTH], top + boxes[1:, cv2.CC_STAT_HEIGHT]
    cut = (left == 0) | (top == 0) | (right == mask.shape[1]) | (bottom == mask.shape[0])
    quartiles = np.percentile(np.log2(areas[large]), (25, 75))
    return {
        "share": float(mask.mean()),
        "count": float(large.sum()),
        "area": float(np.median(areas[large])),
        "spread": float(quartiles[1] - quartiles[0]),
        "thickness": float(np.average(thickness, weights=areas)),
        "elongation": float(np.median(areas[large] / thickness[large] ** 2)),
        "solidity": float(np.median([solidity for solidity, _ in outlines])),
        "holes": float(np.mean([holes for _, holes in outlines])),
        "border": float(cut[large].mean()),
    }


def _outline(labels: NDArray[np.int32], boxes: NDArray[np.int32], label: int) -> tuple[float, float]:
    """Return an object's share of its convex hull, and the share of holes in what its outline encloses."""
    x, y, w, h, area = boxes[label]
    part = np.pad(labels[y : y + h, x : x + w] == label, 1).view(np.uint8)
    outline = max(cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)
    filled = np.zeros_like(part)
    cv2.drawContours(filled, [outline], 0, 1, -1)
    hull = np.zeros_like(part)
    cv2.fillConvexPoly(hull, cv2.convexHull(outline), 1)
    return float(area / max(hull.sum(), 1)), float(1 - area / max(filled.sum(), area))


def _contrast(patch: Floats, mask: NDArray[np.bool_], known: NDArray[np.bool_]) -> dict[str, float]:
    """Return how objects stand out, in an image whose values were scaled to about 0 to 1."""
    gray = gray_of(patch)
    rest = known & ~mask
    planes = [gray, *_colours(patch)]
    depth = cv2.distanceTransform(np.pad(mask, 1).view(np.uint8), cv2.DIST_L2, 5)
    broad = float(np.clip(8 * depth[depth > 0].mean(), 4, 64))
    flat = gray - blurred(gray, broad)
    ring = cv2.dilate(mask.view(np.uint8), np.ones((2 * RING + 1,) * 2, np.uint8)).astype(bool) & rest
    ring = ring if ring.any() else rest
    noise = max(float(np.hypot(gray[mask].std(), gray[ring].std())), 1e-3)
    edge = mask ^ cv2.erode(mask.view(np.uint8), np.ones((3, 3), np.uint8), borderValue=1).astype(bool)
    smooth = blurred(gray, 1.0)
    steep = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    at_edge = float(steep[edge].mean()) if edge.any() else float(steep[mask].mean())
    return {
        "brightness": _above(gray, mask, rest),
        "separation": max(abs(_above(plane, mask, rest)) for plane in planes),
        "local_brightness": _above(flat, mask, rest),
        "ring": float(gray[mask].mean() - gray[ring].mean()) / noise,
        "edge": (at_edge + 1e-4) / (float(steep[rest].mean()) + 1e-4),
        "texture": _ratio(np.abs(gray - blurred(gray, 3.0)), mask, rest),
        "fine_texture": _ratio(np.abs(gray - blurred(gray, 1.0)), mask, rest),
        "inside": float(gray[mask].mean()),
        "deviation": float(gray.std()),
    }


def _colours(patch: Floats) -> list[Floats]:
    """Return planes in which colours may stand out."""
    if patch.shape[2] < 3:
        return []
    red, green, blue = (patch[:, :, i] for i in range(3))
    return [red, green, blue, red - green, blue - (red + green) / 2, patch[:, :, :3].max(2) - patch[:, :, :3].min(2)]


def _above(plane: Floats, mask: NDArray[np.bool_], rest: NDArray[np.bool_]) -> float:
    """Return how often a foreground pixel is brighter than one of the background, from -1 (never) to 1 (always)."""
    low, high = np.percentile(plane[::2, ::2], (0.1, 99.9))
    bins = np.clip((plane - low) * ((BINS - 1) / max(float(high - low), 1e-6)), 0, BINS - 1).astype(np.int64)
    inside, outside = (np.bincount(bins[pixels], minlength=BINS).astype(np.float64) for pixels in (mask, rest))
    below = np.cumsum(outside) - outside / 2
    return float(2 * (inside @ below) / (inside.sum() * outside.sum()) - 1)


def _ratio(plane: NDArray[Any], mask: NDArray[np.bool_], rest: NDArray[np.bool_]) -> float:
    return (float(plane[mask].mean()) + 1e-3) / (float(plane[rest].mean()) + 1e-3)
