"""Fuse: join planes that complement each other into one sum of curves, fitted to the truth at sampled pixels."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import product

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
)
from evoseg.evolve.classics import ENDINGS, Call, chain, intakes
from evoseg.evolve.growth import Vocabulary
from evoseg.evolve.ports import SearchView, Verdict
from evoseg.evolve.variation import MAX_LENGTH, varied
from evoseg.operators import registry
from evoseg.operators.parameters import Value
from evoseg.pipeline import Pipeline, Step
from evoseg.pipeline.editing import graft, shifted
from evoseg.pipeline.value import step


def _each(name: str, **values: Sequence[Value]) -> list[tuple[Call, ...]]:
    """Return the operator alone with every combination of the values."""
    return [((name, dict(zip(values, combination, strict=True))),) for combination in product(*values.values())]


POLARITY = ("bright", "dark")

BANK: tuple[tuple[Call, ...], ...] = (
    (),
    *_each("gaussian", sigma=(1.5, 4.0, 10.0)),
    *_each("flatten", sigma=(24.0,)),
    *_each("hessian_ridge", sigma=(1.5, 3.0, 6.0), polarity=POLARITY),
    *_each("dog", sigma=(1.5, 3.0, 6.0), polarity=POLARITY),
    *_each("deviation", radius=(3, 8)),
    (("sobel", {}), ("gaussian", {"sigma": 3.0})),
    *_each("white_tophat", radius=(9,)),
    *_each("black_tophat", radius=(9,)),
    *_each("local_normalise", radius=(15,)),
)
"""Filters that every good intake is looked at through."""

CONTEXT: tuple[tuple[Call, ...], ...] = (
    *_each("gaussian", sigma=(1.0, 2.0, 4.0, 8.0, 16.0)),
    *_each("hessian_ridge", sigma=(2.0, 5.0), polarity=("bright",)),
    *_each("dog", sigma=(2.0, 5.0), polarity=("bright",)),
    *_each("deviation", radius=(4,)),
    *_each("median", radius=(3,)),
)
"""Filters that show what surrounds a pixel in a plane that already tells foreground from background."""

BANK_S = 1.5
"""Modelled time that the bank may take, copies not counted. Where images are many or large, it has fewer intakes."""
PLANES = 400
"""Planes that are kept to choose from."""
LEADERS = 6
"""Candidates whose planes join the choice in each generation."""
OFFERED = 120
"""Planes, drawn anew each time, that one sum is chosen from."""
VIEWS = 3
"""Views of its surroundings that a parent's plane is offered with."""
SIZES = (2, 3, 4, 4, 7)
"""Planes that a new sum joins."""
SUMS = ("add_curves", "add_curves4")


