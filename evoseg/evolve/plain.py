"""What most tasks need not think about: fitting thresholds without knowing what is foreground."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.base.kinds import Kind
from evoseg.data.dataset import Sample
from evoseg.evolve.ports import Floats, Item


class PlainTask(ABC):
    """A task that says what it looks at and how it scores; the rest of `evoseg.evolve.ports.Task` is here.

    A threshold is guessed as Otsu does, from how well it parts the plane in two; judging decides what comes of it, and
    the search moves it.
    """

    output: Kind
    """Kind of value that a pipeline must return."""

    @abstractmethod
    def item(self, sample: Sample) -> dict[str, NDArray[Any]]:
        """Return the arrays of a labelled sample that the search is to hold: ``image``, and what `truth` needs."""

    def image(self, item: Item) -> NDArray[Any] | tuple[NDArray[Any], ...]:
        """Return the input of a pipeline, or several, each of which it is run on."""
        return item["image"]

    def truth(self, item: Item) -> Any:
        """Return what `judge` needs of the truth."""
        return item

    @abstractmethod
    def judge(self, output: Any, truth: Any) -> Floats:
        """Return statistics of shape (s,) of one output, or of a tuple of outputs if there are several inputs."""

    @abstractmethod
    def score(self, statistics: Floats) -> Floats:
        """Turn statistics of shape (..., s) into scores of shape (...), higher is better and 1 is perfect."""

    def survey(self, planes: tuple[NDArray[np.uint8], ...], truth: Any) -> Floats:
        """Return the histogram of a plane, shape (256,)."""
        return np.bincount(planes[0].ravel(), minlength=256).astype(np.float64)

    def probe(self, plane: NDArray[np.uint8], truth: Any) -> Floats:
        """Return nothing, shape (2, 0): no pixel is known to be of the foreground."""
        return np.zeros((2, 0))

    def sweep(self, survey: Floats) -> tuple[Floats, None]:
        """Return, for each polarity and level, the share of the variance that lies between its two sides."""
        below = np.cumsum(survey, axis=1)
        moment = np.cumsum(survey * np.arange(256), axis=1)
        n, total = below[:, -1:], moment[:, -1:]
        power = (survey * np.arange(256.0) ** 2).sum(axis=1, keepdims=True) - total**2 / n
        parts = below * (n - below)
        between = np.divide((moment * n - below * total) ** 2, parts * n, out=np.zeros_like(below), where=parts > 0)
        share = np.divide(between, power, out=np.zeros_like(between), where=power > 0).T
        return np.stack([share, share]), None
