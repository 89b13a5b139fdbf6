"""Named numbers that say what images and objects are like, on a scale on which tasks can be compared.

Each descriptor made of such numbers is a unit vector of standardised features, with one more coordinate that is the
same for all: so the product of two is near 1 for two tasks that are both ordinary, too, and falls with their distance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log2
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MOST = 3.0
"""Largest number of deviations from the median that counts: one extreme feature must not outweigh all others."""
LEAST = 1e-6
DIGITS = 4

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Feature:
    """A number that is measured of images or masks.

    Attributes
    ----------
    name : str
        As in files.
    words : str
        Name of the feature in text for people.
    centre, scale : float
        Median and robust deviation (interquartile range / 1.35) over the bundled tasks, of the logarithm
        to base 2 if `log`.
    unit : str
    log : bool
        Whether ratios matter rather than differences.
    """

    name: str
    words: str
    centre: float
    scale: float
    unit: str = ""
    log: bool = False

    def scaled(self, value: float) -> float:
        """Return a value on the feature's own scale, linear or logarithmic."""
        return log2(max(value, LEAST)) if self.log else value

    def standard(self, value: float) -> float:
        """Return by how many deviations a value differs from the median, at most `MOST`."""
        return min(max(self.deviations(value), -MOST), MOST)

    def deviations(self, value: float) -> float:
        """Return by how many deviations a value differs from the median."""
        return (self.scaled(value) - self.centre) / self.scale

    def shown(self, value: float) -> str:
        """Return a value as text, with its unit."""
        number = f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"
        return f"{number} {self.unit}".strip()


@dataclass(frozen=True)
class Descriptor:
    """Features that are compared together.

    Attributes
    ----------
    id : str
        Changes with the features, so that unlike vectors are never compared.
    features : tuple of Feature
    """

    id: str
    features: tuple[Feature, ...]

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return len(self.features) + 1

    def vector(self, values: Mapping[str, float]) -> Vector | None:
        """Return the unit vector of a task, float32 of shape (dim,); None if a feature was not measured."""
        standard = self.standard(values)
        if standard is None:
            return None
        z = np.array([*standard.values(), len(self.features) ** 0.5])
        return np.asarray(z / np.linalg.norm(z), np.float32)

    def standard(self, values: Mapping[str, float]) -> dict[str, float] | None:
        """Return the standardised features of a task; None if one was not measured."""
        if any(f.name not in values for f in self.features):
            return None
        return {f.name: f.standard(values[f.name]) for f in self.features}

    def why(self, one: Mapping[str, float], other: Mapping[str, float], n: int = 2) -> list[str]:
        """Say in which features two tasks agree most tellingly: alike, and both unlike most tasks.

        Parameters
        ----------
        one : mapping
            Of the stored task.
        other : mapping
            Of the task at hand.
        """
        found = []
        for f in self.features:
            a, b = f.standard(one[f.name]), f.standard(other[f.name])
            # The difference is not limited: two extreme values are not alike for being extreme.
            telling = min(abs(a), abs(b)) - abs(f.deviations(one[f.name]) - f.deviations(other[f.name]))
            if a * b > 0 and telling > 0:
                found.append((telling, f"{f.words} {f.shown(one[f.name])} (here {f.shown(other[f.name])})"))
        return [words for _, words in sorted(found, key=lambda entry: -entry[0])[:n]]


def round_values(values: Mapping[str, float]) -> dict[str, float]:
    """Return values as they are written to files, so that what is read again gives the same vectors."""
    return {name: float(f"{value:.{DIGITS}g}") for name, value in values.items()}


Floats = NDArray[np.float32]

PATCH = 1024
"""Side of the middle of an image that is looked at, px. Images are never scaled: lengths matter."""
SCALES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Standard deviations between which the shares of an image's variance are taken, px."""