class Fuse:
    """Proposes sums of planes: new ones, extensions of parents, and parents' sums with one plane changed.

    Parameters
    ----------
    words : Vocabulary
    output : Kind
        What the programs return.
    """

    name = "fuse"

    def __init__(self, words: Vocabulary, output: Kind = Kind.MASK) -> None:
        self._words = words
        self._ending = ENDINGS[output]
        self._planes: _Planes | None = None

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        """Return up to n programs, once there is something to build on."""
        if not view.best or n == 0:
            return []
        if self._planes is None:
            self._planes = _Planes(view, [chain(i, BANK[1]) for i in intakes(view.facts)])
            self._planes.add(view, self._bank(view))
        if self._planes.pixels is None:
            return []
        self._planes.add(view, [plane for s in view.best[:LEADERS] if (plane := last_plane(s.pipeline)) is not None])
        ways = (self._new, self._extended, self._extended, self._changed)
        made = [ways[int(rng.integers(len(ways)))](view, self._planes, rng) for _ in range(n)]
        return [pipeline for pipeline in made if pipeline is not None and len(pipeline) <= MAX_LENGTH]

    def learn(self, verdicts: Sequence[Verdict]) -> None:
        """Learn nothing: selection does."""

    def _bank(self, view: SearchView) -> list[Pipeline]:
        """Return the bank's filters on as many intakes as time allows, the most telling first."""
        assert self._planes is not None
        bank: list[Pipeline] = []
        spent_s = 0.0
        for plane in self._planes.most_telling():
            here = [chain(plane.until(0), filters) for filters in BANK]
            spent_s += sum(p.cost for p in here) * sum(view.facts.pixels) * 1e-9
            if bank and spent_s > BANK_S:
                break
            bank += here
        return bank

    def _new(self, view: SearchView, planes: "_Planes", rng: Generator) -> Pipeline | None:
        """Join planes that complement each other, and end as a parent does or with a threshold."""
        chosen = planes.choose(planes.some(rng), SIZES[int(rng.integers(len(SIZES)))])
        parents = view.select(1, rng)
        tail = parents[0].pipeline if parents and rng.random() < 0.5 else None
        return _ended(planes.sum_of(chosen), tail, self._ending)

    def _extended(self, view: SearchView, planes: "_Planes", rng: Generator) -> Pipeline | None:
        """Add planes, or views of its surroundings, to the last plane of a parent."""
        for parent in view.select(1, rng):
            plane = last_plane(parent.pipeline)
            if plane is None:
                return None
            context = [chain(plane, CONTEXT[i]) for i in rng.choice(len(CONTEXT), VIEWS, replace=False)]
            planes.add(view, [plane, *context])
            chosen = planes.choose([plane, *context, *planes.some(rng)], 2 if rng.random() < 0.4 else 4, first=plane)
            return _ended(planes.sum_of(chosen), parent.pipeline, self._ending)
        return self._new(view, planes, rng)

    def _changed(self, view: SearchView, planes: "_Planes", rng: Generator) -> Pipeline | None:
        """Vary one plane of a parent's sum, and fit the curves anew."""
        parents = [s.pipeline for s in view.select(2, rng)]
        sums = [i for i, s in enumerate(parents[0].steps) if s.operator in SUMS] if len(parents) == 2 else []
        if not sums:
            return self._extended(view, planes, rng)
        at = sums[int(rng.integers(len(sums)))]
        leaves = [parents[0].until(j) for j in parents[0].steps[at].inputs]
        k = int(rng.integers(len(leaves)))
        leaves[k] = varied(leaves[k], parents[1], self._words, rng)
        planes.add(view, leaves)
        total = planes.sum_of(leaves)
        try:
            return None if total is None else graft(parents[0], at, total)
        except PipelineError:
            return None


class _Planes:
    """Programs that return planes, and the levels they give at sampled pixels; those long unused go first."""

    def __init__(self, view: SearchView, programs: Sequence[Pipeline]) -> None:
        self.pixels: Pixels | None = None
        self._levels: OrderedDict[Pipeline, Levels] = OrderedDict()
        self._encoded: dict[Pipeline, NDArray[np.float32]] = {}
        self.add(view, programs)

    def some(self, rng: Generator) -> list[Pipeline]:
        """Draw planes to choose from."""
        programs = list(self._levels)
        return [programs[i] for i in rng.choice(len(programs), min(OFFERED, len(programs)), replace=False)]

    def add(self, view: SearchView, programs: Sequence[Pipeline]) -> None:
        fresh = [p for p in dict.fromkeys(programs) if p not in self._levels]
        for program, probe in zip(fresh, view.probe(fresh), strict=True):
            if probe is None:
                continue
            if self.pixels is None:
                self.pixels = pixels_of(probe)
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


def joined(leaves: Sequence[Pipeline], numbers: tuple[float, ...]) -> Pipeline:
    """Return the program that adds two or four planes up along curves."""
    steps: list[Step] = []
    places = []
    for leaf in leaves:
        steps += shifted(leaf.steps, len(steps))
        places.append(len(steps) - 1)
    steps.append(step(SUMS[len(leaves) > 2], *places, curves=numbers))
    return Pipeline(steps)


def last_plane(pipeline: Pipeline) -> Pipeline | None:
    """Return the part of a program up to its last plane, the one that its mask comes from; None without planes."""
    planes = [i for i, s in enumerate(pipeline.steps) if registry.get(s.operator).output is Kind.GRAY]
    return pipeline.until(planes[-1]) if planes else None


def _ended(plane: Pipeline | None, like: Pipeline | None, ending: Sequence[Call]) -> Pipeline | None:
    """Return a program that goes on from a plane as another does from its last plane, or with a usual ending."""
    if plane is None:
        return None
    if like is None:
        return chain(plane, ending)
    planes = [i for i, s in enumerate(like.steps) if registry.get(s.operator).output is Kind.GRAY]
    try:
        return graft(like, planes[-1], plane) if planes else None
    except PipelineError:
        return None
