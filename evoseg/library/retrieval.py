"""Retrieve: which solved tasks are like this one, and which of their pipelines are worth an evaluation."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from evoseg.core.kinds import Kind
from evoseg.evolve.proposers.classics import Call, chain
from evoseg.evolve.proposers.warm_start import WarmStartCandidate
from evoseg.library.collection import Library, Popularity, Use
from evoseg.library.description import Description, find_seen
from evoseg.library.likeness import Likeness, Norm, likeness
from evoseg.library.task import SolvedTask, StoredPipeline
from evoseg.operators import registry
from evoseg.operators.registry import Operator
from evoseg.pipeline import Pipeline, rescale
from evoseg.pipeline.structure import has_lengths

NEAR = 20
"""How many tasks are considered because they are alike, the user's own among them."""
LEAST_CHANGE = 1.25
"""Ratio of object thickness from which a rescaled pipeline is offered, too; below, it is nearly the same."""
MOST_CHANGE = 8.0
"""Beyond, the objects have little in common, and ranges would clip the lengths."""

ENDINGS: Mapping[Kind, tuple[Call, ...]] = {
    Kind.MASK: (),
    Kind.LABELS: (("depth_watershed", {"depth": 1.0}),),
    Kind.POINTS: (("centroids", {"area": 12}),),
}
"""What turns foreground into objects or points, so that tasks of foreground can be offered to all kinds of task."""


@dataclass(frozen=True, eq=False)
class ScaledPipeline:
    """A stored pipeline at one scale, as it could be offered.

    Attributes
    ----------
    task : SolvedTask
    stored : StoredPipeline
    scale : float
        By which its lengths are to be multiplied.
    ending : tuple of calls
        What is to follow it, where another kind of value is wanted.
    """

    task: SolvedTask
    stored: StoredPipeline
    scale: float
    ending: tuple[Call, ...] = ()

    @cached_property
    def program(self) -> Pipeline:
        """The pipeline at this scale; made when needed, since most are never offered."""
        scaled = self.stored.pipeline if self.scale == 1.0 else rescale(self.stored.pipeline, self.scale)
        return chain(scaled, self.ending) if self.ending else scaled

    @property
    def use(self) -> Use:
        """What its popularity is counted by."""
        return self.stored.pipeline.form, self.scale != 1.0


@dataclass(frozen=True, eq=False)
class Retrieved:
    """What a library has for a task.

    Attributes
    ----------
    offers : tuple of WarmStartCandidate
        The most promising first.
    barred : mapping of str to str
        Names of tasks that were left out, with the test image that each has seen.
    """

    offers: tuple[WarmStartCandidate, ...]
    barred: Mapping[str, str]


def scale_between(source: float | None, target: float | None) -> float:
    """Return by which factor a source's lengths may be multiplied; 1 if the objects are alike, or not known."""
    if not source or not target:
        return 1.0
    factor = target / source
    if 1 / LEAST_CHANGE < factor < LEAST_CHANGE:
        return 1.0
    # The precision in which factors are written down.
    return float(f"{min(max(factor, 1 / MOST_CHANGE), MOST_CHANGE):.3g}")


