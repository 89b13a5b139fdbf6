"""When which role plays, and which parents it is shown; after CVEvolve (arXiv 2605.11359)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from evoseg.evolve.ports import Scored
from evoseg.pipeline import Pipeline

AKIN = 0.6
"""Share of operators in common from which two programs count as one lineage."""


@dataclass(frozen=True)
class Schedule:
    """When which role plays, and how patient everybody is.

    Attributes
    ----------
    first, warmup : str, int
        The role of the first rounds, and how many these are.
    opening : tuple of str
        Roles that play once, before the first round.
    every : mapping of str to int
        Roles that play in every n-th round after those; 0 is never. Those that give no programs go before the one
        that does.
    otherwise : str
        The role of all other rounds.
    programs, parents : int
        Wanted, and shown, in a round.
    patience : int
        Rounds in a row without a program among the leaders, after which the model is asked no more.
    temperature : float, ranks
        Of the draw of parents: the smaller, the more the best are preferred.
    same_lineage : float
        A program's weight is multiplied by this for each parent akin to it that was drawn already.
    deadline_s : float, s
        Of a call, all included.
    faults_to_pause, pause_s : int, float (s)
        After so many faults in a row, nothing is sent for so long.
    """

    first: str = "generate"
    warmup: int = 2
    opening: tuple[str, ...] = ()
    every: Mapping[str, int] = field(default_factory=dict)
    otherwise: str = "evolve"
    programs: int = 4
    parents: int = 3
    patience: int = 8
    temperature: float = 3.0
    same_lineage: float = 0.3
    deadline_s: float = 60.0
    faults_to_pause: int = 5
    pause_s: float = 60.0

    def chain(self, number: int, gives_programs: Mapping[str, bool]) -> tuple[str, ...]:
        """Return who plays in a round, numbered from 1; the last gives programs."""
        if number <= self.warmup:
            return (*self.opening, self.first) if number == 1 else (self.first,)
        later = number - self.warmup
        due = [name for name, n in self.every.items() if n > 0 and later % n == 0]
        last = next((name for name in due if gives_programs[name]), self.otherwise)
        return (*(name for name in due if not gives_programs[name]), last)


def draw_parents(ranked: Sequence[Scored], n: int, schedule: Schedule, rng: Generator) -> list[Scored]:
    """Draw up to n different parents by Gibbs weights over their ranks, with a penalty for kin of those drawn.

    Parameters
    ----------
    ranked : sequence of Scored
        Best first.
    """
    left = list(range(len(ranked)))
    drawn: list[int] = []
    while left and len(drawn) < n:
        kin = np.array([sum(akin(ranked[i].pipeline, ranked[j].pipeline) for j in drawn) for i in left])
        weights = np.exp(-np.array(left) / max(schedule.temperature, 1e-6)) * schedule.same_lineage**kin
        total = weights.sum()
        place = int(rng.choice(len(left), p=weights / total)) if total > 0 else 0
        drawn.append(left.pop(place))
    return [ranked[i] for i in drawn]


def akin(one: Pipeline, other: Pipeline) -> bool:
    """Return whether two programs are made of mostly the same operators.

    Crossing, grafting and tuning give a program so many ancestors that its build says more than a pedigree.
    """
    first, second = (Counter(s.operator for s in pipeline.steps) for pipeline in (one, other))
    return (first & second).total() >= AKIN * (first | second).total()
