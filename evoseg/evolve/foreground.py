"""Objects and points begin as masks: find quickly where anything is, then search on from the best masks.

A mask is judged some ten times as fast as objects are, its levels are exact, and its score grows smoothly; few early
candidates match any object at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from evoseg.base.kinds import Kind
from evoseg.data.dataset import Sample
from evoseg.evolve.binary import BinaryTask
from evoseg.evolve.binary import Truth as Pixels
from evoseg.evolve.classics import Call, chain
from evoseg.evolve.instances import InstanceTask
from evoseg.evolve.points import PointTask
from evoseg.evolve.ports import Floats, Item, Scored, Task
from evoseg.evolve.selection import leading
from evoseg.pipeline import Pipeline

SHARE = 0.3
"""Of the budget."""
LIFTED = 8
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
"""What makes objects or points of a mask."""


@dataclass(frozen=True)
class Foreground:
    """The task of finding where anything is, on the items of another task.

    Attributes
    ----------
    of : InstanceTask or PointTask
        Its truths know which pixels belong to an object, or lie close by a point.
    """

    of: InstanceTask | PointTask
    output: Kind = Kind.MASK
    _pixels: BinaryTask = field(default=BinaryTask(), repr=False)

    def item(self, sample: Sample) -> dict[str, NDArray[Any]]:
        """Return the arrays of a sample."""
        return self.of.item(sample)

    def image(self, item: Item) -> NDArray[Any]:
        """Return the image."""
        return self.of.image(item)

    def truth(self, item: Item) -> Pixels:
        """Return the pixels of the truth."""
        return self.of.truth(item).pixels

    def judge(self, output: NDArray[Any], truth: Pixels) -> Floats:
        """Return counts of pixels."""
        return self._pixels.judge(output, truth)

    def score(self, statistics: Floats) -> Floats:
        """Return the IoU."""
        return self._pixels.score(statistics)

    def survey(self, planes: tuple[NDArray[Any], ...], truth: Pixels) -> Floats:
        """Return histograms of foreground and background."""
        return self._pixels.survey(planes, truth)

    def probe(self, plane: NDArray[Any], truth: Pixels) -> Floats:
        """Return the plane's values at some pixels of foreground and background."""
        return self._pixels.probe(plane, truth)

    def sweep(self, survey: Floats) -> tuple[Floats, Floats | None]:
        """Return the IoU at every polarity and level."""
        return self._pixels.sweep(survey)


def foreground_of(task: Task) -> Foreground | None:
    """Return the simpler task to begin with, None if there is none."""
    if isinstance(task, InstanceTask | PointTask) and type(task) in (InstanceTask, PointTask):
        return Foreground(task)
    return None  # for what a user derives from them, too: its truths may know no pixels


def lifted(masks: Sequence[Scored], output: Kind) -> tuple[Pipeline, ...]:
    """Return programs that make objects or points of the best masks."""
    best = [scored.pipeline for scored in leading(masks, LIFTED)]
    return tuple(chain(mask, ending) for mask in best for ending in ENDINGS[output])
