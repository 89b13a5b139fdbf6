"""The tasks that can be asked for: what each returns, how it is scored, and which of them a dataset sets."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from evoseg.base.errors import SettingsError, unknown
from evoseg.base.kinds import Kind
from evoseg.data.asked import Asked, asked
from evoseg.data.dataset import Dataset
from evoseg.data.meaning import CLASSES
from evoseg.evolve.binary import BinaryTask
from evoseg.evolve.instances import InstanceTask
from evoseg.evolve.own import digest_of, load_task
from evoseg.evolve.points import RADIUS_PX, PointTask
from evoseg.evolve.ports import Task
from evoseg.evolve.registration import RegistrationTask
from evoseg.metrics import binary, instances, points, shifts


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
    truth : tuple of str, or None
        What an image needs to be labelled: the part's name, and what that is on disk; None leaves that to the task.
    digest : str
        Of a task of the user's own: the sha256 of its file, whose path is the name.
    """

    name: str
    output: Kind
    make: Callable[[str], Task]
    metrics: tuple[str, ...]
    truth: tuple[str, str] | None = ("mask", "a file in masks/")
    digest: str = ""

    def task(self, metric: str, radius: float | None) -> Task:
        """Return the task; points match within a radius, in px."""
        made = self.make(metric)
        # A task of the user's own travels as its file, so what is changed in it would not arrive.
        return replace(made, radius=radius or RADIUS_PX) if type(made) is PointTask else made

    @property
    def own(self) -> bool:
        """Whether it is a task of the user's own."""
        return bool(self.digest)


TASKS = {
    kind.name: kind
    for kind in (
        TaskKind("binary", Kind.MASK, BinaryTask, tuple(binary.METRICS)),
        TaskKind("instances", Kind.LABELS, InstanceTask, tuple(instances.METRICS)),
        TaskKind("points", Kind.POINTS, PointTask, tuple(points.METRICS), ("points", "a file in points/")),
        TaskKind("registration", Kind.GRAY, RegistrationTask, shifts.METRICS, ("shift", "a line in pairs/shifts.csv")),
    )
}
AUTO = "auto"
BINARY = "binary"
"""Foreground; each of several classes asks for this, too."""
OWN_METRIC = "score"
"""What the score of a task of the user's own is called."""
_NAMED: dict[str, TaskKind] = {}
"""Tasks of the user's own, by path, that the user of this process has named; no other file is ever run."""


def named(task: str | Path) -> str:
    """Return the name of a task; a Python file that the user has named is run, and its path is the name.

    Raises
    ------
    SettingsError
        If there is no such file, or it holds no usable task.
    """
    if not str(task).endswith(".py"):
        return str(task)
    path = Path(task).expanduser().absolute()
    digest = digest_of(path)
    made = load_task(path, digest)
    _NAMED[str(path)] = TaskKind(str(path), made.output, lambda metric: made, (OWN_METRIC,), None, digest)
    return str(path)


def kind_called(name: str) -> TaskKind:
    """Return the kind of task of a name.

    Raises
    ------
    SettingsError
        If there is none.
    """
    if name in _NAMED:
        return _NAMED[name]
    if name.endswith(".py"):
        raise SettingsError(f"the task is the program {name}; name it with --task (task=), so that it may be run.")
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
    wanted = None if task == AUTO else kind_called(BINARY if task == CLASSES else task)
    if wanted is not None and metric in wanted.metrics:
        return
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
    if task != AUTO or (metric is not None and kind_scored_by(metric).name != BINARY):
        return task == CLASSES
    return asked(dataset.survey, dataset.card).task == CLASSES


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
        choice = asked(dataset.survey, dataset.card)
    kind = kind_called(choice.task)
    if kind.truth is None:
        return kind, metric or kind.metrics[0], choice
    if kind.output is Kind.LABELS and any(fact.strokes for fact in dataset.survey.facts.values()):
        raise SettingsError(f"scribbles/ of {dataset.title} shows no whole objects. Take the task binary, or masks.")
    part, where = kind.truth
    if lacking := [stem for stem in dataset.labelled if not dataset.source.has(part, stem)]:
        raise SettingsError(
            f"the task {kind.name} needs {where} for every labelled image of {dataset.title}; {lacking[0]} "
            "has none. Take another task, or add them."
        )
    return kind, metric or kind.metrics[0], choice


def radius_for(kind: TaskKind, wanted: float | None, dataset: Dataset) -> float | None:
    """Return within how many px points match: as asked for, else as the dataset says; None for other tasks.

    Raises
    ------
    SettingsError
        If one is asked for that is none, or that the task has no use for.
    """
    if wanted is not None and not 0 < wanted < float("inf"):
        raise SettingsError(f"radius is {wanted:g}; it must be a length in px, above 0.")
    if not isinstance(kind.make(kind.metrics[0]), PointTask):
        if wanted is not None:
            raise SettingsError(f"radius is {wanted:g} px, but the task is {kind.name}; only points match within one.")
        return None
    return wanted or dataset.card.radius or RADIUS_PX


def every_score(kind: TaskKind, radius: float | None) -> Iterable[tuple[str, Task]]:
    """Return a task for each metric of a kind."""
    return [(name, kind.task(name, radius)) for name in kind.metrics]
