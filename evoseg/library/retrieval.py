"""Retrieve: which solved tasks are like this one, and which of their pipelines are worth an evaluation."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from evoseg.base.kinds import Kind
from evoseg.library.advice import Adviser, Candidate, Problem, similarity
from evoseg.library.describing import Description
from evoseg.library.hashes import first_seen
from evoseg.library.offers import ENDINGS
from evoseg.library.offers import candidates as of_task
from evoseg.library.shelf import Library
from evoseg.library.task import STATISTICS, SolvedTask
from evoseg.library.warm import Offer
from evoseg.operators import registry
from evoseg.operators.registry import Operator

NEAR = 5
"""The user's own tasks that are looked at: so many of the nearest by each descriptor."""


@dataclass(frozen=True, eq=False)
class Similar:
    """A solved task that is like the one at hand, or whose pipeline is likely to be of use.

    Attributes
    ----------
    task : SolvedTask
    offer : Offer
        Its most promising program.
    similarity : mapping of str to float
        By descriptor.
    why : tuple of str
        Features in which the two are alike.
    """

    task: SolvedTask
    offer: Offer
    similarity: Mapping[str, float]
    why: tuple[str, ...]

    @property
    def expected(self) -> float | None:
        """Score that the program is expected to reach once refitted."""
        return self.offer.expected


@dataclass(frozen=True, eq=False)
class Retrieved:
    """What a library has for a task.

    Attributes
    ----------
    similar : tuple of Similar
        The most promising first.
    barred : mapping of str to str
        Names of tasks that were left out, with the test image that each has seen.
    learned : bool
        Whether a ledger tells what to expect; else neighbours and popular tasks take turns.
    """

    similar: tuple[Similar, ...]
    barred: Mapping[str, str]
    learned: bool


def needs_nothing(op: Operator) -> bool:
    """Return whether an operator runs wherever evoseg does."""
    return not op.needs


def retrieve(
    library: Library,
    description: Description,
    k: int,
    test: Mapping[str, str | None] | None = None,
    *,
    output: Kind = Kind.MASK,
    usable: Callable[[Operator], bool] = needs_nothing,
) -> Retrieved:
    """Find the k solved tasks that promise most for a task.

    Parameters
    ----------
    description : Description
        Of the task at hand, as far as its test images are not concerned.
    test : mapping of str to str, optional
        Hashes of its test images by stem; a solved task that has seen one of them is barred.
    output : Kind
        What is wanted. Where tasks of that kind are fewer than k, those of foreground follow, with an ending.
    usable : callable
        Which operators offered pipelines may have.
    """
    problem = Problem(description.statistics, description.described, description.channels)
    similar: list[Similar] = []
    names_barred: dict[str, str] = {}
    for kind in dict.fromkeys((output, Kind.MASK)):
        if len(similar) == k:
            break
        own = library.nearest(problem.vectors, NEAR, kind)
        nearby = library.tasks([*library.seeds_of(kind), *own, *library.adviser(kind).sources])
        barred = {i: stem for i, task in nearby.items() if (stem := first_seen(test or {}, task.hashes)) is not None}
        names_barred |= {nearby[i].name: stem for i, stem in barred.items()}
        allowed = [task for i, task in nearby.items() if i not in barred]
        # What was tried on a barred task would tell of the test image, too.
        adviser = library.adviser(kind).without(barred) if barred else library.adviser(kind)
        candidates = candidates_for(problem, allowed, usable)
        for candidate, score in ranked(adviser, problem, candidates, k - len(similar)):
            if kind is output:
                similar.append(_similar(problem, candidate, score))
            else:
                similar.append(_similar(problem, replace(candidate, ending=ENDINGS[output]), None))
    return Retrieved(tuple(similar), names_barred, not library.adviser(output).thin)


def candidates_for(
    problem: Problem, tasks: Iterable[SolvedTask], usable: Callable[[Operator], bool] = needs_nothing
) -> list[Candidate]:
    """Return all pipelines of some tasks that can be tried on a problem, also rescaled."""
    thickness = problem.statistics.get("masks", {}).get("thickness")
    return [
        candidate
        for task in tasks
        for candidate in of_task(task, thickness)
        if candidate.stored.pipeline.channels <= problem.channels
        and all(usable(registry.get(s.operator)) for s in candidate.stored.pipeline.steps)
    ]


def ranked(
    adviser: Adviser, problem: Problem, candidates: Sequence[Candidate], k: int
) -> list[tuple[Candidate, float | None]]:
    """Choose k candidates, each of another task, with their expected scores, the highest first.

    Those that the ledger's model expects most of, or the nearest while the ledger is thin, take turns with those that
    did best on other tasks: neither alone is reliable (docs/library.md).
    """
    popular = [adviser.popularity(c.key) for c in candidates]
    if adviser.thin:
        close = [similarity(problem.vectors, c.task.described).values() for c in candidates]
        nearness = [sum(values) / max(len(values), 1) for values in close]
        return [(candidates[i], None) for i in _in_turn(candidates, nearness, popular)[:k]]
    expected = adviser.expected(problem, candidates) if candidates else []
    chosen = _in_turn(candidates, expected, popular)[:k]
    return [(candidates[i], expected[i]) for i in sorted(chosen, key=lambda i: -expected[i])]


def _in_turn(candidates: Sequence[Candidate], *merits: Sequence[float]) -> list[int]:
    """Return candidates by several merits in turn, the greatest first; of each task, the first to come."""
    orders = [sorted(range(len(candidates)), key=lambda i: -merit[i]) for merit in merits]
    firsts: dict[str, int] = {}
    for turn in zip(*(_distinct(candidates, order) for order in orders), strict=True):
        for i in turn:
            firsts.setdefault(candidates[i].task.id, i)
    return list(firsts.values())


def _distinct(candidates: Sequence[Candidate], order: Iterable[int]) -> list[int]:
    """Keep the first candidate of each task."""
    firsts: dict[str, int] = {}
    for i in order:
        firsts.setdefault(candidates[i].task.id, i)
    return list(firsts.values())


def _similar(problem: Problem, candidate: Candidate, expected: float | None) -> Similar:
    task = candidate.task
    close = {name: round(value, 3) for name, value in similarity(problem.vectors, task.described).items()}
    score = None if expected is None else round(expected, 3)
    offer = Offer(
        task=task.id,
        name=task.name,
        role=candidate.stored.role,
        form=candidate.stored.pipeline.form,
        scale=candidate.scale,
        program=candidate.program,
        expected=score,
        similarity=close,
        macros=task.macros,
    )
    return Similar(task, offer, close, tuple(_why(problem, task)))


def _why(problem: Problem, task: SolvedTask) -> list[str]:
    """Name features that the two tasks share, of masks first: these say more."""
    found = []
    for name in ("masks", "images"):
        one, other = task.statistics.get(name), problem.statistics.get(name)
        if one is not None and other is not None and STATISTICS[name].vector(one) is not None:
            found += STATISTICS[name].why(one, other)
    return found
