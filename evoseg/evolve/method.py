"""How a search goes about it: its words, who proposes, who becomes a parent. Studies change one thing at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.random import Generator

from evoseg.base.kinds import Kind
from evoseg.evolve.classics import Classics
from evoseg.evolve.facts import Facts
from evoseg.evolve.fusing import Fuse
from evoseg.evolve.growth import Vocabulary, vocabulary
from evoseg.evolve.ports import Scored
from evoseg.evolve.search import GENERATION, Share
from evoseg.evolve.selection import select
from evoseg.evolve.tuning import Tune
from evoseg.evolve.variation import Newcomers, Vary
from evoseg.pipeline import Pipeline

MOST_COPIES = 6
"""Search images of which a jittered copy is made."""
TUNED, FUSED, GROWN = 14, 4, 24
"""Places that a generation offers to the tuner, to sums of curves and to random programs."""


class Given:
    """Proposes programs that are there before the search, such as those that the user brought."""

    name = "start"

    def __init__(self, programs: Sequence[Pipeline]) -> None:
        self._waiting = list(programs)

    def ready(self, view: Any, n: int, rng: Any) -> list[Pipeline]:
        """Return the next n programs."""
        now, self._waiting = self._waiting[:n], self._waiting[n:]
        return now

    def learn(self, verdicts: Any) -> None:
        """Learn nothing."""


def usual_proposers(
    words: Vocabulary,
    facts: Facts,
    output: Kind,
    *,
    classics: int = GENERATION,
    fused: int = FUSED,
    known: Callable[[], Sequence[Pipeline]] = lambda: (),
) -> list[Share]:
    """Return who proposes, in the order in which places are offered.

    Parameters
    ----------
    classics, fused : int
        Places that a generation offers to classic recipes and to sums of curves.
    known : callable () -> sequence of Pipeline
        Programs that return planes, asked for in the first generation that has parents: sums are made of these, too.
    """
    return [
        Share(Classics(facts, output, {op.name for op in words.operators}), classics),
        Share(Tune(words), TUNED),
        Share(Fuse(words, output, known), fused),
        Share(Newcomers(words, output), GROWN),
        Share(Vary(words), GENERATION),
    ]


@dataclass(frozen=True)
class Method:
    """What a search is made of.

    Attributes
    ----------
    words : callable (facts, output, optional, without) -> Vocabulary
        `output` is the kind that programs return; `optional` says whether operators that need scikit-image join,
        `without` names those that do not.
    proposers : callable (words, facts, output) -> list of Share
        Programs that the user brought go before all of them.
    select : callable (population, n, rng) -> list of Scored
        Draws parents.
    copies : int
        How many images are jittered at most; 0 does without.
    leave_out : bool
        Whether finalists are compared with their numbers found on the other images, where no images are kept back.
    """

    words: Callable[..., Vocabulary] = vocabulary
    proposers: Callable[[Vocabulary, Facts, Kind], list[Share]] = usual_proposers
    select: Callable[[Sequence[Scored], int, Generator], list[Scored]] = select
    copies: int = MOST_COPIES
    leave_out: bool = True


USUAL = Method()
