"""Make a solved task of a search that has ended."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from evoseg import __version__
from evoseg.base.kinds import Kind
from evoseg.data.card import DatasetCard
from evoseg.data.dataset import Dataset
from evoseg.evolve.ports import Scored
from evoseg.evolve.solve import Solution
from evoseg.library.describing import Description, hashes_of
from evoseg.library.files import MAX_MACROS, MAX_TEXT
from evoseg.library.task import ROLES, TASKS, Card, SolvedTask, StoredPipeline, slug
from evoseg.operators import registry
from evoseg.pipeline import Pipeline

ENOUGH = 0.8
"""Share of the best score that a short or a cheap pipeline must reach to be kept."""


def solved_task(
    dataset: Dataset,
    solution: Solution,
    description: Description,
    metric: str,
    name: str,
    origin: str = "",
    macros: Mapping[str, str] = MappingProxyType({}),
) -> SolvedTask | None:
    """Return what the library keeps of a search; None if it found nothing better than an answer without the image.

    Parameters
    ----------
    description : Description
        Of the search images.
    name : str
        From which the task's short name is made.
    origin : str
        Who solved it, with which effort.
    macros : mapping of str to str
        Definitions that a language model named, the last `MAX_MACROS` of which are kept.
    """
    if solution.champion.role == "constant":
        return None
    seen = (*solution.splits.search, *solution.splits.selection)
    return SolvedTask(
        name=slug(name),
        card=card_of(dataset.card, dataset.title, solution.champion.scored.pipeline.output),
        metric=metric,
        n_images=len(seen),
        channels=len(dataset.channels),
        statistics=description.statistics,
        vectors=description.vectors,
        pipelines=tuple(_chosen(solution)),
        hashes=tuple(digits for digits in hashes_of(dataset, seen).values() if digits is not None),
        origin=origin or f"evoseg {__version__}, {solution.progress.evaluations} evaluations",
        macros=dict([item for item in macros.items() if len(item[1]) <= MAX_TEXT][-MAX_MACROS:]),
    )


def card_of(card: DatasetCard, title: str, output: Kind) -> Card:
    """Return the words of a dataset's card that a solved task keeps.

    Parameters
    ----------
    output : Kind
        What the task was to give: of one dataset, foreground may have been sought, or objects.
    """
    return Card(
        title=title,
        task=next(name for name, kind in TASKS.items() if kind is output),
        modality=card.modality,
        domain=card.domain,
        foreground=card.foreground,
        family=card.family,
        source=card.source,
        license=card.license,
    )


def _chosen(solution: Solution) -> list[StoredPipeline]:
    """Return the champion, and the shortest and the cheapest program that come near it."""
    best = solution.champion.scored
    near = [s for s in solution.progress.front.members if _score(s) >= ENOUGH * _score(best)]
    short = min(near, key=lambda s: (len(s.pipeline), -_score(s)), default=best)
    cheap = min(near, key=lambda s: (s.pipeline.cost, -_score(s)), default=best)
    kept: dict[str, StoredPipeline] = {}
    for role, scored in zip(ROLES, (best, short, cheap), strict=True):
        pipeline = scored.pipeline.settled()
        stored = StoredPipeline(role, pipeline, round(_score(scored), 4), revisions_of(pipeline))
        kept.setdefault(pipeline.form, stored)
    return list(kept.values())


def _score(scored: Scored) -> float:
    return float(scored.left_out.mean())


def revisions_of(pipeline: Pipeline) -> dict[str, int]:
    """Return the present revisions of a pipeline's operators."""
    return {s.operator: registry.get(s.operator).revision for s in pipeline.steps}


def stale(tasks: Sequence[SolvedTask]) -> list[str]:
    """Say which pipelines were scored with other revisions of their operators than the present ones."""
    return [
        f"{task.name}, {stored.role}: {name}@{revision} is {name}@{registry.get(name).revision} now"
        for task in tasks
        for stored in task.pipelines
        for name, revision in stored.revisions.items()
        if registry.get(name).revision != revision
    ]
