"""Advisers: whoever comes between two generations with programs, operators or planes, such as a language model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from numpy.random import Generator

from evoseg.evolve.ports import Evaluation, Floats, Scored, SearchView
from evoseg.evolve.proposers.random_programs import Vocabulary
from evoseg.pipeline import Pipeline


@dataclass(frozen=True)
class AdviserView(SearchView):
    """What an adviser may look at and do. What is looked at stays as it was when the adviser was asked.

    Attributes
    ----------
    evaluate : callable (programs) -> list of Evaluation or None
        Scores programs in full at once, as candidates of the search that count like all others; one that is known is
        not scored again. None if the budget is used up.
    cross_fit : callable (Scored) -> float64 array of shape (n_images,)
        Each search image's score with curves and levels fitted, and other numbers chosen, on the others. It counts for
        nothing, and no journal holds it.
    vocabulary : Vocabulary
        Takes further operators and planes.
    evaluations : int
        Full evaluations so far.
    evaluations_left : int or None
        None without a limit.
    seconds_left : float, s
        Infinite without a limit.
    """

    evaluate: Callable[[Sequence[Pipeline]], list[Evaluation | None]] = lambda programs: [None for _ in programs]
    cross_fit: Callable[[Scored], Floats] = lambda scored: scored.left_out
    vocabulary: Vocabulary | None = None
    evaluations: int = 0
    evaluations_left: int | None = None
    seconds_left: float = float("inf")


class Adviser(Protocol):
    """Somebody who is asked before each generation, and scores programs through what it is given."""

    name: str

    def advise(self, view: AdviserView, rng: Generator) -> None:
        """Do what there is to do before a generation, in reasonable time; nothing is fine."""
        ...
