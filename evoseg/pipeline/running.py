"""Run a program on an image, as a whole or in bands of rows if it is too large for memory.

In bands, a program takes as many passes as it needs. A step that looks at the whole image ends a pass. If the step can
be measured and then mapped, the bands are measured and the next pass maps them; otherwise its inputs are collected as
whole planes, on which it runs.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import PipelineError
from evoseg.operators import registry
from evoseg.operators.strips import Strip, TwoPass, cut_strips

if TYPE_CHECKING:
    from evoseg.pipeline.value import Pipeline, Step

NOTHING: Mapping[int, NDArray[Any]] = MappingProxyType({})
"""No values of steps."""

RAW = (np.uint8, np.uint16, np.float32)
"""Types of the pixels that operators take."""


def as_raw(image: NDArray[Any]) -> NDArray[Any]:
    """Return `image` as a `Raw` value of shape (M, N, C).

    Raises
    ------
    PipelineError
        If it is not a uint8, uint16 or float32 array of shape (M, N) or (M, N, C) with at least one pixel.
    """
    if image.ndim not in (2, 3) or image.size == 0:
        raise PipelineError(f"the image has shape {image.shape}; it must be (M, N) or (M, N, C).")
    if image.dtype not in RAW:
        raise PipelineError(f"the image is {image.dtype}; it must be uint8, uint16 or float32. Convert it first.")
    return np.ascontiguousarray(image if image.ndim == 3 else image[:, :, None])


def run_steps(steps: "Sequence[Step]", raw: NDArray[Any], given: Mapping[int, NDArray[Any]] = NOTHING) -> NDArray[Any]:
    """Return the value of the last step; `given` as of `step_values`."""
    return deque(step_values(steps, raw, given), maxlen=1)[0]


def step_values(
    steps: "Sequence[Step]", raw: NDArray[Any], given: Mapping[int, NDArray[Any]] = NOTHING
) -> "Iterator[NDArray[Any]]":
    """Yield the value of each step in turn; one is held only until its last use.

    Parameters
    ----------
    given : mapping of int to array
        Values that are known already, by the places of their steps, which are not run.
    """

    def run(place: int, step: "Step", arrays: tuple[NDArray[Any], ...]) -> NDArray[Any]:
        return given[place] if place in given else run_step(place, step, arrays)

    return (value for _, value in iterate_steps(steps, range(len(steps)), {-1: raw}, run))


def run_step(place: int, step: "Step", arrays: tuple[NDArray[Any], ...]) -> NDArray[Any]:
    """Return a step's value."""
    result: NDArray[Any] = registry.get(step.operator).run(arrays, step.params)
    return result


def iterate_steps(
    steps: "Sequence[Step]",
    places: "Iterable[int]",
    values: dict[int, NDArray[Any]],
    run: "Callable[[int, Step, tuple[NDArray[Any], ...]], NDArray[Any]]" = run_step,
) -> "Iterator[tuple[int, NDArray[Any]]]":
    """Yield place and value of some of the steps in turn.

    Parameters
    ----------
    places : iterable of int
        Of the steps to run, ascending; what they need beyond them is in `values`.
    values : dict of int to array
        Taken over: a value leaves it after its last use.
    run : callable (place, step, arrays) -> array
        How a step's value is found.
    """
    places = list(places)
    last_use = {j: i for i in places for j in steps[i].inputs}
    for i in places:
        s = steps[i]
        values[i] = run(i, s, tuple(values[j] for j in s.inputs))
        for j in set(s.inputs):
            if last_use[j] == i:
                del values[j]
        yield i, values[i]


def reaches(steps: "Sequence[Step]") -> list[int]:
    """Return how many pixels away a pixel of the image can influence each step's value, or `WHOLE`."""
    found: list[int] = []
    for s in steps:
        before = [0 if j == -1 else found[j] for j in s.inputs]
        own = registry.get(s.operator).reach(s.params)
        found.append(registry.WHOLE if registry.WHOLE in (own, *before) else own + max(before))
    return found


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
    on_progress: Callable[[float], None] = lambda share: None,
    band: int = BAND,
    held: int = HELD,
) -> NDArray[Any]:
    """Return the pipeline's result; the same as on the whole image.

    Parameters
    ----------
    image, on_progress, band, held
        As of `values_in_bands`.
    """
    (result,) = values_in_bands(pipeline, image, (len(pipeline) - 1,), on_progress, band, held)
    return result


