"""The base of all tasks, and the task of finding how one image is moved against another."""

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Kind
from evoseg.core.transforms import TRANSFORMS, as_transform
from evoseg.datasets.dataset import Sample
from evoseg.evolve.ports import Floats, Item
from evoseg.metrics import find_metric
from evoseg.metrics.alignment import grid_error, transform_between
from evoseg.metrics.shift_scores import SHIFT_METRICS

OLD_NAMES = {
    "item": "arrays",
    "truth": "target",
    "survey": "histogram",
    "sweep": "score_thresholds",
    "probe": "sample_pixels",
}
"""Methods of a task by their names in version 0.1; those of a user's own task may keep them until version 0.3."""


def adopt_old_names(task: type) -> None:
    """Let a class that defines a method under its old name have it under the new one, and the other way round.

    The other way round is for methods that call ``super().truth(...)``.

    Warns
    -----
    FutureWarning
        For each old name that the class defines.
    """
    for old, new in OLD_NAMES.items():
        if old in vars(task) and new not in vars(task):
            warnings.warn(
                f"{task.__qualname__}.{old} is now called {new}; the old name works until evoseg 0.3.",
                FutureWarning,
                stacklevel=3,
            )
            setattr(task, new, vars(task)[old])
        elif new in vars(task) and old not in vars(task):
            setattr(task, old, vars(task)[new])


class PlainTask(ABC):
    """A task that says what it looks at and how it scores; all other methods of `evoseg.evolve.ports.Task` are here.

    Thresholds are first guessed as Otsu's method does, without the target. The search then moves them to where the
    score is best.
    """

    output: Kind
    """Kind of value that a pipeline must return."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Accept methods under their old names."""
        super().__init_subclass__(**options)
        adopt_old_names(cls)

    @abstractmethod
    def arrays(self, sample: Sample) -> dict[str, NDArray[Any]]:
        """Return the arrays of a labelled sample that the search keeps: ``image``, and what `target` needs."""

    def image(self, item: Item) -> NDArray[Any] | tuple[NDArray[Any], ...]:
        """Return the input of a pipeline, or several inputs, on each of which the pipeline runs."""
        return item["image"]

    def target(self, item: Item) -> Any:
        """Return what `judge` compares an output with."""
        return item

    @abstractmethod
    def judge(self, output: Any, target: Any) -> Floats:
        """Return statistics of shape (s,) of one output, or of a tuple of outputs if there are several inputs."""

    @abstractmethod
    def score(self, statistics: Floats) -> Floats:
        """Turn statistics of shape (..., s) into scores of shape (...); higher is better, and 1 is perfect."""

    def histogram(self, planes: tuple[NDArray[np.uint8], ...], target: Any) -> Floats:
        """Return the histogram of a plane, shape (256,)."""
        return np.bincount(planes[0].ravel(), minlength=256).astype(np.float64)

    def sample_pixels(self, plane: NDArray[np.uint8], target: Any) -> Floats:
        """Return no values, shape (2, 0): no pixel is known to be foreground."""
        return np.zeros((2, 0))

    def score_thresholds(self, histograms: Floats) -> tuple[Floats, Floats | None]:
        """Return, for each polarity and level, the share of the variance that lies between the two sides."""
        below = np.cumsum(histograms, axis=1)
        moment = np.cumsum(histograms * np.arange(256), axis=1)
        n, total = below[:, -1:], moment[:, -1:]
        power = (histograms * np.arange(256.0) ** 2).sum(axis=1, keepdims=True) - total**2 / n
        parts = below * (n - below)
        between = np.divide((moment * n - below * total) ** 2, parts * n, out=np.zeros_like(below), where=parts > 0)
        share = np.divide(between, power, out=np.zeros_like(between), where=power > 0).T
        return np.stack([share, share]), None


adopt_old_names(PlainTask)


@dataclass(frozen=True)
class RegistrationTask(PlainTask):
    """Filter both images of a pair so that the planes show what moves them.

    Items hold both images and the true ``shift``, ``rigid`` or ``affine``, one of `evoseg.core.transforms.TRANSFORMS`.
    """

    metric: str = "closeness"
    output: Kind = Kind.GRAY

    def __post_init__(self) -> None:
        """Refuse a metric that does not score shifts."""
        find_metric(self.metric, SHIFT_METRICS)

    def arrays(self, sample: Sample) -> dict[str, NDArray[Any]]:
        """Return the arrays of a sample."""
        truths = {kind: truth for kind in TRANSFORMS if (truth := getattr(sample, kind)) is not None}
        assert sample.moving is not None and truths, f"{sample.stem} is no pair with a known transform"
        return {"image": sample.image, "moving": sample.moving, **truths}

    def image(self, item: Item) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return both images."""
        return item["image"], item["moving"]

    def target(self, item: Item) -> tuple[str, Floats]:
        """Return the kind of transform, and the true one, (2, 3)."""
        kind = next(kind for kind in TRANSFORMS if kind in item)
        return kind, as_transform(item[kind])

    def judge(self, output: tuple[NDArray[Any], NDArray[Any]], target: tuple[str, Floats]) -> Floats:
        """Return the median distance between where the found and the true transform take the image, shape (1,), px."""
        kind, truth = target
        return np.array([grid_error(transform_between(*output, kind), truth, output[0].shape)])

    def score(self, statistics: Floats) -> Floats:
        """Return the closeness."""
        return find_metric(self.metric, SHIFT_METRICS).score(statistics)
