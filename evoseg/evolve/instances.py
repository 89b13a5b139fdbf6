"""The task of telling objects from one another."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.base.kinds import Kind
from evoseg.data.dataset import Sample
from evoseg.evolve.binary import BinaryTask
from evoseg.evolve.binary import Truth as Pixels
from evoseg.evolve.ports import Floats, Item
from evoseg.metrics.instances import matches, metric


@dataclass(frozen=True)
class Truth:
    """The objects, and where any of them is, for fitting."""

    labels: NDArray[np.int32]
    known: NDArray[np.bool_] | None
    pixels: Pixels


@dataclass(frozen=True)
class InstanceTask:
    """Segment objects; items hold ``image``, ``labels`` and, if some pixels are unlabelled, ``known``.

    Planes are thresholded by how well that tells foreground from background; what follows decides among the levels that
    look best.
    """

    metric: str = "ap50"
    output: Kind = Kind.LABELS
    _pixels: BinaryTask = field(default=BinaryTask(), repr=False)

    def item(self, sample: Sample) -> dict[str, NDArray[Any]]:
        """Return the arrays of a sample."""
        labels = sample.labels
        assert labels is not None, f"{sample.stem} has no mask"
        return {"image": sample.image, "labels": labels} | ({} if sample.known is None else {"known": sample.known})

    def image(self, item: Item) -> NDArray[Any]:
        """Return the image."""
        return item["image"]

    def truth(self, item: Item) -> Truth:
        """Return the truth, prepared for fitting."""
        known = item.get("known")
        pixels = self._pixels.truth({**item, "mask": item["labels"] > 0})
        return Truth(item["labels"], None if known is None else known.astype(bool, copy=False), pixels)

    def judge(self, output: NDArray[Any], truth: Truth) -> Floats:
        """Return counts of matched objects."""
        return matches(output, truth.labels, truth.known)

    def score(self, statistics: Floats) -> Floats:
        """Return the metric's score."""
        return metric(self.metric).score(statistics)

    def survey(self, planes: tuple[NDArray[np.uint8], ...], truth: Truth) -> Floats:
        """Return histograms of foreground and background."""
        return self._pixels.survey(planes, truth.pixels)

    def probe(self, plane: NDArray[np.uint8], truth: Truth) -> Floats:
        """Return the plane's values at some pixels of foreground and background."""
        return self._pixels.probe(plane, truth.pixels)

    def sweep(self, survey: Floats) -> tuple[Floats, None]:
        """Return the IoU of foreground at every polarity and level, a guess at what suits the objects."""
        return self._pixels.sweep(survey)[0], None