def values_in_bands(
    pipeline: "Pipeline",
    image: Rows,
    places: Sequence[int],
    on_progress: Callable[[float], None] = lambda share: None,
    band: int = BAND,
    held: int = HELD,
) -> list[NDArray[Any]]:
    """Return the values of some of a pipeline's steps; the same as on the whole image.

    Parameters
    ----------
    places : sequence of int
        Of the steps.
    on_progress : callable
        Called with the share of the bands that are done.
    band : int
        Pixels of a band, at least.
    held : int
        Bytes of planes that may be kept between passes.
    """
    found = _Run(pipeline.steps, image, {*places}, band, held).values(on_progress)
    return [found[place] for place in places]


@dataclass
class _Run:
    """A program on its way through the bands of one image.

    Attributes
    ----------
    asked : set of int
        Places of the steps whose values are to be returned.
    planes : dict of int to array
        Whole values of steps, by place, as long as they are needed.
    settled : dict of int to Any
        What was concluded for steps that are measured, by place.
    """

    steps: "Sequence[Step]"
    image: Rows
    asked: set[int]
    band: int
    held: int
    planes: dict[int, NDArray[Any]] = field(default_factory=dict)
    settled: dict[int, Any] = field(default_factory=dict)

    def values(self, on_progress: Callable[[float], None]) -> dict[int, NDArray[Any]]:
        """Return what is asked for, by place."""
        registry.reproducible()  # measuring and mapping do not go through Operator.run
        n_passes = max(self._pass_of[i] for i in self.asked) + 1
        for number in range(n_passes):
            self._bands(number, partial(_report_part, on_progress, number, n_passes))
            for i in self._alive:
                if self._pass_of[i] == number + 1 and self._on_planes(i):
                    self.planes[i] = run_step(i, self.steps[i], tuple(self._whole(j) for j in self.steps[i].inputs))
            self._forget(number + 1)
        return self.planes

    @cached_property
    def _alive(self) -> list[int]:
        return _steps_to_run(self.steps, self.asked, ())

    @cached_property
    def _pass_of(self) -> list[int]:
        """The first pass in which a step's value can be had, band by band or as a whole plane."""
        found: list[int] = []
        for i, step in enumerate(self.steps):
            before = max(found[j] if j >= 0 else 0 for j in step.inputs)
            found.append(before + (self._on_planes(i) or self._two_pass(i) is not None))
        return found

    def _two_pass(self, place: int) -> TwoPass | None:
        """Return the form of a step that is measured band by band."""
        form = registry.get(self.steps[place].operator).two_pass
        return form if form is not None and form.anywhere else None

    def _on_planes(self, place: int) -> bool:
        """Return whether a step needs whole planes."""
        return self._own_reach(place) == registry.WHOLE and self._two_pass(place) is None

    def _own_reach(self, place: int) -> int:
        step = self.steps[place]
        return registry.get(step.operator).reach(step.params)

    def _whole(self, place: int) -> NDArray[Any]:
        return self.image.rows(0, self.image.shape[0]) if place < 0 else self.planes[place]

    def _bands(self, number: int, on_progress: Callable[[float], None]) -> None:
        """Go through the bands once: measure for the steps that come next, and collect the planes that are needed."""
        next_ones = [i for i in self._alive if self._pass_of[i] == number + 1]
        measured = {i: form for i in next_ones if (form := self._two_pass(i)) is not None}
        wanted = {j for i in next_ones if self._on_planes(i) for j in self.steps[i].inputs if j >= 0}
        answers = {i for i in self.asked if self._pass_of[i] == number}
        wanted = (wanted | self._frontier(number, wanted) | answers) - set(self.planes)
        looked_at = {j for i in measured for j in self.steps[i].inputs if j >= 0}
        if not wanted and not measured:
            on_progress(1.0)
            return
        places = _steps_to_run(self.steps, wanted | (looked_at - set(self.planes)), self.planes)
        parts: dict[int, list[Any]] = {i: [] for i in measured}
        fresh: dict[int, NDArray[Any]] = {}
        rows, cols = self.image.shape
        reach = self._reach(places)
        for first, top, bottom, last in cut_strips(rows, reach, max(self.band // cols, 4 * reach, 1)):
            inner = slice(top - first, bottom - first)
            seen = self._sources(first, last)
            for place, value in self._iterate_band(places, first, seen):
                if place in wanted:
                    if place not in fresh:
                        fresh[place] = np.empty((rows, cols), value.dtype)
                    fresh[place][top:bottom] = value[inner]
                if place in looked_at:
                    seen[place] = value
            for i, form in measured.items():
                arrays = tuple(seen[j][inner] for j in self.steps[i].inputs)
                parts[i].append(form.map(arrays, Strip(top, (rows, cols)), self._params(i)))
            on_progress(bottom / rows)
        self.planes |= fresh
        self.settled |= {i: form.reduce(parts[i], self._params(i)) for i, form in measured.items()}

    def _sources(self, first: int, last: int) -> dict[int, NDArray[Any]]:
        """Return some rows of the image and of all planes that are there."""
        return {-1: self.image.rows(first, last), **{j: plane[first:last] for j, plane in self.planes.items()}}

    def _iterate_band(
        self, places: Sequence[int], first: int, seen: dict[int, NDArray[Any]]
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield place and value of steps on one band."""

        def run(place: int, step: "Step", arrays: tuple[NDArray[Any], ...]) -> NDArray[Any]:
            form = self._two_pass(place)
            if form is None:
                return run_step(place, step, arrays)
            return form.apply(arrays, self.settled[place], Strip(first, self.image.shape), self._params(place))

        return iterate_steps(self.steps, places, dict(seen), run)

    def _params(self, place: int) -> dict[str, Any]:
        step = self.steps[place]
        return dict(registry.get(step.operator).named(step.params))

    def _reach(self, places: Sequence[int]) -> int:
        """Return how many pixels away a pixel of the image or of a plane that is there can influence the steps."""
        found: dict[int, int] = {}
        for i in places:
            form = self._two_pass(i)
            own = form.reach(self._params(i)) if form is not None else self._own_reach(i)
            found[i] = own + max(found.get(j, 0) for j in self.steps[i].inputs)
        return max(found.values(), default=0)

    def _frontier(self, number: int, wanted: set[int]) -> set[int]:
        """Return places whose values later passes begin with, if there is room to keep them all."""
        now = {j for i in self._alive if self._pass_of[i] > number for j in self.steps[i].inputs if j >= 0}
        found = {j for j in now if self._pass_of[j] <= number}
        rows, cols = self.image.shape
        return found if rows * cols * len(found | wanted | set(self.planes)) <= self.held else set()

    def _forget(self, number: int) -> None:
        """Drop the planes that no pass from a number on needs."""
        later = [i for i in self._alive if self._pass_of[i] >= number and i not in self.planes]
        needed = set(_steps_to_run(self.steps, set(later), self.planes))
        used = {j for i in needed for j in self.steps[i].inputs} | self.asked
        for place in set(self.planes) - used:
            del self.planes[place]


def _report_part(on_progress: Callable[[float], None], number: int, of: int, share: float) -> None:
    on_progress((number + share) / of)


def _steps_to_run(steps: "Sequence[Step]", wanted: set[int], there: Iterable[int]) -> list[int]:
    """Return the places of steps that others are computed from, themselves included, ascending; not what is there."""
    found, there = set(wanted), set(there)
    for i in range(max(wanted, default=-1), -1, -1):
        if i in found:
            found.update(j for j in steps[i].inputs if j >= 0 and j not in there)
    return sorted(found)
