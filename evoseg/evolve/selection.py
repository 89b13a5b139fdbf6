"""Selection with DEAP: parents, survivors, and the Pareto front."""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from deap import base, tools
from numpy.random import Generator

from evoseg.evolve.ports import Floats, Scored
from evoseg.operators import registry
from evoseg.pipeline import Pipeline
from evoseg.pipeline.structure import Structure, structure_of

STEP_PENALTY = 0.001
"""Score that a further step must gain."""
COST_PENALTY = 0.001
"""Score that a further ns per pixel must gain."""
CODE_PENALTY = 0.02
"""Score that a step written in Python must gain."""


@contextmanager
def deap_random(rng: Generator) -> Iterator[None]:
    """Let DEAP, which draws from the global `random`, draw from `rng`; restore the global state afterwards."""
    state = random.getstate()
    random.seed(int(rng.integers(2**63)))
    try:
        yield
    finally:
        random.setstate(state)


@dataclass(eq=False)
class Member:
    """A scored candidate with a DEAP fitness: one value per image, less the penalty of its length and cost."""

    scored: Scored
    fitness: Any


def penalty(pipeline: Pipeline) -> float:
    """Return the penalty of a pipeline's length and cost, in units of the score.

    A network's cost is left out: what it is worth is judged once, against the best pipeline of filters alone. A step
    written in Python counts the same whatever it costs: that was measured by a clock, which may not select anything.
    """
    measured = [op.cost(s.params) for s in pipeline.steps if (op := registry.get(s.operator)).code]
    cost = pipeline.filter_cost - sum(measured)
    return STEP_PENALTY * len(pipeline) + COST_PENALTY * cost + CODE_PENALTY * len(measured)


def lower_confidence(scores: Floats) -> float:
    """Return the mean over the images less its standard error, so that a pipeline must suit all images, not just some.

    Parameters
    ----------
    scores : float64 array of shape (n_images,)
    """
    n = len(scores)
    return float(scores.mean() - (scores.std(ddof=1) / n**0.5 if n > 1 else 0.0))


def penalised_score(scored: Scored) -> float:
    """Return the lower confidence bound of the score that selection goes by, less the penalty of length and cost."""
    return lower_confidence(scored.cases) - penalty(scored.pipeline)


def select(population: Sequence[Scored], n: int, rng: Generator) -> list[Scored]:
    """Draw n parents by automatic epsilon-lexicase over the images (La Cava et al., GECCO 2016)."""
    members = _members(population)
    with deap_random(rng):
        chosen = tools.selAutomaticEpsilonLexicase(members, n)
    return [m.scored for m in chosen]


def _members(population: Sequence[Scored]) -> list[Member]:
    fitness = type("Fitness", (base.Fitness,), {"weights": (1.0,) * len(population[0].cases)})
    found = []
    for scored in population:
        found.append(Member(scored, fitness(tuple(scored.cases - penalty(scored.pipeline)))))
    return found


def survivors(candidates: Iterable[Scored], size: int) -> list[Scored]:
    """Return the next population: distinct answers only, by NSGA-II on (score, modelled cost) and by score.

    Half the places go to the best by score, so that cheap candidates cannot crowd out good ones.
    """
    distinct = distinct_answers(candidates)
    ranked = sorted(distinct, key=penalised_score, reverse=True)
    kept, rest = ranked[: size // 2], ranked[size // 2 :]
    fitness = type("Fitness", (base.Fitness,), {"weights": (1.0, -1.0)})
    members = [Member(s, fitness((penalised_score(s), s.pipeline.cost))) for s in rest]
    front = tools.selNSGA2(members, min(len(members), size - len(kept))) if members else []
    return kept + [m.scored for m in front]


def distinct_answers(candidates: Iterable[Scored]) -> list[Scored]:
    """Return one candidate per answer, the one with the best penalised score."""
    best: dict[bytes, Scored] = {}
    for scored in candidates:
        rival = best.get(scored.answer)
        if rival is None or penalised_score(scored) > penalised_score(rival):
            best[scored.answer] = scored
    return list(best.values())


def leading(candidates: Iterable[Scored], n: int) -> list[Scored]:
    """Return the n best by penalised score, of distinct structures."""
    first: dict[Structure, Scored] = {}
    for scored in sorted(candidates, key=penalised_score, reverse=True):
        first.setdefault(structure_of(scored.pipeline), scored)
    return list(first.values())[:n]


class Front:
    """The archive: the Pareto front of score, length and cost, kept by DEAP."""

    def __init__(self) -> None:
        self._front = tools.ParetoFront(similar=lambda a, b: a.scored.answer == b.scored.answer)
        self._fitness = type("Fitness", (base.Fitness,), {"weights": (1.0, -1.0, -1.0)})

    def update(self, candidates: Iterable[Scored]) -> None:
        """Take in new candidates."""
        self._front.update(
            [Member(s, self._fitness((round(s.score, 3), len(s.pipeline), round(s.pipeline.cost)))) for s in candidates]
        )

    @property
    def members(self) -> list[Scored]:
        """The candidates on the front, best score first."""
        return sorted((m.scored for m in self._front), key=lambda s: -s.score)
