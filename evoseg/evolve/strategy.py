"""What a search is made of: its operators, its proposers, and how parents are drawn."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from numpy.random import Generator

from evoseg.core.kinds import Kind
from evoseg.evolve.image_stats import ImageStats
from evoseg.evolve.loop import GENERATION_SIZE, MOST_COPIES, MOST_TAUGHT, Share
from evoseg.evolve.ports import Scored, SearchView
from evoseg.evolve.proposers.classics import Classics
from evoseg.evolve.proposers.code_programs import affordable, first_answers, first_values
from evoseg.evolve.proposers.curve_sums import CurveSums
from evoseg.evolve.proposers.random_programs import Vocabulary, make_vocabulary
from evoseg.evolve.proposers.tuning import Tuner
from evoseg.evolve.proposers.variation import RandomPrograms, Variation
from evoseg.evolve.proposers.warm_start import FINALISTS, WarmStart
from evoseg.evolve.selection import select
from evoseg.operators.registry import PYTHON
from evoseg.pipeline import Pipeline

TUNED, SUMMED, GROWN = 14, 4, 24
"""Candidates of a generation that the tuner, sums of curves and random programs may propose."""
SUMMED_BESIDE = 12
"""The same for sums of curves, where networks or pipelines from the library bring more planes to make sums of."""


class StartPrograms:
    """Proposes programs that exist before the search, such as those that the user brings.

    Parameters
    ----------
    programs : sequence of Pipeline
    name : str
        Under which they are credited.
    made_from : mapping of Pipeline to Pipeline
        For programs that were made from a candidate of an earlier stage: that candidate.
    """

    def __init__(
        self,
        programs: Iterable[Pipeline],
        name: str = "start",
        made_from: Mapping[Pipeline, Pipeline] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self._waiting = list(programs)
        self._made_from = made_from

    def ready(self, view: SearchView, n: int, rng: Any) -> list[Pipeline]:
        """Return the next n programs."""
        now, self._waiting = self._waiting[:n], self._waiting[n:]
        for program in now:
            if program in self._made_from:
                view.descend(program, [self._made_from[program]])
        return now

    def learn(self, evaluations: Any) -> None:
        """Learn nothing."""


class Strategy:
    """What a search is made of. Studies derive from it and change one thing at a time.

    Parameters
    ----------
    warm : WarmStart, optional
        Programs from the library, which open the search if there are any.
    codes : sequence of str
        Operators written in Python that join evoseg's own, by their names in the registry.

    Attributes
    ----------
    warm : WarmStart or None
        None if it has nothing to offer.
    n_copies : int
        How many search images get a jittered copy, at most; 0 for none.
    n_taught : int
        Images without a mask that networks label for the filters, at most; 0 for none.
    leave_out : bool
        Without a selection split, whether finalists are compared by numbers that were fitted to the other images.
    """

    n_copies = MOST_COPIES
    n_taught = MOST_TAUGHT
    leave_out = True

    def __init__(self, warm: WarmStart | None = None, codes: Sequence[str] = ()) -> None:
        self._codes = codes
        self.warm = warm if warm is not None and warm.offered else None

    def make_vocabulary(self, stats: ImageStats, output: Kind, *, without: Container[str] | None = None) -> Vocabulary:
        """Return the operators that programs of a kind may use; see the function of this name."""
        return make_vocabulary(stats, output, without=without, codes=self._codes)

    def proposers(self, vocabulary: Vocabulary, stats: ImageStats, output: Kind) -> list[Share]:
        """Return who proposes, in the order in which they are asked. Programs that the user brings precede all."""
        # A proposer's position decides its random stream, so a search without winners must not contain this one.
        if self.warm is None or not self.warm.winners:
            return usual_proposers(vocabulary, stats, output)
        usual = usual_proposers(vocabulary, stats, output, summed=SUMMED_BESIDE, known=self.warm.planes)
        return [Share(self.warm, FINALISTS), *usual]

    def select(self, population: Sequence[Scored], n: int, rng: Generator) -> list[Scored]:
        """Draw parents."""
        return select(population, n, rng)


def usual_proposers(
    vocabulary: Vocabulary,
    stats: ImageStats,
    output: Kind,
    *,
    summed: int = SUMMED,
    known: Callable[[], Sequence[Pipeline]] = lambda: (),
) -> list[Share]:
    """Return the proposers of a search without a library.

    Parameters
    ----------
    summed : int
        Candidates of a generation that sums of curves may propose.
    known : callable () -> sequence of Pipeline
        Programs that return planes, from which sums are made, too; called in the first generation that has parents.
    """
    codes = [op for op in vocabulary.operators if op.code]
    values = first_values(codes, stats, output)
    planes = affordable([value for value in values if value.output is Kind.GRAY], stats)
    # As for winners: a search without Python operators must not contain their proposer.
    first = [Share(StartPrograms(first_answers(values, output), PYTHON), GENERATION_SIZE // 2)] if codes else []
    summed = SUMMED_BESIDE if planes else summed
    return [
        *first,
        Share(Classics(stats, output, {op.name for op in vocabulary.operators}), GENERATION_SIZE),
        Share(Tuner(vocabulary), TUNED),
        Share(CurveSums(vocabulary, output, lambda: [*known(), *planes]), summed),
        Share(RandomPrograms(vocabulary, output), GROWN),
        Share(Variation(vocabulary), GENERATION_SIZE),
    ]
