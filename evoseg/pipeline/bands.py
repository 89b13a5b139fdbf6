"""Run a program on an image too large for memory: band by band as far as its steps look, then on whole planes."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evoseg.operators import registry
from evoseg.operators.strips import windows
from evoseg.pipeline.running import evaluated, reaches

if TYPE_CHECKING:
    from evoseg.pipeline.value import Pipeline, Step

BAND = 1 << 22
"""Pixels of a band, at least; all values of the steps on it are in memory at a time."""


class Rows(Protocol):
    """An image of which some rows can be had at a time."""

    @property
    def shape(self) -> tuple[int, int]:
        """(M, N)."""
        ...

    def rows(self, first: int, last: int) -> NDArray[Any]:
        """Return rows `first` up to `last` as a `Raw` value of shape (last - first, N, C)."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayRows:
    """An image in memory, shape (M, N, C)."""

    array: NDArray[Any]

    @property
    def shape(self) -> tuple[int, int]:
        """(M, N)."""
        rows, cols = self.array.shape[:2]
        return rows, cols

    def rows(self, first: int, last: int) -> NDArray[Any]:
        """Return some rows, without a copy."""
        return self.array[first:last]


def run_in_bands(
    pipeline: "Pipeline", image: Rows, told: Callable[[float], None] = lambda share: None, band: int = BAND
) -> NDArray[Any]:
    """Return the pipeline's result; the same pixels as on the whole image.

    Steps whose reach from the image is finite run band by band. Where a step looks at the whole image, those values
    that it and later steps need are collected as whole planes of one byte per pixel.

    Parameters
    ----------
    told : callable
        Called with the share of the bands that are done.
    band : int
        Pixels of a band, at least.
    """
    steps = pipeline.steps
    reach = reaches(steps)
    later = [i for i, r in enumerate(reach) if r == registry.WHOLE]
    values: dict[int, NDArray[Any]] = {}
    if any(-1 in steps[i].inputs for i in later):
        values[-1] = image.rows(0, image.shape[0])
    wanted = {j for i in later for j in steps[i].inputs if j >= 0} - set(later)
    if not later:
        wanted = {len(steps) - 1}
    if wanted:
        values |= _planes(steps, image, _needed(steps, wanted), wanted, max(reach[i] for i in wanted), told, band)
    deque(evaluated(steps, later, values), maxlen=0)
    return values[len(steps) - 1]


def _needed(steps: "Sequence[Step]", wanted: set[int]) -> list[int]:
    """Return the places of steps that others are computed from, themselves included, ascending."""
    found = set(wanted)
    for i in range(max(wanted), -1, -1):
        if i in found:
            found.update(j for j in steps[i].inputs if j >= 0)
    return sorted(found)


def _planes(
    steps: "Sequence[Step]",
    image: Rows,
    places: Sequence[int],
    wanted: set[int],
    reach: int,
    told: Callable[[float], None],
    band: int,
) -> dict[int, NDArray[Any]]:
    """Return the wanted steps' values as whole planes."""
    rows, cols = image.shape
    planes: dict[int, NDArray[Any]] = {}
    for first, top, bottom, last in windows(rows, reach, max(band // cols, 4 * reach, 1)):
        for place, value in evaluated(steps, places, {-1: image.rows(first, last)}):
            if place in wanted:
                if place not in planes:
                    planes[place] = np.empty((rows, cols), value.dtype)
                planes[place][top:bottom] = value[top - first : bottom - first]
        told(bottom / rows)
    return planes
