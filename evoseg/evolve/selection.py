"""Selection, carried by DEAP: who becomes a parent, who survives, which candidates form the front."""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from deap import base, tools
from numpy.random import Generator

from evoseg.evolve.ports import Floats, Scored
from evoseg.evolve.skeletons import Skeleton, skeleton
from evoseg.pipeline import Pipeline

STEP_PRICE = 0.001
"""Score that a further step must be worth."""
COST_PRICE = 0.001
"""Score that a further ns per pixel must be worth."""


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
    """A scored candidate with a DEAP fitness: one value per image, less what its length and cost must be worth."""

    scored: Scored
    fitness: Any


def price(pipeline: Pipeline) -> float:
    """Return what the length and the cost of a pipeline must be worth."""
    return STEP_PRICE * len(pipeline) + COST_PRICE * pipeline.cost


def assured(scores: Floats) -> float:
    """Return the mean over the images less its standard error: what suits some images only promises little for others.

    Parameters
    ----------
    scores : float64 array of shape (n_images,)
    """
    n = len(scores)
    return float(scores.mean() - (scores.std(ddof=1) / n**0.5 if n > 1 else 0.0))


def priced(scored: Scored) -> float:
    """Return the assured robust score less the price of length and cost."""
    return assured(scored.robust) - price(scored.pipeline)


def select(population: Sequence[Scored], n: int, rng: Generator) -> list[Scored]:
    """Draw n parents by automatic epsilon-lexicase over the images (La Cava et al., GECCO 2016)."""
    members = _members(population)
    with deap_random(rng):
        chosen = tools.selAutomaticEpsilonLexicase(members, n)
    return [m.scored for m in chosen]


def _members(population: Sequence[Scored]) -> list[Member]:
    n_images = len(population[0].scores)
    fitness = type("Fitness", (base.Fitness,), {"weights": (1.0,) * n_images})
    found = []
    for scored in population:
        found.append(Member(scored, fitness(tuple(scored.robust - price(scored.pipeline)))))
    return found


def survivors(candidates: Iterable[Scored], size: int) -> list[Scored]:
    """Return the next population: distinct answers only, by NSGA-II on (score, modelled cost) and by score.

    Half the places go to the best by score, so that cheap candidates cannot crowd out good ones.
    """
    distinct = distinct_answers(candidates)
    ranked = sorted(distinct, key=priced, reverse=True)
    kept, rest = ranked[: size // 2], ranked[size // 2 :]
    fitness = type("Fitness", (base.Fitness,), {"weights": (1.0, -1.0)})
    members = [Member(s, fitness((priced(s), s.pipeline.cost))) for s in rest]
    front = tools.selNSGA2(members, min(len(members), size - len(kept))) if members else []
    return kept + [m.scored for m in front]


def distinct_answers(candidates: Iterable[Scored]) -> list[Scored]:
    """Return one candidate per answer, the one with the best price."""
    best: dict[bytes, Scored] = {}
    for scored in candidates:
        rival = best.get(scored.answer)
        if rival is None or priced(scored) > priced(rival):
            best[scored.answer] = scored
    return list(best.values())


def leading(candidates: Iterable[Scored], n: int) -> list[Scored]:
    """Return the n best by price, of distinct structures."""
    first: dict[Skeleton, Scored] = {}
    for scored in sorted(candidates, key=priced, reverse=True):
        first.setdefault(skeleton(scored.pipeline), scored)
    return list(first.values())[:n]


class Front:
    """The archive: candidates that no other beats in score, length and cost at once (DEAP's Pareto front)."""

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
