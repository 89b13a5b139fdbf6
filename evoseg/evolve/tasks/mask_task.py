"""Tasks whose thresholds are fitted to known foreground pixels, and the task of segmenting the foreground."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Sample
from evoseg.evolve.ports import Floats, Item
from evoseg.evolve.tasks.plain_task import PlainTask
from evoseg.metrics import find_metric
from evoseg.metrics.mask_scores import MASK_METRICS, iou

SAMPLED = 500
"""Pixels of each class and image that curves are fitted to."""
GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class PixelTarget:
    """Where the foreground is, in a form that is small and quick to count with: a worker holds those of all images.

    Attributes
    ----------
    mask : bool array of shape (M, N)
    known : bool array of shape (M, N), or None
        The labelled pixels; None if all are.
    counted, unknown : int32 or uint8 array
        The known pixels of the rarer class, and those that are not known, as `_region` returns them.
    rare : bool
        Whether the rarer class is the foreground.
    sampled : pair of intp arrays
        Flat indices of some foreground and some background pixels.
    """

    mask: NDArray[np.bool_]
    known: NDArray[np.bool_] | None
    counted: NDArray[Any]
    unknown: NDArray[Any]
    rare: bool
    sampled: tuple[NDArray[np.intp], NDArray[np.intp]]

    @property
    def pixels(self) -> "PixelTarget":
        """Itself; targets of other tasks hold one under this name."""
        return self


def pixel_target(mask: NDArray[Any], known: NDArray[Any] | None) -> PixelTarget:
    """Prepare a mask for counting."""
    # Not copied: the arrays of an item are shared by all workers.
    mask = mask.astype(bool, copy=False)
    if known is None:
        foreground, background, unknown = mask, ~mask, np.zeros_like(mask)
    else:
        known = known.astype(bool, copy=False)
        foreground, background, unknown = mask & known, ~mask & known, ~known
    rare = bool(np.count_nonzero(foreground) <= np.count_nonzero(background))
    counted, sampled = foreground if rare else background, (_some(foreground), _some(background))
    return PixelTarget(mask, known, _region(counted), _region(unknown), rare, sampled)


class PixelTask(PlainTask):
    """A task that fits thresholds by how well they tell foreground from background.

    Its targets have an attribute `pixels`, a `PixelTarget`.
    """

    def histogram(self, planes: tuple[NDArray[np.uint8], ...], target: Any) -> Floats:
        """Return histograms of shape (2, 256): of the foreground and of the background, known pixels only."""
        (plane,), pixels = planes, target.pixels
        total = _histogram(plane) - _histogram_in(plane, pixels.unknown)
        counted = _histogram_in(plane, pixels.counted)
        rest = total - counted
        return np.stack((counted, rest) if pixels.rare else (rest, counted))

    def sample_pixels(self, plane: NDArray[np.uint8], target: Any) -> Floats:
        """Return the plane's values at `SAMPLED` pixels of each class."""
        flat, sampled = plane.reshape(-1), target.pixels.sampled
        return np.stack([flat[at].astype(np.float64) if len(at) else np.full(SAMPLED, np.nan) for at in sampled])

    def score_thresholds(self, histograms: Floats) -> tuple[Floats, Floats | None]:
        """Return the IoU of the foreground at each polarity and level: a guess at what suits the task's own score."""
        return iou(_confusion(histograms)), None


@dataclass(frozen=True)
class BinaryTask(PixelTask):
    """Segment the foreground; items hold ``image``, ``mask`` and, if some pixels are unlabelled, ``known``."""

    metric: str = "iou"
    output: Kind = Kind.MASK

    def arrays(self, sample: Sample) -> dict[str, NDArray[Any]]:
        """Return the arrays of a sample."""
        assert sample.mask is not None, f"{sample.stem} has no mask"
        return labelled_arrays(sample, mask=sample.mask)

    def target(self, item: Item) -> PixelTarget:
        """Return the mask, prepared for counting."""
        return pixel_target(item["mask"], item.get("known"))

    def judge(self, output: NDArray[Any], target: PixelTarget) -> Floats:
        """Return the metric's counts."""
        return find_metric(self.metric, MASK_METRICS).measure(output, target.mask, target.known)

    def score(self, statistics: Floats) -> Floats:
        """Return the metric's score."""
        return find_metric(self.metric, MASK_METRICS).score(statistics)

    def score_thresholds(self, histograms: Floats) -> tuple[Floats, Floats | None]:
        """Return scores and counts at each polarity and level; the IoU for a metric that pixel counts do not give."""
        metric = find_metric(self.metric, MASK_METRICS)
        if not metric.pixelwise:
            return super().score_thresholds(histograms)
        counts = _confusion(histograms)
        return metric.score(counts), counts


def labelled_arrays(sample: Sample, **arrays: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return a sample's image, the given arrays, and which pixels are known if some are not."""
    return {"image": sample.image, **arrays} | ({} if sample.known is None else {"known": sample.known})


def _confusion(histograms: Floats) -> Floats:
    """Return (tp, fp, fn, tn), shape (2, 256, n_images, 4), at each polarity and level, from (n_images, 2, 256)."""
    below = np.cumsum(histograms, axis=2)  # pixels <= level
    above = below[:, :, -1:] - below
    bright = np.stack((above[:, 0], above[:, 1], below[:, 0], below[:, 1]), axis=-1)
    dark = bright[..., [2, 3, 0, 1]]
    return np.stack((bright, dark)).transpose(0, 2, 1, 3)


def _some(pixels: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return `SAMPLED` of the pixels, spread evenly without a period that could meet the rows; all of none."""
    places = np.flatnonzero(pixels)
    return places[(np.arange(SAMPLED) * GOLDEN % 1 * len(places)).astype(np.intp)] if len(places) else places


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
