"""The task of finding where objects are."""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.base.kinds import Kind
from evoseg.data.dataset import Sample
from evoseg.evolve.binary import BinaryTask
from evoseg.evolve.binary import Truth as Pixels
from evoseg.evolve.ports import Floats, Item
from evoseg.metrics.points import matches, metric

RADIUS_PX = 6.0
"""How far a point may lie from a true one."""
_APART = 3
"""Half-width of the neighbourhood whose highest pixel may become a point, px."""


@dataclass(frozen=True)
class Truth:
    """The places, the number of the nearest one around each (0 beyond the radius), and pixels for fitting."""

    points: NDArray[np.float64]
    known: NDArray[np.bool_] | None
    near: NDArray[np.int32]
    pixels: Pixels


@dataclass(frozen=True)
class PointTask:
    """Find places; items hold ``image``, ``points`` and, if some pixels are unlabelled, ``known``.

    The level of tops is fitted by a guess, after which judging decides: every true point is found by the highest top
    near it, and every top that is near none is false.
    """

    metric: str = "f1"
    radius: float = RADIUS_PX
    output: Kind = Kind.POINTS
    _pixels: BinaryTask = field(default=BinaryTask(), repr=False)

    def item(self, sample: Sample) -> dict[str, NDArray[Any]]:
        """Return the arrays of a sample."""
        assert sample.points is not None, f"{sample.stem} has no points"
        return {"image": sample.image, "points": sample.points} | (
            {} if sample.known is None else {"known": sample.known}
        )

    def image(self, item: Item) -> NDArray[Any]:
        """Return the image."""
        return item["image"]

    def truth(self, item: Item) -> Truth:
        """Return the truth, prepared for fitting."""
        rows, cols = item["image"].shape[:2]
        known = None if item.get("known") is None else item["known"].astype(bool, copy=False)
        points = _within(item["points"], known)
        near, core = np.zeros((rows, cols), np.int32), np.zeros((rows, cols), np.uint8)
        for i, (row, col) in enumerate(points, 1):
            centre = (round(float(col)), round(float(row)))
            cv2.circle(near, centre, round(self.radius), i, -1)
            cv2.circle(core, centre, max(1, round(self.radius / 3)), 1, -1)
        counted = (core > 0) | (near == 0)
        counted = counted if known is None else counted & known
        pixels = self._pixels.truth({"image": item["image"], "mask": core > 0, "known": counted})
        return Truth(points, known, near, pixels)

    def judge(self, output: NDArray[Any], truth: Truth) -> Floats:
        """Return counts of matched points."""
        return matches(_within(output, truth.known), truth.points, self.radius)

    def score(self, statistics: Floats) -> Floats:
        """Return the metric's score."""
        return metric(self.metric).score(statistics)

    def survey(self, planes: tuple[NDArray[np.uint8], ...], truth: Truth) -> Floats:
        """Return histograms of tops, shape (2, 2, 256): of tops and bottoms, by true points and beside them."""
        (plane,) = planes
        return np.stack([self._tops(values, truth) for values in (plane, cv2.bitwise_not(plane))])

    def _tops(self, values: NDArray[Any], truth: Truth) -> Floats:
        side = 2 * _APART + 1
        top = values == cv2.dilate(values, np.ones((side, side), np.uint8))
        if truth.known is not None:
            top &= truth.known
        owner, height = truth.near[top], values[top]
        # Point 0 stands for none; a true point without a top is found at no level.
        best = np.zeros(len(truth.points) + 1, np.uint8)
        np.maximum.at(best, owner, height)
        return np.stack([np.bincount(best[1:], minlength=256), np.bincount(height[owner == 0], minlength=256)]).astype(
            np.float64
        )

    def probe(self, plane: NDArray[np.uint8], truth: Truth) -> Floats:
        """Return the plane's values at some pixels by true points and away from them."""
        return self._pixels.probe(plane, truth.pixels)

    def sweep(self, survey: Floats) -> tuple[Floats, None]:
        """Return a guess at F1 for every polarity and level."""
        total = survey.sum(axis=3, keepdims=True)
        above = total - np.cumsum(survey, axis=3)  # (n_images, 2, 2, 256): tops above each level
        # Bottoms are tops of the inverted plane: at or below a level means above 254 less that level.
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
