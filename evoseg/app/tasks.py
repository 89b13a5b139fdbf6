"""The tasks that can be asked for: what each returns, how it is scored, and which of them a dataset sets."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from evoseg.base.errors import SettingsError, unknown
from evoseg.base.kinds import Kind
from evoseg.data.asked import CLASSES, Asked, asked
from evoseg.data.dataset import Dataset
from evoseg.evolve.binary import BinaryTask
from evoseg.evolve.instances import InstanceTask
from evoseg.evolve.points import PointTask
from evoseg.evolve.ports import Task
from evoseg.metrics import binary, instances, points


@dataclass(frozen=True)
class TaskKind:
    """One kind of answer.

    Attributes
    ----------
    name : str
    output : Kind
        What a pipeline returns.
    make : callable (metric) -> Task
    metrics : tuple of str
        By which answers can be scored; the first is maximised if none is named.
    """

    name: str
    output: Kind
    make: Callable[[str], Task]
    metrics: tuple[str, ...]


TASKS = {
    kind.name: kind
    for kind in (
        TaskKind("binary", Kind.MASK, BinaryTask, tuple(binary.METRICS)),
        TaskKind("instances", Kind.LABELS, InstanceTask, tuple(instances.METRICS)),
        TaskKind("points", Kind.POINTS, PointTask, tuple(points.METRICS)),
    )
}
AUTO = "auto"
_BINARY = "binary"


def kind_called(name: str) -> TaskKind:
    """Return the kind of task of a name.

    Raises
    ------
    SettingsError
        If there is none.
    """
    if name not in TASKS:
        raise SettingsError(unknown("task", name, (AUTO, *TASKS, CLASSES)))
    return TASKS[name]


def kind_for(output: Kind) -> TaskKind | None:
    """Return the kind of task whose pipelines return a kind of value, None if there is none."""
    return next((kind for kind in TASKS.values() if kind.output is output), None)


def kind_scored_by(metric: str) -> TaskKind:
    """Return the kind of task that a metric scores.

    Raises
    ------
    SettingsError
        If there is no such metric.
    """
    for kind in TASKS.values():
        if metric in kind.metrics:
            return kind
    raise SettingsError(unknown("metric", metric, [name for kind in TASKS.values() for name in kind.metrics]))


def check_names(task: str, metric: str | None) -> None:
    """Refuse names that are unknown, or do not go together.

    Raises
    ------
    SettingsError
    """
    wanted = None if task == AUTO else kind_called(_BINARY if task == CLASSES else task)
    if metric is not None and wanted not in (None, kind_scored_by(metric)):
        assert wanted is not None
        raise SettingsError(
            f"metric is {metric}, which scores the task {kind_scored_by(metric).name}, not {task}; that has "
            f"{', '.join(wanted.metrics)}."
        )


def sets_classes(task: str, metric: str | None, dataset: Dataset) -> bool:
    """Return whether a pipeline per class is wanted: it was asked for, or is what the dataset sets.

    Raises
    ------
    SettingsError
        If a name is unknown, or they do not go together.
    """
    check_names(task, metric)
    if task != AUTO or (metric is not None and kind_scored_by(metric).name != _BINARY):
        return task == CLASSES
    return asked(dataset.survey.facts, dataset.card).task == CLASSES


def decided(task: str, metric: str | None, dataset: Dataset) -> tuple[TaskKind, str, Asked]:
    """Return the kind of task, the metric and why, from what was asked for and what the dataset sets.

    Raises
    ------
    SettingsError
        If a name is unknown, or the dataset has no truths of that kind.
    """
    check_names(task, metric)
    if task != AUTO:
        choice = Asked(task, "it was asked for")
    elif metric is not None:
        choice = Asked(kind_scored_by(metric).name, f"{metric} scores it")
    else:
        choice = asked(dataset.survey.facts, dataset.card)
    kind = kind_called(choice.task)
    if kind.output is Kind.LABELS and any(fact.strokes for fact in dataset.survey.facts.values()):
        raise SettingsError(f"scribbles/ of {dataset.title} shows no whole objects. Take the task binary, or masks.")
    part, where = ("points", "points/") if kind.output is Kind.POINTS else ("mask", "masks/")
    if lacking := [stem for stem in dataset.labelled if not dataset.source.has(part, stem)]:
        raise SettingsError(
            f"the task {kind.name} needs a file in {where} for every labelled image of {dataset.title}; {lacking[0]} "
            "has none. Take another task, or add them."
        )
    return kind, metric or kind.metrics[0], choice


def every_score(kind: TaskKind) -> Iterable[tuple[str, Task]]:
    """Return a task for each metric of a kind."""
    return [(name, kind.make(name)) for name in kind.metrics]
