"""Mutation and crossover of pipelines; the results are well typed by construction."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

from evoseg.core.errors import PipelineError
from evoseg.core.kinds import Kind
from evoseg.evolve.ports import Evaluation, SearchView
from evoseg.evolve.proposers.random_programs import Vocabulary, scaled, unscaled
from evoseg.operators import registry
from evoseg.operators.parameters import Numbers, OneOf, Parameter, Range, Value
from evoseg.pipeline import IMAGE, Pipeline, Step
from evoseg.pipeline.structure import graft, shift_inputs, substitute

ATTEMPTS = 4
MAX_LENGTH = 32
"""Longer children are refused: they are hard to read and seldom transfer."""

TRICKLE = 2
"""Random programs per generation once the search is open."""

STEP_SIZE = 0.12
"""Standard deviation of a parameter's move, as a share of its range."""


class Variation:
    """Proposes variations of parents that the search selected.

    Parameters
    ----------
    vocabulary : Vocabulary
    """

    name = "vary"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        """Return n children."""
        parents = [s.pipeline for s in view.select(n, rng)]
        partners = [parents[i] for i in rng.permutation(len(parents))]
        children = []
        for first, second in zip(parents, partners, strict=True):
            child, crossed = breed(first, second, self._vocabulary, rng)
            view.descend(child, (first, second) if crossed else (first,))
            children.append(child)
        return children

    def learn(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn nothing; selection does."""


class RandomPrograms:
    """Proposes random programs: many at first, then a trickle.

    Parameters
    ----------
    vocabulary : Vocabulary
    kind : Kind
        What the programs return.
    opening : int
        Size of the population from which on the search counts as open.
    """

    name = "random"

    def __init__(self, vocabulary: Vocabulary, kind: Kind, opening: int = 64) -> None:
        self._vocabulary = vocabulary
        self._kind = kind
        self._opening = opening

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        """Return up to n random programs of two to six steps."""
        if len(view.population) >= self._opening:
            n = min(n, TRICKLE)
        return [self._vocabulary.grow(rng, self._kind, int(rng.integers(2, 7))) for _ in range(n)]

    def learn(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn nothing."""


def breed(first: Pipeline, second: Pipeline, vocabulary: Vocabulary, rng: Generator) -> tuple[Pipeline, bool]:
    """Return a child of the first parent, and whether it was crossed with the second."""
    for _ in range(ATTEMPTS):
        kind = int(rng.choice(len(CHANGES), p=SHARES))
        try:
            child = CHANGES[kind](first, second, vocabulary, rng)
        except PipelineError:
            continue  # too long, or kinds that do not meet
        if child != first and len(child) <= MAX_LENGTH:
            moved = move_numbers(child, vocabulary, rng) if rng.random() < 0.2 else child
            return moved, CHANGES[kind] in (_cross, _fuse)
    return move_numbers(first, vocabulary, rng), False


def move_numbers(pipeline: Pipeline, vocabulary: Vocabulary, rng: Generator) -> Pipeline:
    """Move one to three searched parameters a little along their grids; now and then redraw one."""
    places = [
        (i, k)
        for i, s in enumerate(pipeline.steps)
        if not (op := registry.get(s.operator)).ready_made
        for k, p in enumerate(op.parameters)
        if not p.fitted
    ]
    if not places:
        return pipeline
    steps = list(pipeline.steps)
    for place in rng.choice(len(places), size=min(len(places), 1 + int(rng.integers(3))), replace=False):
        i, k = places[int(place)]
        s = steps[i]
        parameters = registry.get(s.operator).parameters
        others = {p.name: v for p, v in zip(parameters, s.params, strict=True)}
        redraw = rng.random() < 0.1
        p = parameters[k]
        value = vocabulary.draw_value(rng, p, others) if redraw else _move(s.params[k], p, vocabulary, rng)
        steps[i] = Step(s.operator, s.inputs, (*s.params[:k], value, *s.params[k + 1 :]))
    return Pipeline(steps)


def _move(value: Value, parameter: Parameter, vocabulary: Vocabulary, rng: Generator) -> Value:
    domain = parameter.domain
    if isinstance(domain, OneOf):
        return domain.values[int(rng.integers(len(domain.values)))]
    if isinstance(domain, Numbers):
        assert isinstance(value, tuple)
        noise = rng.normal(0, 0.1 * (domain.high - domain.low), len(value)) * (rng.random(len(value)) < 0.4)
        return tuple(float(v) for v in np.clip(np.array(value) + noise, domain.low, domain.high))
    assert isinstance(domain, Range) and not isinstance(value, str | tuple)
    if domain.unit == "channel":
        return vocabulary.draw_value(rng, parameter, {})
    return _move_number(value, parameter, vocabulary.range_of(parameter), rng)


def _move_number(value: float, parameter: Parameter, domain: Range, rng: Generator) -> int | float:
    moved = parameter.nearest(unscaled(domain, scaled(domain, value) + rng.normal(0, STEP_SIZE)))
    if moved == value and parameter.integer:
        moved = parameter.nearest(value + (2 if domain.odd else 1) * (1 if rng.random() < 0.5 else -1))
    return moved


def _numbers(first: Pipeline, second: Pipeline, vocabulary: Vocabulary, rng: Generator) -> Pipeline:
    return move_numbers(first, vocabulary, rng)


def _swap(first: Pipeline, second: Pipeline, vocabulary: Vocabulary, rng: Generator) -> Pipeline:
    """Put another operator of the same signature in the place of one."""
    i = int(rng.integers(len(first)))
    old = first.steps[i]
    op = registry.get(old.operator)
    new = vocabulary.draw_operator(rng, op.output, op.inputs)
    if new is None:  # an operator that the user brought and this search does not use
        raise PipelineError(f"no other operator is like {op.name}")
    return Pipeline([*first.steps[:i], vocabulary.draw_step(rng, new, old.inputs), *first.steps[i + 1 :]])


def _insert(first: Pipeline, second: Pipeline, vocabulary: Vocabulary, rng: Generator) -> Pipeline:
    """Put a filter that keeps the kind after a step."""
    i = int(rng.integers(len(first)))
    kind = registry.get(first.steps[i].operator).output
    op = vocabulary.draw_operator(rng, kind, (kind,))
    if op is None:
        raise PipelineError(f"no operator keeps a {kind} value a {kind} value")
    return substitute(first, i, [vocabulary.draw_step(rng, op, (i,))], i + 1)


def _delete(first: Pipeline, second: Pipeline, vocabulary: Vocabulary, rng: Generator) -> Pipeline:
    """Take out a step that keeps the kind."""
    found = [
        (i, j)
        for i, s in enumerate(first.steps)
        for j in s.inputs
        if j != IMAGE and registry.get(first.steps[j].operator).output is registry.get(s.operator).output
    ]
    if not found:
        raise PipelineError("no step can be left out")
    i, j = found[int(rng.integers(len(found)))]
    return substitute(first, i, [], j)


def _regrow(first: Pipeline, second: Pipeline, vocabulary: Vocabulary, rng: Generator) -> Pipeline:
    """Grow a new sub-program in the place of one."""
    i = int(rng.integers(len(first)))
    kind = registry.get(first.steps[i].operator).output
    return graft(first, i, vocabulary.grow(rng, kind, int(rng.integers(1, 4))))


def _cross(first: Pipeline, second: Pipeline, vocabulary: Vocabulary, rng: Generator) -> Pipeline:
    """Graft a sub-program of the second parent into the first."""
    j = int(rng.integers(len(second)))
    kind = registry.get(second.steps[j].operator).output
    places = [i for i, s in enumerate(first.steps) if registry.get(s.operator).output is kind]
    if not places:
        raise PipelineError(f"the other parent has no {kind} value")
    return graft(first, places[int(rng.integers(len(places)))], second.until(j))


def _fuse(first: Pipeline, second: Pipeline, vocabulary: Vocabulary, rng: Generator) -> Pipeline:
    """Join a plane or mask of the first parent with one of the second, by an operator of two inputs."""
    i = _place(first, rng)
    kind = registry.get(first.steps[i].operator).output
    places = [j for j, s in enumerate(second.steps) if registry.get(s.operator).output is kind]
    op = vocabulary.draw_operator(rng, kind, (kind, kind))
    if not places or op is None:
        raise PipelineError(f"nothing to join with a {kind} value")
    # The last plane of a program is what its threshold looks at: the most telling one.
    j = places[-1] if rng.random() < 0.6 else places[int(rng.integers(len(places)))]
    other = shift_inputs(second.until(j).steps, i + 1)
    inputs = (i, i + len(other)) if rng.random() < 0.5 else (i + len(other), i)
    return substitute(first, i, [*other, vocabulary.draw_step(rng, op, inputs)], i + len(other) + 1)


def _place(pipeline: Pipeline, rng: Generator) -> int:
    """Draw a step, with preference for the last plane and the result."""
    planes = [i for i, s in enumerate(pipeline.steps) if registry.get(s.operator).output is Kind.GRAY]
    u = rng.random()
    if planes and u < 0.5:
        return planes[-1]
    return len(pipeline) - 1 if u < 0.65 else int(rng.integers(len(pipeline)))


def _join_with_new(first: Pipeline, second: Pipeline, vocabulary: Vocabulary, rng: Generator) -> Pipeline:
    """Join a plane with a newly grown one."""
    return _fuse(first, vocabulary.grow(rng, Kind.GRAY, int(rng.integers(1, 4))), vocabulary, rng)


Change = Callable[[Pipeline, Pipeline, Vocabulary, Generator], Pipeline]

CHANGES: tuple[Change, ...] = (_numbers, _swap, _insert, _delete, _regrow, _cross, _fuse, _join_with_new)
SHARES = np.array([0.20, 0.12, 0.20, 0.08, 0.10, 0.12, 0.12, 0.06])
"""How often each change is tried."""
