"""Run a program on an image too large for memory: band by band as far as its steps look, in as many passes as it needs.

A step that looks at the whole image ends a pass. If it can be measured and then mapped, the bands are measured and the
next pass maps them; otherwise what it takes is collected as whole planes, on which it runs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evoseg.operators import registry
from evoseg.operators.measured import Measured, Place
from evoseg.operators.strips import windows
from evoseg.pipeline.running import evaluated, run_step

if TYPE_CHECKING:
    from evoseg.pipeline.value import Pipeline, Step

BAND = 1 << 22
"""Pixels of a band, at least; all values of the steps on it are in memory at a time."""

HELD = 1 << 29
"""Bytes of planes that are kept between passes, so that steps need not run again; more only where steps run on them."""


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
    pipeline: "Pipeline",
    image: Rows,
    told: Callable[[float], None] = lambda share: None,
    band: int = BAND,
    held: int = HELD,
) -> NDArray[Any]:
    """Return the pipeline's result; the same as on the whole image.

    Parameters
    ----------
    told : callable
        Called with the share of the bands that are done.
    band : int
        Pixels of a band, at least.
    held : int
        Bytes of planes that may be kept between passes.
    """
    return _Run(pipeline.steps, image, band, held).result(told)


@dataclass
class _Run:
    """A program on its way through the bands of one image.

    Attributes
    ----------
    planes : dict of int to array
        Whole values of steps, by place, as long as they are needed.
    settled : dict of int to Any
        What was concluded for steps that are measured, by place.
    """

    steps: "Sequence[Step]"
    image: Rows
    band: int
    held: int
    planes: dict[int, NDArray[Any]] = field(default_factory=dict)
    settled: dict[int, Any] = field(default_factory=dict)

    def result(self, told: Callable[[float], None]) -> NDArray[Any]:
        """Return the last step's value."""
        registry.reproducible()  # measuring and mapping do not go through Operator.run
        last = len(self.steps) - 1
        n_passes = self._pass_of[last] + 1
        for number in range(n_passes):
            self._bands(number, partial(_told_part, told, number, n_passes))
            for i in self._alive:
                if self._pass_of[i] == number + 1 and self._on_planes(i):
                    self.planes[i] = run_step(i, self.steps[i], tuple(self._whole(j) for j in self.steps[i].inputs))
            self._forget(number + 1)
        return self.planes[last]

    @cached_property
    def _alive(self) -> list[int]:
        return _needed(self.steps, {len(self.steps) - 1}, ())

    @cached_property
    def _pass_of(self) -> list[int]:
        """The first pass in which a step's value can be had, band by band or as a whole plane."""
        found: list[int] = []
        for i, step in enumerate(self.steps):
            before = max(found[j] if j >= 0 else 0 for j in step.inputs)
            found.append(before + (self._on_planes(i) or self._measured(i) is not None))
        return found

    def _measured(self, place: int) -> Measured | None:
        """Return the form of a step that is measured band by band."""
        form = registry.get(self.steps[place].operator).measured
        return form if form is not None and form.anywhere else None

    def _on_planes(self, place: int) -> bool:
        """Return whether a step needs whole planes."""
        return self._own_reach(place) == registry.WHOLE and self._measured(place) is None

    def _own_reach(self, place: int) -> int:
        step = self.steps[place]
        return registry.get(step.operator).reach(step.params)

    def _whole(self, place: int) -> NDArray[Any]:
        return self.image.rows(0, self.image.shape[0]) if place < 0 else self.planes[place]

    def _bands(self, number: int, told: Callable[[float], None]) -> None:
        """Go through the bands once: measure for the steps that come next, and collect the planes that are needed."""
        next_ones = [i for i in self._alive if self._pass_of[i] == number + 1]
        measured = {i: form for i in next_ones if (form := self._measured(i)) is not None}
        wanted = {j for i in next_ones if self._on_planes(i) for j in self.steps[i].inputs if j >= 0}
        wanted = (wanted | self._frontier(number, wanted) | self._answer(number)) - set(self.planes)
        looked_at = {j for i in measured for j in self.steps[i].inputs if j >= 0}
        if not wanted and not measured:
            told(1.0)
            return
        places = _needed(self.steps, wanted | (looked_at - set(self.planes)), self.planes)
        parts: dict[int, list[Any]] = {i: [] for i in measured}
        fresh: dict[int, NDArray[Any]] = {}
        rows, cols = self.image.shape
        reach = self._reach(places)
        for first, top, bottom, last in windows(rows, reach, max(self.band // cols, 4 * reach, 1)):
            inner = slice(top - first, bottom - first)
            seen = self._sources(first, last)
            for place, value in self._evaluated(places, first, seen):
                if place in wanted:
                    if place not in fresh:
                        fresh[place] = np.empty((rows, cols), value.dtype)
                    fresh[place][top:bottom] = value[inner]
                if place in looked_at:
                    seen[place] = value
            for i, form in measured.items():
                arrays = tuple(seen[j][inner] for j in self.steps[i].inputs)
                parts[i].append(form.measure(arrays, Place(top, (rows, cols)), self._params(i)))
            told(bottom / rows)
        self.planes |= fresh
        self.settled |= {i: form.settle(parts[i], self._params(i)) for i, form in measured.items()}

    def _sources(self, first: int, last: int) -> dict[int, NDArray[Any]]:
        """Return some rows of the image and of all planes that are there."""
        return {-1: self.image.rows(first, last), **{j: plane[first:last] for j, plane in self.planes.items()}}

    def _evaluated(
        self, places: Sequence[int], first: int, seen: dict[int, NDArray[Any]]
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield place and value of steps on one band."""

        def run(place: int, step: "Step", arrays: tuple[NDArray[Any], ...]) -> NDArray[Any]:
            form = self._measured(place)
            if form is None:
                return run_step(place, step, arrays)
            return form.mapped(arrays, self.settled[place], Place(first, self.image.shape), self._params(place))

        return evaluated(self.steps, places, dict(seen), run)

    def _params(self, place: int) -> dict[str, Any]:
        step = self.steps[place]
        return dict(registry.get(step.operator).named(step.params))

    def _reach(self, places: Sequence[int]) -> int:
        """Return how many pixels away a pixel of the image or of a plane that is there can influence the steps."""
        found: dict[int, int] = {}
        for i in places:
            own = 0 if self._measured(i) is not None else self._own_reach(i)
            found[i] = own + max(found.get(j, 0) for j in self.steps[i].inputs)
        return max(found.values(), default=0)

    def _answer(self, number: int) -> set[int]:
        last = len(self.steps) - 1
        return {last} if self._pass_of[last] == number else set()

    def _frontier(self, number: int, wanted: set[int]) -> set[int]:
        """Return places whose values later passes begin with, if there is room to keep them all."""
        now = {j for i in self._alive if self._pass_of[i] > number for j in self.steps[i].inputs if j >= 0}
        found = {j for j in now if self._pass_of[j] <= number}
        rows, cols = self.image.shape
        return found if rows * cols * len(found | wanted | set(self.planes)) <= self.held else set()

    def _forget(self, number: int) -> None:
        """Drop the planes that no pass from a number on needs."""
        later = [i for i in self._alive if self._pass_of[i] >= number and i not in self.planes]
        needed = set(_needed(self.steps, set(later), self.planes))
        used = {j for i in needed for j in self.steps[i].inputs} | {len(self.steps) - 1}
        for place in set(self.planes) - used:
            del self.planes[place]


def _told_part(told: Callable[[float], None], number: int, of: int, share: float) -> None:
    told((number + share) / of)


def _needed(steps: "Sequence[Step]", wanted: set[int], there: Iterable[int]) -> list[int]:
    """Return the places of steps that others are computed from, themselves included, ascending; not what is there."""
    found, there = set(wanted), set(there)
    for i in range(max(wanted, default=-1), -1, -1):
        if i in found:
            found.update(j for j in steps[i].inputs if j >= 0 and j not in there)
    return sorted(found)
