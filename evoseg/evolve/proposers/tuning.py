"""Tune the numbers of good pipelines with CMA-ES (Hansen & Ostermeier, Evol. Comput. 9(2), 2001)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.evolve.ports import Evaluation, Pruned, Scored, SearchView
from evoseg.evolve.proposers.random_programs import Vocabulary, scaled, unscaled
from evoseg.operators import registry
from evoseg.operators.parameters import Parameter, Range
from evoseg.pipeline import Pipeline, Step
from evoseg.pipeline.structure import Structure, structure_of

SIGMA = 0.12
"""First standard deviation, as a share of each parameter's range."""
ROUNDS = 6
"""CMA-ES generations spent on one pipeline."""
LARGEST = 14
"""Maximum size of a CMA-ES generation; its own rule would give more for 28 numbers or more."""
POOL = 12
"""The tuner takes the best pipeline among so many that it has not tuned yet."""


@dataclass(frozen=True)
class Place:
    """Where a number stands in a pipeline."""

    step: int
    index: int
    parameter: Parameter
    domain: Range


class Tuner:
    """Proposes better numbers for the best pipelines, one pipeline after the other.

    Parameters
    ----------
    vocabulary : Vocabulary
        Knows the ranges that make sense for these images.
    """

    name = "tune"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._tuned: set[Structure] = set()
        self._target: _Target | None = None

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        """Return one CMA-ES generation, or nothing if it would not fit into n."""
        if self._target is None or self._target.rounds >= ROUNDS:
            self._target = self._choose(view, rng)
        if self._target is None or self._target.size > n:
            return []
        asked = self._target.ask()
        for pipeline in asked:
            view.descend(pipeline, (self._target.pipeline,))
        return asked

    def learn(self, evaluations: Sequence[Evaluation]) -> None:
        """Pass the losses to CMA-ES."""
        if self._target is not None and evaluations:
            self._target.tell(evaluations)

    def _choose(self, view: SearchView, rng: Generator) -> "_Target | None":
        for candidate in view.best[:POOL]:
            structure = structure_of(candidate.pipeline)
            places = numbers(candidate.pipeline, self._vocabulary)
            if structure not in self._tuned and places:
                self._tuned.add(structure)
                return _Target(candidate.pipeline, places, int(rng.integers(2**31)))
        return None


def tune_now(
    pipelines: Sequence[Pipeline],
    vocabulary: Vocabulary,
    rng: Generator,
    evaluate: Callable[[Sequence[Pipeline]], Sequence[Evaluation | None]],
    most: int,
) -> list[list[Evaluation]]:
    """Try other numbers of pipelines at once, one CMA-ES generation of each in turn.

    Parameters
    ----------
    evaluate : callable (pipelines) -> list of Evaluation or None
        None if there is no time left.
    most : int
        Pipelines that are evaluated, at most.

    Returns
    -------
    list of list of Evaluation
        Of the variants of each pipeline.
    """
    targets = [
        _Target(pipeline, places, int(rng.integers(2**31))) if (places := numbers(pipeline, vocabulary)) else None
        for pipeline in pipelines
    ]
    found: list[list[Evaluation]] = [[] for _ in pipelines]
    for _ in range(ROUNDS):
        for target, variants in zip(targets, found, strict=True):
            if target is None or target.size > most:
                continue
            evaluations = [e for e in evaluate(target.ask()) if e is not None]
            if len(evaluations) < target.size:
                return found
            target.tell(evaluations)
            variants += evaluations
            most -= target.size
    return found


class _Target:
    """One pipeline under tuning."""

    def __init__(self, pipeline: Pipeline, places: list[Place], seed: int) -> None:
        from cmaes import CMA  # imports scipy.stats, which takes longer than the rest of evoseg

        self.pipeline = pipeline
        self._places = places
        start = np.array([_position(pipeline, p) for p in places])
        bounds = np.tile([0.0, 1.0], (len(places), 1))
        # cmaes refuses a single dimension; a second one that nothing depends on costs little.
        if len(places) == 1:
            start, bounds = np.append(start, 0.5), np.tile([0.0, 1.0], (2, 1))
        size = min(4 + int(3 * np.log(len(start))), LARGEST)
        self._cma = CMA(mean=np.clip(start, 0.02, 0.98), sigma=SIGMA, bounds=bounds, seed=seed, population_size=size)
        self._asked: list[NDArray[np.float64]] = []
        self.size = self._cma.population_size
        self.rounds = 0

    def ask(self) -> list[Pipeline]:
        self._asked = [self._cma.ask() for _ in range(self.size)]
        return [self._at(x) for x in self._asked]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        losses = [_loss(v) for v in evaluations]
        self._cma.tell(list(zip(self._asked, losses, strict=True)))
        self.rounds += 1

    def _at(self, x: NDArray[np.float64]) -> Pipeline:
        steps = list(self.pipeline.steps)
        for place, u in zip(self._places, x, strict=False):
            s = steps[place.step]
            value = place.parameter.nearest(unscaled(place.domain, float(u)))
            params = (*s.params[: place.index], value, *s.params[place.index + 1 :])
            steps[place.step] = Step(s.operator, s.inputs, params)
        return Pipeline(steps)


def _loss(evaluation: Evaluation) -> float:
    if isinstance(evaluation, Scored):
        return 1 - float(evaluation.left_out.mean())
    return 1 - evaluation.score if isinstance(evaluation, Pruned) else 1.0


def numbers(pipeline: Pipeline, vocabulary: Vocabulary) -> list[Place]:
    """Return the searched numbers of a pipeline that have a range of their own."""
    return [
        Place(i, k, p, vocabulary.range_of(p))
        for i, s in enumerate(pipeline.steps)
        for k, p in enumerate(registry.get(s.operator).parameters)
        if isinstance(p.domain, Range) and p.domain.unit != "channel" and not p.fitted
    ]


def _position(pipeline: Pipeline, place: Place) -> float:
    value = pipeline.steps[place.step].params[place.index]
    assert isinstance(value, int | float)
    return scaled(place.domain, value)
