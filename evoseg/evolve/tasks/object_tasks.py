"""Tasks that tell objects apart or find points, and the search for masks that such tasks begin with.

A mask is judged about ten times as fast as objects are, its thresholds are exact, and its score grows smoothly, whereas
few early candidates match any object. So a search first looks for the foreground, and then goes on from the best masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Sample
from evoseg.evolve.ports import Floats, Item, Scored, Task
from evoseg.evolve.proposers.classics import Call, chain
from evoseg.evolve.selection import leading
from evoseg.evolve.tasks.mask_task import BinaryTask, PixelTarget, PixelTask, labelled_arrays, pixel_target
from evoseg.metrics import find_metric
from evoseg.metrics.object_scores import OBJECT_METRICS, POINT_METRICS, match_objects, match_points
from evoseg.pipeline import Pipeline


@dataclass(frozen=True)
class ObjectTarget:
    """The objects, and the pixels of all of them, which thresholds are fitted to."""

    labels: NDArray[np.int32]
    known: NDArray[np.bool_] | None
    pixels: PixelTarget


@dataclass(frozen=True)
class InstanceTask(PixelTask):
    """Segment objects; items hold ``image``, ``labels`` and, if some pixels are unlabelled, ``known``.

    Thresholds are ranked by how well they tell foreground from background. The following steps then decide among the
    levels that look best.
    """

    metric: str = "ap50"
    output: Kind = Kind.LABELS

    def arrays(self, sample: Sample) -> dict[str, NDArray[Any]]:
        """Return the arrays of a sample."""
        assert sample.labels is not None, f"{sample.stem} has no mask"
        return labelled_arrays(sample, labels=sample.labels)

    def target(self, item: Item) -> ObjectTarget:
        """Return the objects, prepared for fitting."""
        known = item.get("known")
        pixels = pixel_target(item["labels"] > 0, known)
        return ObjectTarget(item["labels"], None if known is None else known.astype(bool, copy=False), pixels)

    def judge(self, output: NDArray[Any], target: ObjectTarget) -> Floats:
        """Return counts of matched objects."""
        return match_objects(output, target.labels, target.known)

    def score(self, statistics: Floats) -> Floats:
        """Return the metric's score."""
        return find_metric(self.metric, OBJECT_METRICS).score(statistics)


RADIUS_PX = 6.0
"""How far a point may lie from a true one."""
_APART = 3
"""Half-width of the neighbourhood whose highest pixel may become a point, px."""


@dataclass(frozen=True)
class PointTarget:
    """The true points, and what thresholds are fitted to.

    Attributes
    ----------
    points : float64 array of shape (n, 2)
    known : bool array of shape (M, N), or None
    near : int32 array of shape (M, N)
        The number of the nearest true point around each pixel, from 1; 0 beyond the radius.
    pixels : PixelTarget
    """

    points: NDArray[np.float64]
    known: NDArray[np.bool_] | None
    near: NDArray[np.int32]
    pixels: PixelTarget


