"""The task of finding by how much one image is shifted against another."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.base.kinds import Kind
from evoseg.data.dataset import Sample
from evoseg.evolve.plain import PlainTask
from evoseg.evolve.ports import Floats, Item
from evoseg.metrics.shifts import check_metric, closeness, shift_between


@dataclass(frozen=True)
class RegistrationTask(PlainTask):
    """Filter both images of a pair so that their correlation tells the shift; items hold both and ``shift``."""

    metric: str = "closeness"
    output: Kind = Kind.GRAY

    def __post_init__(self) -> None:
        """Refuse a metric that scores no shifts."""
        check_metric(self.metric)

    def item(self, sample: Sample) -> dict[str, NDArray[Any]]:
        """Return the arrays of a sample."""
        assert sample.moving is not None and sample.shift is not None, f"{sample.stem} is no pair with a known shift"
        return {"image": sample.image, "moving": sample.moving, "shift": sample.shift}

    def image(self, item: Item) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return both images."""
        return item["image"], item["moving"]

    def truth(self, item: Item) -> Floats:
        """Return the true shift, (dy, dx) in px."""
        return np.asarray(item["shift"], np.float64)

    def judge(self, output: tuple[NDArray[Any], NDArray[Any]], truth: Floats) -> Floats:
        """Return the distance of the shift found from the true one, shape (1,), px."""
        return np.array([float(np.hypot(*(shift_between(*output) - truth)))])

    def score(self, statistics: Floats) -> Floats:
        """Return the closeness."""
        return closeness(statistics[..., 0])