def retrieve(
    library: Library,
    description: Description,
    k: int,
    test: Mapping[str, str | None] | None = None,
    *,
    output: Kind = Kind.MASK,
    usable: Callable[[Operator], bool] = lambda op: True,
) -> Retrieved:
    """Find k pipelines that promise most for a task, each of another solved task.

    Parameters
    ----------
    description : Description
        Of the task at hand, without its test images.
    test : mapping of str to str, optional
        Hashes of its test images by stem; a solved task that has seen one of them is barred.
    output : Kind
        What is wanted. Where there are fewer than k tasks of that kind, tasks of foreground follow, with an ending.
    usable : callable
        Which operators the pipelines may have.
    """
    offers: list[WarmStartCandidate] = []
    barred: dict[str, str] = {}
    for kind in dict.fromkeys((output, Kind.MASK)):
        if len(offers) == k:
            break
        popularity = library.popularity(kind)
        near = [i for i, _ in library.most_alike(description.described, [kind])[:NEAR]]
        tasks = library.tasks([*library.bundled_of(kind), *near, *popularity.sources])
        seen = {i: stem for i, task in tasks.items() if (stem := find_seen(test or {}, task.hashes)) is not None}
        if seen:
            barred |= {tasks[i].name: stem for i, stem in seen.items()}
            # What was tried on a barred task would tell of the test image, too.
            popularity = popularity.without(seen)
        pool = scaled_pipelines(description, [task for i, task in tasks.items() if i not in seen], usable)
        for chosen in choose(popularity, library.norms, description, pool, k - len(offers)):
            scaled = chosen if kind is output else replace(chosen, ending=ENDINGS[output])
            offers.append(_offer(scaled, likeness(description.described, chosen.task.described, library.norms)))
    return Retrieved(tuple(offers), barred)


def scaled_pipelines(
    description: Description, tasks: Iterable[SolvedTask], usable: Callable[[Operator], bool] = lambda op: True
) -> list[ScaledPipeline]:
    """Return all pipelines of some tasks that can be tried on a task, as they are and rescaled."""
    return [
        scaled
        for task in tasks
        for scaled in pipelines_at_scales(task, description.thickness)
        if not scaled.stored.pipeline.networks  # trained on the images of their own task
        and scaled.stored.pipeline.channels <= description.channels
        and all(usable(registry.get(s.operator)) for s in scaled.stored.pipeline.steps)
    ]


def pipelines_at_scales(source: SolvedTask, thickness: float | None) -> Iterator[ScaledPipeline]:
    """Yield a task's pipelines as they are and, where objects differ in size, with lengths that follow the objects.

    Parameters
    ----------
    thickness : float or None, px
        Of the objects at hand.
    """
    factor = scale_between(source.thickness, thickness)
    for stored in source.pipelines:
        yield ScaledPipeline(source, stored, 1.0)
        if factor != 1.0 and has_lengths(stored.pipeline):
            yield ScaledPipeline(source, stored, factor)


def choose(
    popularity: Popularity,
    norms: Mapping[str, Norm],
    description: Description,
    pool: Sequence[ScaledPipeline],
    k: int,
) -> list[ScaledPipeline]:
    """Choose k pipelines, each of another task: in turn one that did best elsewhere, and one of the most similar task.

    Popularity alone chooses as well, but knows nothing of a task that is nearly the same (docs/library.md).
    """
    popular = [popularity.of(scaled.use) for scaled in pool]
    near = [likeness(description.described, scaled.task.described, norms).value for scaled in pool]
    by_likeness = _one_per_task(pool, sorted(range(len(pool)), key=lambda i: (-near[i], -popular[i])))
    by_popularity = _one_per_task(pool, sorted(range(len(pool)), key=lambda i: (-popular[i], -near[i])))
    in_turn = [i for pair in zip(by_popularity, by_likeness, strict=True) for i in pair]
    return [pool[i] for i in _one_per_task(pool, in_turn)[:k]]


def _one_per_task(pool: Sequence[ScaledPipeline], order: Iterable[int]) -> list[int]:
    """Keep the first pipeline of each task."""
    firsts: dict[str, int] = {}
    for i in order:
        firsts.setdefault(pool[i].task.id, i)
    return list(firsts.values())


def _offer(chosen: ScaledPipeline, alike: Likeness) -> WarmStartCandidate:
    return WarmStartCandidate(
        task=chosen.task.id,
        name=chosen.task.name,
        role=chosen.stored.role,
        form=chosen.stored.pipeline.form,
        scale=chosen.scale,
        program=chosen.program,
        similarity={name: round(value, 3) for name, value in alike.parts.items()},
        macros=chosen.task.macros,
    )