IMAGES = Descriptor(
    "images-1",
    (
        Feature("side", "image side", 8.6, 0.47, "px", log=True),
        Feature("colour", "colour", 0.04, 0.17),
        Feature("brightness", "brightness", 0.46, 0.15),
        Feature("contrast", "contrast", 0.15, 0.061),
        Feature("skewness", "skewness of values", -0.061, 0.47),
        Feature("unevenness", "change between images", 0.069, 0.052),
        Feature("noise", "noise", -3.6, 1.4, log=True),
        Feature("band_1", "detail below 1 px", -4.8, 2.3, log=True),
        Feature("band_2", "detail of 1-2 px", -6.0, 1.9, log=True),
        Feature("band_4", "detail of 2-4 px", -4.8, 2.0, log=True),
        Feature("band_8", "detail of 4-8 px", -5.0, 1.6, log=True),
        Feature("band_16", "detail of 8-16 px", -4.8, 1.3, log=True),
        Feature("lighting", "broad light and shade", -1.8, 1.7, log=True),
        Feature("sparseness", "sparseness of detail", 3.3, 1.4, log=True),
        Feature("polarity", "bright rather than dark detail", -0.18, 0.53),
        Feature("broad_polarity", "bright rather than dark spots", -0.069, 0.79),
        Feature("coherence", "streaks and edges", 0.62, 0.14),
        Feature("direction", "one common direction", 0.14, 0.087),
    ),
)


def image_statistics(images: Sequence[NDArray[Any]]) -> dict[str, float]:
    """Return the features of `IMAGES` as medians over some images.

    Parameters
    ----------
    images : sequence of uint8, uint16 or float32 arrays of shape (M, N, C)
        In native values; all are brought to one scale by common percentiles.
    """
    patches = [middle(image) for image in images]
    low, high = value_range(patches)
    found = [_measure((patch - low) / (high - low)) for patch in patches]
    values = {name: float(np.median([one[name] for one in found])) for name in found[0]}
    values["side"] = float(np.median([(image.shape[0] * image.shape[1]) ** 0.5 for image in images]))
    values["unevenness"] = float(np.std([one["brightness"] for one in found]))
    return round_values(values)


