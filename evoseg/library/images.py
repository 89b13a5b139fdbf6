"""What images are like, whatever is sought in them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.library.features import Descriptor, Feature, rounded

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
    return rounded(values)


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
    return patch[:, :, 0] if patch.shape[2] == 1 else np.ascontiguousarray(patch.mean(axis=2, dtype=np.float32))


def blurred(plane: Floats, sigma: float) -> Floats:
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
    colour = patch[:, :, :3].max(axis=2) - patch[:, :, :3].min(axis=2) if patch.shape[2] >= 3 else np.zeros(1)
    means = [gray, *(blurred(gray, sigma) for sigma in SCALES)]
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
    local = [blurred(np.asarray(product, np.float32), 3.0) for product in (xx, yy, xy)]
    strength = float(sum(p.mean() for p in local[:2])) + 1e-12
    difference = np.hypot(local[0] - local[1], 2 * local[2])
    common = float(np.hypot(xx.mean() - yy.mean(), 2 * xy.mean())) / (float(xx.mean() + yy.mean()) + 1e-12)
    return float(difference.mean()) / strength, common
