"""Networks as the search sees them: what it asks a trainer for, what it gets, and the classic programs around one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evoseg.core.folds import Units
from evoseg.core.kinds import Kind, Raw
from evoseg.datasets.memmap import Pack
from evoseg.evolve.evaluation.jobs import GIVEN, NETWORK_FILE
from evoseg.evolve.ports import Item
from evoseg.evolve.proposers.classics import Call, chain
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import NETWORK, step

HALF = 127
"""Foreground is above this level: a probability of one half."""
_SMALL = 0.1
"""Share of the objects' median area below which a piece is none."""
_APART = 0.25
"""Least distance of two points, as a share of the median distance of neighbours."""
OPENED: tuple[tuple[Call, ...], ...] = (
    (("remove_small", {"area": 40}),),
    (("remove_small", {"area": 160}),),
    (("fill_holes", {}),),
    (("open_mask", {"radius": 1}),),
    (("close_mask", {"radius": 1}), ("remove_small", {"area": 40})),
)
"""What may clean the mask of a network."""


@dataclass(frozen=True)
class TrainingRequest:
    """What networks are trained on.

    Attributes
    ----------
    output : Kind
        Mask, Labels or Points: what the search looks for.
    pack : Pack
        Begins with the search images; after these come their copies, of which planes are wanted as well.
    units : intp array of shape (n_images,)
        Which unit each search image is of: networks leave out whole units.
    copied : sequence of int
        Of which search image each copy is.
    seconds : float or None, s
        What the training may take, on all cores of the search.
    steps : int or None
        Steps of each network, in place of a time: then the same networks come out on every run.
    """

    output: Kind
    pack: Pack
    units: Units
    copied: Sequence[int]
    seconds: float | None
    steps: int | None