def middle(image: NDArray[Any]) -> Floats:
    """Return the middle of an image as float32."""
    top, left = (max(0, (n - PATCH) // 2) for n in image.shape[:2])
    return np.ascontiguousarray(image[top : top + PATCH, left : left + PATCH], np.float32)


def value_range(patches: Sequence[Floats]) -> tuple[np.float32, np.float32]:
    """Return between which values nearly all pixels of all images lie."""
    low, high = np.percentile(np.concatenate([patch[::4, ::4].ravel() for patch in patches]), (0.5, 99.5))
    return np.float32(low), np.float32(max(high, low + 1e-6))


def gray_of(patch: Floats) -> Floats:
    """Return the mean of the channels, of shape (M, N)."""
    if patch.shape[2] == 1:
        return patch[:, :, 0]
    # Plane by plane: NumPy takes ten times as long along a short last axis.
    return np.asarray(sum(cv2.split(patch)) / np.float32(patch.shape[2]), np.float32)


def colour_of(patch: Floats) -> Floats:
    """Return the range of the first three channels at each pixel, of shape (M, N)."""
    red, green, blue, *_ = cv2.split(patch)
    return np.asarray(cv2.max(cv2.max(red, green), blue) - cv2.min(cv2.min(red, green), blue), np.float32)


def blur(plane: Floats, sigma: float) -> Floats:
    """Return a plane's Gaussian mean; broad ones are taken at a quarter of the size."""
    if sigma < 8 or min(plane.shape) < 16:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)
    small = cv2.resize(plane, (plane.shape[1] // 4, plane.shape[0] // 4), interpolation=cv2.INTER_AREA)
    mean = cv2.GaussianBlur(small, (0, 0), sigma / 4)
    return np.asarray(cv2.resize(mean, plane.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _measure(patch: Floats) -> dict[str, float]:
    """Return the features of one image whose values were scaled to about 0 to 1."""
    gray = gray_of(patch)
    mean, deviation = float(gray.mean()), max(float(gray.std()), 1e-6)
    colour = colour_of(patch) if patch.shape[2] >= 3 else np.zeros(1)
    means = [gray, *(blur(gray, sigma) for sigma in SCALES)]
    bands = [a - b for a, b in pairwise(means)]
    shares = [float(band.var()) / deviation**2 for band in [*bands, means[-1]]]
    names = ("band_1", "band_2", "band_4", "band_8", "band_16", "lighting")
    fine, broad = bands[2], bands[4]
    fine_power = fine * fine
    local, common = _coherence(means[1])
    return {
        "colour": float(colour.mean()),
        "brightness": mean,
        "contrast": deviation,
        "skewness": _skewness(gray),
        "noise": float(np.median(np.abs(bands[0]))) / deviation,
        **dict(zip(names, shares, strict=True)),
        "sparseness": float((fine_power * fine_power).mean() / max(float(fine_power.mean()) ** 2, 1e-12)),
        "polarity": _skewness(fine),
        "broad_polarity": _skewness(broad),
        "coherence": local,
        "direction": common,
    }


def _skewness(plane: Floats) -> float:
    rest = plane - plane.mean()
    power = rest * rest
    return float((power * rest).mean() / max(float(power.mean()) ** 1.5, 1e-9))


def _coherence(plane: Floats) -> tuple[float, float]:
    """Return how much gradients agree in direction within some pixels, weighted by strength, and in the whole image."""
    gx, gy = cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1)
    xx, yy, xy = gx * gx, gy * gy, gx * gy
    local = [blur(np.asarray(product, np.float32), 3.0) for product in (xx, yy, xy)]
    strength = float(sum(p.mean() for p in local[:2])) + 1e-12
    difference = cv2.magnitude(local[0] - local[1], 2 * local[2])
    common = float(np.hypot(xx.mean() - yy.mean(), 2 * xy.mean())) / (float(xx.mean() + yy.mean()) + 1e-12)
    return float(difference.mean()) / strength, common


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
        Feature("brightness", "contrast with the rest (-1 to 1)", -0.46, 0.69),
        Feature("separation", "separation by one plane (at most 1)", 0.75, 0.28),
        Feature("local_brightness", "contrast with the neighbourhood (-1 to 1)", -0.47, 0.64),
        Feature("ring", "step at the edge", -0.87, 0.94, "deviations"),
        Feature("edge", "edge sharpness", 1.6, 1.1, log=True),
        Feature("texture", "roughness inside against outside", 0.61, 1.1, log=True),
        Feature("fine_texture", "fine grain inside against outside", 0.39, 0.7, log=True),
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
    return round_values(values)


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
    flat = gray - blur(gray, broad)
    ring = cv2.dilate(mask.view(np.uint8), np.ones((2 * RING + 1,) * 2, np.uint8)).astype(bool) & rest
    ring = ring if ring.any() else rest
    noise = max(float(np.hypot(gray[mask].std(), gray[ring].std())), 1e-3)
    edge = mask ^ cv2.erode(mask.view(np.uint8), np.ones((3, 3), np.uint8), borderValue=1).astype(bool)
    smooth = blur(gray, 1.0)
    steep = np.asarray(cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)))
    at_edge = float(steep[edge].mean()) if edge.any() else float(steep[mask].mean())
    return {
        "brightness": _above(gray, mask, rest),
        "separation": max(abs(_above(plane, mask, rest)) for plane in planes),
        "local_brightness": _above(flat, mask, rest),
        "ring": float(gray[mask].mean() - gray[ring].mean()) / noise,
        "edge": (at_edge + 1e-4) / (float(steep[rest].mean()) + 1e-4),
        "texture": _ratio(np.abs(gray - blur(gray, 3.0)), mask, rest),
        "fine_texture": _ratio(np.abs(gray - smooth), mask, rest),
        "inside": float(gray[mask].mean()),
        "deviation": float(gray.std()),
    }


def _colours(patch: Floats) -> list[Floats]:
    """Return planes in which colours may stand out."""
    if patch.shape[2] < 3:
        return []
    red, green, blue, *_ = (np.asarray(plane, np.float32) for plane in cv2.split(patch))
    return [red, green, blue, red - green, blue - (red + green) / 2, colour_of(patch)]


def _above(plane: Floats, mask: NDArray[np.bool_], rest: NDArray[np.bool_]) -> float:
    """Return how often a foreground pixel is brighter than one of the background, from -1 (never) to 1 (always)."""
    low, high = np.percentile(plane[::2, ::2], (0.1, 99.9))
    bins = np.clip((plane - low) * ((BINS - 1) / max(float(high - low), 1e-6)), 0, BINS - 1).astype(np.uint8)
    inside, outside = (
        cv2.calcHist([bins], [0], pixels.view(np.uint8), [BINS], [0, BINS]).ravel().astype(np.float64)
        for pixels in (mask, rest)
    )
    below = np.cumsum(outside) - outside / 2
    return float(2 * (inside @ below) / (inside.sum() * outside.sum()) - 1)


def _ratio(plane: NDArray[Any], mask: NDArray[np.bool_], rest: NDArray[np.bool_]) -> float:
    return (float(plane[mask].mean()) + 1e-3) / (float(plane[rest].mean()) + 1e-3)