@dataclass(frozen=True)
class PointTask(PixelTask):
    """Find points; items hold ``image``, ``points`` and, if some pixels are unlabelled, ``known``.

    The level of local maxima is guessed first: each true point is taken to be found by the highest maximum near it, and
    each maximum that is near none to be false. Judging then decides.
    """

    metric: str = "f1"
    radius: float = RADIUS_PX
    output: Kind = Kind.POINTS

    def arrays(self, sample: Sample) -> dict[str, NDArray[Any]]:
        """Return the arrays of a sample."""
        assert sample.points is not None, f"{sample.stem} has no points"
        return labelled_arrays(sample, points=sample.points)

    def target(self, item: Item) -> PointTarget:
        """Return the points, prepared for fitting."""
        rows, cols = item["image"].shape[:2]
        known = None if item.get("known") is None else item["known"].astype(bool, copy=False)
        points = _within(item["points"], known)
        near, core = np.zeros((rows, cols), np.int32), np.zeros((rows, cols), np.uint8)
        # OpenCV takes minutes for circles that are far larger than the image.
        far, close = (round(min(radius, rows + cols)) for radius in (self.radius, max(1.0, self.radius / 3)))
        for i, (row, col) in enumerate(points, 1):
            centre = (round(float(col)), round(float(row)))
            cv2.circle(near, centre, far, i, -1)
            cv2.circle(core, centre, close, 1, -1)
        counted = (core > 0) | (near == 0)
        counted = counted if known is None else counted & known
        return PointTarget(points, known, near, pixel_target(core > 0, counted))

    def judge(self, output: NDArray[Any], target: PointTarget) -> Floats:
        """Return counts of matched points."""
        return match_points(_within(output, target.known), target.points, self.radius)

    def score(self, statistics: Floats) -> Floats:
        """Return the metric's score."""
        return find_metric(self.metric, POINT_METRICS).score(statistics)

    def histogram(self, planes: tuple[NDArray[np.uint8], ...], target: PointTarget) -> Floats:
        """Return histograms of maxima and of minima, each by true points and elsewhere; shape (2, 2, 256)."""
        (plane,) = planes
        return np.stack([self._maxima(values, target) for values in (plane, cv2.bitwise_not(plane))])

    def _maxima(self, values: NDArray[Any], target: PointTarget) -> Floats:
        side = 2 * _APART + 1
        top = values == cv2.dilate(values, np.ones((side, side), np.uint8))
        if target.known is not None:
            top &= target.known
        owner, height = target.near[top], values[top]
        # Point 0 stands for none; a true point without a maximum is found at no level.
        best = np.zeros(len(target.points) + 1, np.uint8)
        np.maximum.at(best, owner, height)
        return np.stack([np.bincount(best[1:], minlength=256), np.bincount(height[owner == 0], minlength=256)]).astype(
            np.float64
        )

    def score_thresholds(self, histograms: Floats) -> tuple[Floats, None]:
        """Return a guess at the score for each polarity and level."""
        total = histograms.sum(axis=3, keepdims=True)
        above = total - np.cumsum(histograms, axis=3)  # (n_images, 2, 2, 256): maxima above each level
        # Minima are maxima of the inverted plane: at or below a level means above 254 less that level.
        above[:, 1, :, :255] = above[:, 1, :, 254::-1]
        above[:, 1, :, 255] = total[:, 1, :, 0]
        hit, false = above[:, :, 0], above[:, :, 1]
        counts = np.stack([hit, hit + false, np.broadcast_to(total[:, :, 0], hit.shape)], axis=-1)
        scores: Floats = np.moveaxis(self.score(counts), 0, -1)
        return scores, None


def _within(points: NDArray[np.float64], known: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Return the points that lie on known pixels."""
    if known is None or not len(points):
        return points
    row, col = np.clip(np.rint(points), 0, np.array(known.shape) - 1).astype(np.intp).T
    inside: NDArray[np.float64] = points[known[row, col]]
    return inside


FOREGROUND_SHARE = 0.3
"""Share of the budget for finding the foreground."""
N_CONTINUED = 8
"""Masks from which the search for objects or points goes on."""

ENDINGS: dict[Kind, tuple[tuple[Call, ...], ...]] = {
    Kind.LABELS: (
        (("components", {}),),
        (("distance_watershed", {"distance": 5.0}),),
        (("distance_watershed", {"distance": 10.0}),),
        (("distance_watershed", {"distance": 20.0}),),
        (("depth_watershed", {"depth": 1.0}),),
        (("depth_watershed", {"depth": 3.0}),),
    ),
    Kind.POINTS: (
        (("centroids", {"area": 4}),),
        (("centroids", {"area": 12}),),
        (("depth_watershed", {"depth": 1.0}), ("label_centroids", {"area": 4})),
        (("depth_watershed", {"depth": 1.0}), ("label_centroids", {"area": 12})),
    ),
}
"""Chains that turn a mask into objects or points."""


@dataclass(frozen=True)
class ForegroundTask(BinaryTask):
    """Find the pixels of any object, or those close to any point, on the items of another task."""

    of: InstanceTask | PointTask = InstanceTask()

    def arrays(self, sample: Sample) -> dict[str, NDArray[Any]]:
        """Return the arrays of a sample."""
        return self.of.arrays(sample)

    def target(self, item: Item) -> PixelTarget:
        """Return the pixels of the other task's target."""
        return self.of.target(item).pixels


def foreground_of(task: Task) -> ForegroundTask | None:
    """Return the simpler task that a search begins with, or None if it begins with the task itself."""
    # Not for what a user derives from these classes: its targets may know no pixels.
    return ForegroundTask(of=task) if type(task) in (InstanceTask, PointTask) else None  # type: ignore[arg-type]


def make_objects(masks: Sequence[Scored], output: Kind) -> dict[Pipeline, Pipeline]:
    """Return programs that turn the best masks into objects or points, each with the program of its mask."""
    best = [scored.pipeline for scored in leading(masks, N_CONTINUED)]
    return {chain(mask, ending): mask for mask in best for ending in ENDINGS[output]}
