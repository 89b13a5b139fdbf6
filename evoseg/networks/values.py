"""What a training takes and gives, free of torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import EvosegError
from evoseg.core.folds import Units
from evoseg.core.kinds import Gray, Labels, Mask, Points, Raw
from evoseg.datasets.memmap import Pack

Head = Literal["mask", "objects", "points"]
"""What the masks mean, and so which planes a network gives."""

OUTPUTS: Mapping[Head, tuple[str, ...]] = {
    "mask": ("foreground",),
    "objects": ("foreground", "distance"),
    "points": ("points",),
}
"""The planes of each head."""


class NetworkError(EvosegError, ValueError):
    """A training that cannot be done, or that failed."""


@dataclass(frozen=True, eq=False)
class Example:
    """One image with its truth.

    Attributes
    ----------
    image : uint8, uint16 or float32 array of shape (M, N, C)
    truth : bool or int32 array of shape (M, N), or float64 array of shape (n, 2)
        Foreground, objects (0 = background) or points (row, col), by the head.
    known : bool array of shape (M, N) or None
        True on pixels that count; None if all do.
    """

    image: Raw
    truth: Mask | Labels | Points
    known: Mask | None = None


@dataclass(frozen=True)
class PackedExamples:
    """Examples and views in a pack, which another process maps into its memory instead of being sent a copy.

    Attributes
    ----------
    pack : Pack
        Begins with the examples; after these come the views.
    truth : str
        What the truth is called in its items: "mask", "labels" or "points".
    units : intp array of shape (n_examples,)
        Which unit each example is of.
    views : sequence of int
        The example that each view belongs to.
    """

    pack: Pack
    truth: str
    units: Units
    views: Sequence[int] = ()

    def read(self) -> tuple[list[Example], list[tuple[int, Raw]]]:
        """Return examples and views, as of `evoseg.networks.training.train`."""
        items = self.pack.items
        views = [(i, item["image"]) for i, item in zip(self.views, items[len(self.units) :], strict=False)]
        return [_example(item, self.truth) for item in items[: len(self.units)]], views


def _example(item: Mapping[str, NDArray[Any]], truth: str) -> Example:
    known = item.get("known")
    return Example(item["image"], item[truth], None if known is None else known.astype(bool, copy=False))


@dataclass(frozen=True)
class TrainingSettings:
    """How long and what to train.

    Attributes
    ----------
    head : str
        "mask", "objects" or "points".
    seconds : float or None
        CPU seconds for everything, out-of-bag planes included, summed over threads.
    steps : int or None
        Steps of each network's longest phase, instead of `seconds`: the result then depends on no clock.
    seed : int
    encoder : str
        "pretrained", or "small" for a tiny one from scratch.
    n_networks : int
        At least 2; each trains without its share of the images. At most as many as there are independent
        images are trained.
    threads : int
        Networks that train at the same time.
    stretch : float
        How many times its CPU time on so many threads the training may take in wall time: on a machine that is busy
        with other things, it does less.
    """

    head: Head = "mask"
    seconds: float | None = None
    steps: int | None = None
    seed: int = 0
    encoder: Literal["pretrained", "small"] = "pretrained"
    n_networks: int = 3
    threads: int = 1
    stretch: float = float("inf")

    def __post_init__(self) -> None:
        """Check the budget.

        Raises
        ------
        NetworkError
            If both budgets or none are given, or a number is out of range.
        """
        if (self.seconds is None) == (self.steps is None):
            raise NetworkError("a training needs a budget in seconds or in steps, and only one of them")
        if min(self.seconds or 1, self.steps or 1, self.threads) <= 0 or self.n_networks < 2:
            raise NetworkError("budget and threads of a training must be positive, and its networks at least 2")


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes
    ----------
    share : float
        Of the whole, 0 to 1.
    stage : str
        What is being done, in words.
    """

    share: float
    stage: str


OnProgress = Callable[[Progress], None]

Planes = Mapping[str, Gray]
"""Planes by the name of the output."""

Keep = Callable[[bytes, Iterable[Planes]], Sequence[Planes]]
"""Takes a network's file and the planes of each image in turn, and returns them all."""


@dataclass(frozen=True, eq=False)
class Trained:
    """Trained networks, and what they say of images that they were not trained on.

    Attributes
    ----------
    file : bytes
        What runs on new images, as ONNX; see `evoseg.operators.network`.
    planes : sequence of mapping of str to uint8 array of shape (M, N)
        For each example, by networks that were trained without it.
    view_planes : sequence of mapping of str to uint8 array of shape (M, N)
        For each view, by networks that were trained without the example it belongs to.
    seconds : float
        CPU seconds that were used.
    notes : dict
        For the report: encoder, reduction, steps, out-of-bag scores of each choice; values are numbers, text, and lists
        and dicts of them.
    """

    file: bytes
    planes: Sequence[Planes]
    view_planes: Sequence[Planes] = ()
    seconds: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)


def check_examples(examples: Sequence[Example], views: Sequence[tuple[int, NDArray[Any]]] = ()) -> None:
    """Refuse examples that out-of-bag planes cannot be made for.

    Raises
    ------
    NetworkError
        If there are fewer than two, an example has not the shape of its image, or a view belongs to none.
    """
    if len(examples) < 2:
        raise NetworkError(
            f"{len(examples)} labelled image: a network is judged by images that it was not trained on, so it needs at "
            "least 2. Label another image."
        )
    for i, example in enumerate(examples):
        shape = example.image.shape[:2]
        for plane in (example.truth if example.truth.dtype != np.float64 else None, example.known):
            if plane is not None and plane.shape != shape:
                raise NetworkError(f"example {i}: its image is {shape}, but its truth or known pixels {plane.shape}")
    if any(not 0 <= i < len(examples) for i, _ in views):
        raise NetworkError("a view belongs to none of the examples")
