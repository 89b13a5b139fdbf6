"""The task of telling foreground from background."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.base.kinds import Kind
from evoseg.data.dataset import Sample
from evoseg.evolve.ports import Floats, Item
from evoseg.metrics.binary import iou, metric

PROBES = 500
"""Pixels of each class and image that curves are fitted to."""
GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Truth:
    """Where the foreground is, in a form that is quick to count with and small: a worker holds those of all images.

    `counted` are the known pixels of the rarer class, `rare` is that class, and `unknown` are the pixels that count
    nowhere, each as `_region` gives them. `probes` are flat indices of some foreground and background pixels.
    """

    mask: NDArray[np.bool_]
    known: NDArray[np.bool_] | None
    counted: NDArray[Any]
    rare: bool
    unknown: NDArray[Any]
    probes: tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class BinaryTask:
    """Segment foreground; items hold ``image``, ``mask`` and, if some pixels are unlabelled, ``known``."""

    metric: str = "iou"
    output: Kind = Kind.MASK

    def item(self, sample: Sample) -> dict[str, NDArray[Any]]:
        """Return the arrays of a sample."""
        assert sample.mask is not None, f"{sample.stem} has no mask"
        return {"image": sample.image, "mask": sample.mask} | ({} if sample.known is None else {"known": sample.known})

    def image(self, item: Item) -> NDArray[Any]:
        """Return the image."""
        return item["image"]

    def truth(self, item: Item) -> Truth:
        """Return the truth, prepared for counting."""
        # Not copied: the arrays of an item are shared by all workers.
        mask, known = item["mask"].astype(bool, copy=False), item.get("known")
        if known is None:
            foreground, background, unknown = mask, ~mask, np.zeros_like(mask)
        else:
            known = known.astype(bool, copy=False)
            foreground, background, unknown = mask & known, ~mask & known, ~known
        rare = bool(np.count_nonzero(foreground) <= np.count_nonzero(background))
        counted, probes = foreground if rare else background, (_some(foreground), _some(background))
        return Truth(mask, known, _region(counted), rare, _region(unknown), probes)

    def judge(self, output: NDArray[Any], truth: Truth) -> Floats:
        """Return the metric's counts."""
        return metric(self.metric).measure(output, truth.mask, truth.known)

    def score(self, statistics: Floats) -> Floats:
        """Return the metric's score."""
        return metric(self.metric).score(statistics)

    def survey(self, planes: tuple[NDArray[np.uint8], ...], truth: Truth) -> Floats:
        """Return histograms of shape (2, 256): of the foreground and of the background, known pixels only."""
        (plane,) = planes
        total = _histogram(plane) - _histogram_in(plane, truth.unknown)
        counted = _histogram_in(plane, truth.counted)
        rest = total - counted
        return np.stack((counted, rest) if truth.rare else (rest, counted))

    def probe(self, plane: NDArray[np.uint8], truth: Truth) -> Floats:
        """Return the plane's values at `PROBES` pixels of each class."""
        flat = plane.reshape(-1)
        return np.stack([flat[at].astype(np.float64) if len(at) else np.full(PROBES, np.nan) for at in truth.probes])

    def sweep(self, survey: Floats) -> tuple[Floats, Floats | None]:
        """Return scores and counts at every polarity and level, from the histograms' running sums."""
        below = np.cumsum(survey, axis=2)  # (n_images, 2, 256): pixels <= level
        above = below[:, :, -1:] - below
        bright = np.stack((above[:, 0], above[:, 1], below[:, 0], below[:, 1]), axis=-1)
        dark = bright[..., [2, 3, 0, 1]]
        counts = np.stack((bright, dark)).transpose(0, 2, 1, 3)  # (2, 256, n_images, 4): tp, fp, fn, tn
        chosen = metric(self.metric)
        if chosen.pixelwise:
            return chosen.score(counts), counts
        return iou(counts), None


def _some(pixels: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return `PROBES` of the pixels, spread evenly without a period that could meet the rows; all of none."""
    places = np.flatnonzero(pixels)
    return places[(np.arange(PROBES) * GOLDEN % 1 * len(places)).astype(np.intp)] if len(places) else places


def _region(pixels: NDArray[np.bool_]) -> NDArray[Any]:
    """Return flat int32 indices of the pixels or, where these are many, a uint8 mask: at most a byte per pixel."""
    if np.count_nonzero(pixels) > pixels.size // 4:
        return pixels.view(np.uint8)
    return np.flatnonzero(pixels).astype(np.int32)


def _histogram_in(plane: NDArray[np.uint8], region: NDArray[Any]) -> Floats:
    if region.dtype == np.uint8:
        return _histogram(plane, region)
    return _histogram(plane.reshape(-1).take(region)) if region.size else np.zeros(256)


def _histogram(values: NDArray[np.uint8], mask: NDArray[np.uint8] | None = None) -> Floats:
    # A column in OpenCV 4, a line in OpenCV 5.
    return cv2.calcHist([values], [0], mask, [256], [0, 256]).reshape(-1).astype(np.float64)
