"""Planes: programs that return one, what they show at sampled pixels, and sums of them fitted to the truth there."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.base.errors import PipelineError
from evoseg.base.kinds import Kind
from evoseg.evolve.additive import (
    Levels,
    Pixels,
    choose,
    encoded,
    fitted_curves,
    levels_of,
    pixels_of,
    summed,
    to_levels,
    without,
)
from evoseg.evolve.ports import Failed, Floats
from evoseg.operators import registry
from evoseg.pipeline import Pipeline, Step
from evoseg.pipeline.editing import graft, shifted
from evoseg.pipeline.value import step

PLANES = 400
"""Planes that are kept to choose from."""
OFFERED = 120
"""Planes, drawn anew each time, that one sum is chosen from."""
SUMS = ("add_curves", "add_curves4")

Probe = Callable[[Sequence[Pipeline]], Sequence[Floats | Failed | None]]


class Planes:
    """Programs that return planes, and the levels they give at sampled pixels; those long unused go first.

    Parameters
    ----------
    probe : callable (programs) -> list
        As a `SearchView` has it.

    Attributes
    ----------
    pixels : Pixels or None
        None until a plane has been added, and for a task that samples no pixels.
    """

    def __init__(self, probe: Probe) -> None:
        self.pixels: Pixels | None = None
        self._n_images = 0
        self._probe = probe
        self._levels: OrderedDict[Pipeline, Levels] = OrderedDict()
        self._encoded: dict[Pipeline, NDArray[np.float32]] = {}

    def some(self, rng: Generator) -> list[Pipeline]:
        """Draw planes to choose from."""
        programs = list(self._levels)
        return [programs[i] for i in rng.choice(len(programs), min(OFFERED, len(programs)), replace=False)]

    def add(self, programs: Sequence[Pipeline]) -> None:
        """Sample those that are not there yet. At most `PLANES` at once are sure to be there afterwards."""
        for program in programs:
            if program in self._levels:
                self._levels.move_to_end(program)
        fresh = [p for p in dict.fromkeys(programs) if p not in self._levels]
        for program, probe in zip(fresh, self._probe(fresh), strict=True):
            if probe is None or isinstance(probe, Failed):
                continue
            if self.pixels is None:
                self.pixels, self._n_images = pixels_of(probe), len(probe)
            if self.pixels is not None:
                self._levels[program] = levels_of(probe)
                self._encoded[program] = encoded(self._levels[program], self.pixels)
        while len(self._levels) > PLANES:
            del self._encoded[self._levels.popitem(last=False)[0]]

    def most_telling(self) -> list[Pipeline]:
        """Return the programs, best first by how well each alone predicts the foreground."""
        if self.pixels is None:
            return []
        wanted = self.pixels.foreground
        loss = {p: float(self.pixels.weights @ (column - wanted) ** 2) for p, column in self._encoded.items()}
        return sorted(loss, key=lambda p: loss[p])

    def choose(self, programs: Sequence[Pipeline], n: int, first: Pipeline | None = None) -> list[Pipeline]:
        """Return n of the programs that together predict the foreground best, `first` in any case."""
        known = [p for p in dict.fromkeys(programs) if p in self._levels]
        if self.pixels is None or not known or (first is not None and first not in known):
            return []
        columns = np.stack([self._encoded[p] for p in known])
        chosen = choose(columns, self.pixels, n, None if first is None else known.index(first))
        for i in chosen:
            self._levels.move_to_end(known[i])
        return [known[i] for i in chosen]

    def sum_of(self, leaves: Sequence[Pipeline]) -> Pipeline | None:
        """Return the program that adds the leaves up along fitted curves, four at a time; None for fewer than two."""
        leaves = list(dict.fromkeys(leaves))
        if self.pixels is None or len(leaves) < 2 or any(leaf not in self._levels for leaf in leaves):
            return None
        levels = np.stack([self._levels[leaf] for leaf in leaves])
        curves = fitted_curves(levels, self.pixels)
        program, at, curve = leaves[0], levels[:1], curves[:1]
        done = 1
        while done < len(leaves):
            more = 3 if len(leaves) - done >= 3 else 1
            at = np.concatenate([at, levels[done : done + more]])
            numbers, low, span = to_levels(np.concatenate([curve, curves[done : done + more]]), at)
            try:
                program = joined([program, *leaves[done : done + more]], numbers)
            except PipelineError:
                return None
            # The sum so far stands for itself: a straight line from its lowest to its highest value.
            at = summed(at, numbers)[None]
            curve = np.linspace(low, low + span, curves.shape[1])[None]
            done += more
        return program

    def refitted(self, programs: Sequence[Pipeline], left_out: Collection[int] = ()) -> list[Pipeline]:
        """Return programs with the curves of their sums fitted to this truth, the inner sums first.

        Curves say which levels meant foreground where a program comes from, so of a stranger they have to be fitted
        before anything else. One without sums, or whose planes cannot be sampled, is returned as it is.

        Parameters
        ----------
        left_out : collection of int
            Images that take no part.
        """
        fitted = list(programs)
        done: set[Pipeline] = set()
        given_up: set[int] = set()
        while due := {
            k: at for k, p in enumerate(fitted) if k not in given_up and (at := _first_sum(p, done)) is not None
        }:
            leaves = {k: [fitted[k].until(j) for j in fitted[k].steps[at].inputs] for k, at in due.items()}
            self.add([leaf for several in leaves.values() for leaf in several])
            pixels = self.pixels and without(self.pixels, self._n_images, left_out)
            for k, at in due.items():
                if pixels is None or any(leaf not in self._levels for leaf in leaves[k]):
                    fitted[k] = programs[k]
                    given_up.add(k)
                    continue
                levels = np.stack([self._levels[leaf] for leaf in leaves[k]])
                numbers, _, _ = to_levels(fitted_curves(levels, pixels), levels)
                total = joined(leaves[k], numbers)
                fitted[k] = graft(fitted[k], at, total)
                done.add(total)
        return fitted


def joined(leaves: Sequence[Pipeline], numbers: tuple[float, ...]) -> Pipeline:
    """Return the program that adds two or four planes up along curves."""
    steps: list[Step] = []
    places = []
    for leaf in leaves:
        steps += shifted(leaf.steps, len(steps))
        places.append(len(steps) - 1)
    steps.append(step(SUMS[len(leaves) > 2], *places, curves=numbers))
    return Pipeline(steps)


def sums_in(program: Pipeline) -> list[int]:
    """Return which steps of a program add planes up along curves."""
    return [i for i, s in enumerate(program.steps) if s.operator in SUMS]


def _first_sum(program: Pipeline, done: Container[Pipeline]) -> int | None:
    """Return the first sum that is not done. Steps may move, so sums are told apart by what they are, not by places."""
    return next((i for i in sums_in(program) if program.until(i) not in done), None)


def last_plane(pipeline: Pipeline) -> Pipeline | None:
    """Return the part of a program up to its last plane, the one that its mask comes from; None without planes."""
    places = places_of_planes(pipeline)
    return pipeline.until(places[-1]) if places else None


def places_of_planes(pipeline: Pipeline) -> list[int]:
    """Return which steps of a program give planes."""
    return [i for i, s in enumerate(pipeline.steps) if registry.get(s.operator).output is Kind.GRAY]