@dataclass(frozen=True, eq=False)
class Networks:
    """Networks that were trained on the search images, as one file that holds all of them.

    Attributes
    ----------
    file : bytes
        What runs on new images: a network trained on all search images, or the mean of the others.
    digest : str
        Of the file.
    planes : sequence of mapping of str to uint8 array of shape (M, N)
        Per search image, then per view, each output as networks give it that were trained without this image.
    n_folds : int
        How many folds there were: network k did not train on those of fold k (`evoseg.core.folds`).
    notes : mapping
        What a report says of them.
    """

    file: bytes
    digest: str
    planes: Sequence[Mapping[str, NDArray[np.uint8]]]
    n_folds: int
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the planes."""
        return tuple(self.planes[0])

    def program(self, output: str) -> Pipeline:
        """Return the program that gives one of the planes."""
        return plane_program(self.digest, output)

    @property
    def programs(self) -> list[Pipeline]:
        """The program of each plane."""
        return [self.program(output) for output in self.outputs]

    def given(self, place: int) -> dict[str, NDArray[np.uint8]]:
        """Return the planes of a search image or view under the names by which evaluators know them."""
        return {
            GIVEN + program.digest: self.planes[place][output]
            for output, program in zip(self.outputs, self.programs, strict=True)
        }

    def planes_of(self, image: Raw) -> dict[str, NDArray[np.uint8]]:
        """Return the planes of a new image, under the same names."""
        return {GIVEN + program.digest: program(image) for program in self.programs}

    def file_item(self) -> tuple[str, dict[str, NDArray[np.uint8]]]:
        """Return the item of a pack that brings the file to whoever runs programs."""
        return NETWORK_FILE, {NETWORK_FILE + self.digest: np.frombuffer(self.file, np.uint8)}


def plane_program(digest: str, output: str) -> Pipeline:
    """Return the program that gives one plane of a network."""
    return Pipeline([step(NETWORK, IMAGE, weights=digest, output=output)])


class Trainer(Protocol):
    """Trains networks, or fetches those that the run has trained before it was interrupted."""

    def __call__(self, request: TrainingRequest, on_progress: Callable[[float], None]) -> Networks | str:
        """Return networks, or why there are none.

        Parameters
        ----------
        on_progress : callable
            Called with the share of the training that is done.
        """
        ...


def plain_programs(networks: Networks, output: Kind, length: float) -> list[Pipeline]:
    """Return the programs that take a network at its word, the plainest first.

    What these ways are was chosen by out-of-bag scores on five datasets (docs/networks.md); which of them a search
    takes, by those of its own images.

    Parameters
    ----------
    length : float, px
        As `typical_length` gives it.
    """
    if output is Kind.POINTS:
        blobs = networks.program("points")
        planes = [blobs, *(chain(blobs, [("gaussian", {"sigma": sigma})]) for sigma in (1.0, 2.0))]
        distance = _bounded(_APART * length, 1, 25)
        return [chain(p, [("peaks", {"distance": distance, "level": level})]) for level in (HALF, 96) for p in planes]
    half = chain(networks.program("foreground"), [("level", {"level": HALF})])
    if output is Kind.MASK:
        return [half]
    found = []
    for share, before in ((_SMALL, ()), (2 * _SMALL, (("fill_holes", {}),))):
        mask = chain(half, [*before, ("remove_small", {"area": _bounded(share * length**2, 2, 20_000)})])
        found.append(chain(mask, [("components", {})]))
        found += [chain(mask, [("depth_watershed", {"depth": depth})]) for depth in (0.5, 2.0)]
        if "distance" in networks.outputs:
            found += [_parted_by_tops(networks, mask, sigma, depth) for sigma, depth in ((2.0, 32), (4.0, 16))]
    return found


def typical_length(items: Sequence[Item], output: Kind) -> float:
    """Return how large objects are, or how far apart points, px; 10 if there are none.

    Of objects, the side of a square of the median area; of points, the median distance to the nearest neighbour.
    """
    if output is Kind.POINTS:
        length = point_spacing([item["points"] for item in items])
        return length if isfinite(length) else 10.0
    areas = [np.bincount(item["labels"].ravel())[1:] for item in items] if output is Kind.LABELS else []
    found = np.concatenate([area[area > 0] for area in areas]) if areas else np.empty(0)
    return float(np.median(found)) ** 0.5 if len(found) else 10.0


def point_spacing(points: Sequence[NDArray[np.float64]]) -> float:
    """Return the median distance, px, of a point to its nearest neighbour, or infinity without two points anywhere.

    Parameters
    ----------
    points : sequence of float64 arrays of shape (n, 2)
        Of each image.
    """
    from scipy.spatial import KDTree  # takes a third of a second, which most commands can save

    found = [KDTree(some).query(some, 2)[0][:, 1] for some in points if len(some) > 1]
    return float(np.median(np.concatenate(found))) if found else float("inf")


def _bounded(value: float, low: int, high: int) -> int:
    return min(max(round(value), low), high)


def _parted_by_distance(networks: Networks, mask: Pipeline, level: int) -> Pipeline:
    """Return objects grown from where the network sees their middles."""
    distance = networks.program("distance")
    steps = [*mask.steps, *distance.steps]
    at = len(mask)
    steps += [
        step("level", at, level=level),
        step("marker_watershed", at, at + 1, at - 1, polarity="bright"),
    ]
    return Pipeline(steps)


def _parted_by_tops(networks: Networks, mask: Pipeline, sigma: float, depth: int) -> Pipeline:
    """Return objects parted along the valleys of the distance that the network sees."""
    distance = networks.program("distance")
    at = len(mask)
    steps = [*mask.steps, *distance.steps, step("bright_watershed", at, at - 1, sigma=sigma, depth=depth)]
    return Pipeline(steps)


def cleaned_programs(networks: Networks, output: Kind) -> list[Pipeline]:
    """Return the classic ways on from a network's planes, with steps and levels that are fitted."""
    if output is Kind.POINTS:
        blobs = networks.program("points")
        smoothed = [chain(blobs, [("gaussian", {"sigma": s}), ("peaks", {"distance": 4})]) for s in (1.0, 2.0)]
        return [chain(blobs, [("peaks", {"distance": d})]) for d in (3, 6)] + smoothed
    foreground = networks.program("foreground")
    smooth = [chain(foreground, [("gaussian", {"sigma": s})]) for s in (1.0, 2.0)]
    masks = [chain(plane, [("threshold", {})]) for plane in (foreground, *smooth)]
    half = chain(foreground, [("level", {"level": HALF})])
    masks += [chain(half, calls) for calls in OPENED]
    if output is Kind.MASK:
        return masks
    found: list[Pipeline] = []
    for mask in (half, *masks):
        found += [chain(mask, [("depth_watershed", {"depth": depth})]) for depth in (1.0, 2.0)]
    found += [chain(mask, [("components", {})]) for mask in masks]
    if "distance" in networks.outputs:
        for mask in (half, *masks[-len(OPENED) :]):
            found.append(_parted_by_tops(networks, mask, 2.0, 8))
            found.append(_parted_by_distance(networks, mask, 115))
    return found
