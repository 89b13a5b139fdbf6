"""The kinds of task: what a pipeline returns, how it is scored, and which kind suits a dataset.

A user's own task is a Python file with a class `Task`. It runs with the user's rights; callers of `load_task` make
sure that the user has named it.
"""

import copyreg
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import expand
from evoseg.core.errors import SettingsError, unknown
from evoseg.core.kinds import Kind
from evoseg.core.transforms import TRANSFORMS
from evoseg.core.untrusted import read_file
from evoseg.datasets.dataset import Dataset, Sample
from evoseg.datasets.meaning import CLASSES
from evoseg.datasets.survey import InferredTask, infer_task
from evoseg.evolve.ports import Task, inputs_of, judge_outputs
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.evolve.tasks.object_tasks import RADIUS_PX, InstanceTask, PointTask
from evoseg.evolve.tasks.plain_task import PlainTask, RegistrationTask, adopt_old_names
from evoseg.metrics import METRICS

_MOST_BYTES = 16 * 2**20
NEEDED = ("arrays", "image", "target", "judge", "score", "histogram", "sample_pixels", "score_thresholds")
"""Methods of a task; `evoseg.PlainTask` has all but arrays, judge and score."""
OLD_MODULES = {
    "evoseg.evolve.binary": "evoseg.evolve.tasks.mask_task",
    "evoseg.evolve.instances": "evoseg.evolve.tasks.object_tasks",
    "evoseg.evolve.points": "evoseg.evolve.tasks.object_tasks",
}
"""Where version 0.1 had the classes that a user's own task may derive from; importable there until version 0.3."""
_EMPTY: dict[Kind, Callable[[tuple[int, ...]], NDArray[Any]]] = {
    Kind.MASK: lambda shape: np.zeros(shape, np.bool_),
    Kind.LABELS: lambda shape: np.zeros(shape, np.int32),
    Kind.POINTS: lambda shape: np.zeros((0, 2)),
    Kind.GRAY: lambda shape: np.zeros(shape, np.uint8),
}
"""What a pipeline returns that finds nothing."""


@dataclass(frozen=True)
class TaskKind:
    """A kind of task.

    Attributes
    ----------
    name : str
    output : Kind
        What a pipeline returns.
    make : callable (metric) -> Task
    metrics : tuple of str
        By which answers can be scored; the first is maximised if none is named.
    truth : (tuple of str, str), or None
        What an image needs to be labelled: one of these parts, and what that is on disk; None leaves that to the task.
    digest : str
        Of a task of the user's own: the sha256 of its file, whose path is the name.
    """

    name: str
    output: Kind
    make: Callable[[str], Task]
    metrics: tuple[str, ...]
    truth: tuple[tuple[str, ...], str] | None = (("mask",), "a file in masks/")
    digest: str = ""

    def task(self, metric: str, radius: float | None) -> Task:
        """Return the task; points match within a radius, in px."""
        made = self.make(metric)
        # A task of the user's own travels as its file, so what is changed in it would not arrive.
        return replace(made, radius=radius or RADIUS_PX) if type(made) is PointTask else made

    def has_truth(self, dataset: Dataset, stem: str) -> bool:
        """Return whether an image has what it needs to be scored."""
        return self.truth is None or any(dataset.source.has(part, stem) for part in self.truth[0])

    @property
    def own(self) -> bool:
        """Whether it is a task of the user's own."""
        return bool(self.digest)


TASKS = {
    kind.name: kind
    for kind in (
        TaskKind("binary", Kind.MASK, BinaryTask, tuple(METRICS[Kind.MASK])),
        TaskKind("instances", Kind.LABELS, InstanceTask, tuple(METRICS[Kind.LABELS])),
        TaskKind("points", Kind.POINTS, PointTask, tuple(METRICS[Kind.POINTS]), (("points",), "a file in points/")),
        TaskKind(
            "registration",
            Kind.GRAY,
            RegistrationTask,
            tuple(METRICS[Kind.GRAY]),
            (TRANSFORMS, "a line in pairs/shifts.csv, transforms.csv or landmarks.csv"),
        ),
    )
}
AUTO = "auto"
BINARY = "binary"
"""The task of segmenting foreground, also used for each of several classes."""
OWN_METRIC = "score"
"""The name of the score of a user's own task."""
_NAMED: dict[str, TaskKind] = {}
"""Users' own tasks, by path, that were named in this process; no other file is ever run."""


def resolve_task(task: str | Path) -> str:
    """Return the name of a task; a Python file that the user has named is run, and its path is the name.

    Raises
    ------
    SettingsError
        If there is no such file, or it holds no usable task.
    """
    if not str(task).endswith(".py"):
        return str(task)
    path = expand(task).absolute()
    digest = digest_of(path)
    made = load_task(path, digest)
    _NAMED[str(path)] = TaskKind(str(path), made.output, lambda metric: made, (OWN_METRIC,), None, digest)
    return str(path)


def find_kind(name: str) -> TaskKind:
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


def find_kind_of_output(output: Kind) -> TaskKind | None:
    """Return the kind of task whose pipelines return a kind of value, None if there is none."""
    return next((kind for kind in TASKS.values() if kind.output is output), None)


def find_kind_of_metric(metric: str) -> TaskKind:
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
    """Raise if a name is unknown, or the task and the metric do not go together.

    Raises
    ------
    SettingsError
    """
    wanted = None if task == AUTO else find_kind(BINARY if task == CLASSES else task)
    if wanted is not None and metric in wanted.metrics:
        return
    if metric is not None and wanted not in (None, find_kind_of_metric(metric)):
        assert wanted is not None
        raise SettingsError(
            f"metric is {metric}, which scores the task {find_kind_of_metric(metric).name}, not {task}. Use "
            f"one of {', '.join(wanted.metrics)}, or leave out the metric."
        )


def wants_classes(task: str, metric: str | None, dataset: Dataset) -> bool:
    """Return whether the task is one pipeline per class, because of `task` or of what the dataset holds.

    Raises
    ------
    SettingsError
        If a name is unknown, or they do not go together.
    """
    check_names(task, metric)
    if task != AUTO or (metric is not None and find_kind_of_metric(metric).name != BINARY):
        return task == CLASSES
    return infer_task(dataset.survey, dataset.card).task == CLASSES


def decide_task(task: str, metric: str | None, dataset: Dataset) -> tuple[TaskKind, str, InferredTask]:
    """Return the kind of task, the metric and the reason, from the names given and from what the dataset holds.

    Raises
    ------
    SettingsError
        If a name is unknown, or the dataset has no truths of that kind.
    """
    check_names(task, metric)
    if task != AUTO:
        choice = InferredTask(task, "it was asked for")
    elif metric is not None:
        choice = InferredTask(find_kind_of_metric(metric).name, f"{metric} scores it")
    else:
        choice = infer_task(dataset.survey, dataset.card)
    kind = find_kind(choice.task)
    if kind.truth is None:
        return kind, metric or kind.metrics[0], choice
    if kind.output is Kind.LABELS and any(fact.strokes for fact in dataset.survey.facts.values()):
        raise SettingsError(f"scribbles/ of {dataset.title} shows no whole objects. Take the task binary, or masks.")
    if lacking := [stem for stem in dataset.labelled if not kind.has_truth(dataset, stem)]:
        raise SettingsError(
            f"the task {kind.name} needs {kind.truth[1]} for every labelled image of {dataset.title}; {lacking[0]} "
            "has none. Take another task, or add them."
        )
    return kind, metric or kind.metrics[0], choice


def choose_radius(kind: TaskKind, wanted: float | None, dataset: Dataset) -> float | None:
    """Return the matching radius of points, px: as given, else from the dataset; None for other tasks.

    Raises
    ------
    SettingsError
        If the radius given is not a positive length, or the task is not one of points.
    """
    if wanted is not None and not 0 < wanted < float("inf"):
        raise SettingsError(f"radius is {wanted:g}; it must be a length in px, above 0.")
    if not isinstance(kind.make(kind.metrics[0]), PointTask):
        if wanted is not None:
            raise SettingsError(f"radius is {wanted:g} px, but the task is {kind.name}; only points match within one.")
        return None
    return wanted or dataset.card.radius or RADIUS_PX


def every_score(kind: TaskKind, radius: float | None) -> Iterable[tuple[str, Task]]:
    """Return a task for each metric of a kind, with its name."""
    return [(name, kind.task(name, radius)) for name in kind.metrics]


def digest_of(path: Path) -> str:
    """Return the sha256 of a file.

    Raises
    ------
    SettingsError
        If it cannot be read.
    """
    try:
        return sha256(read_file(path, _MOST_BYTES, error=SettingsError)).hexdigest()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}). Name a Python file with a Task.") from error


@cache
def load_task(path: Path, digest: str) -> Task:
    """Run a file and return its task; a worker process runs it again with this function.

    Parameters
    ----------
    path : Path
        Absolute.
    digest : str
        The file's sha256: what a worker runs must be what its parent ran.

    Raises
    ------
    SettingsError
        If the file has changed, fails, or holds no usable `Task`; the message names the line.
    """
    if digest_of(path) != digest:
        raise SettingsError(f"{path}: has changed since the search began. Start a new search.")
    module = _run(path, f"evoseg_own_task_{digest[:16]}")
    made = getattr(module, "Task", None)
    if not isinstance(made, type):
        raise SettingsError(f"{path}: holds no class named Task. See docs/own-task.md for one.")
    if not issubclass(made, PlainTask):
        adopt_old_names(made)
    try:
        task: Task = made()
    except Exception as error:
        raise fault_in(path, error) from error
    if missing := [name for name in NEEDED if not callable(getattr(task, name, None))]:
        raise SettingsError(f"{path}: Task has no method {missing[0]}. Derive it from evoseg.PlainTask, or write it.")
    if not isinstance(getattr(task, "output", None), Kind) or task.output is Kind.RAW:
        raise SettingsError(
            f"{path}: Task.output must say what a pipeline returns: Kind.MASK, LABELS, POINTS or GRAY, from "
            "evoseg.core.kinds."
        )
    # A class of a file cannot be imported by name, so its instances travel as the file.
    copyreg.pickle(made, lambda _: (load_task, (path, digest)))
    return task


def try_out(task: Task, sample: Sample, path: Path) -> None:
    """Judge an empty result on one sample, so that errors in a user's task appear before the search.

    Raises
    ------
    SettingsError
        If that fails, or it gives images that no pipeline takes, or no finite score; the message names the line of what
        fails.
    """
    try:
        item = task.arrays(sample)
        inputs, target = inputs_of(task, item), task.target(item)
    except Exception as error:
        raise fault_in(path, error, f" with {sample.stem}") from error
    for image in inputs:
        usable = isinstance(image, np.ndarray) and image.ndim == 3 and image.dtype in (np.uint8, np.uint16, np.float32)
        if not usable or not image.size:
            found = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise SettingsError(
                f"{path}: image() gives {found} for {sample.stem}; uint8, uint16 or float32 arrays of shape (M, N, C) "
                "are needed."
            )
    nothing = tuple(_EMPTY[task.output](image.shape[:2]) for image in inputs)
    try:
        scores = np.asarray(task.score(judge_outputs(task, nothing, target)[None]), np.float64)
    except Exception as error:
        raise fault_in(path, error, f" with an empty answer to {sample.stem}") from error
    if not np.isfinite(scores).all():
        raise SettingsError(
            f"{path}: score() gives {scores.flat[0]} for an empty answer to {sample.stem}; a score must be a finite "
            "number. Return 0 where an answer is wrong, and 1 where it is right."
        )


def fault_in(path: Path, error: Exception | SystemExit, when: str = "") -> SettingsError:
    """Return an error that names the line of the user's file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = lines[-1] if lines else getattr(error, "lineno", None)
    where = f", line {line}" if line else ""
    return SettingsError(f"{path}{where}{when}: {type(error).__name__}: {error}")


def _run(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SettingsError(f"{path}: not a Python file. A task is a file ending in .py.")
    for old, new in OLD_MODULES.items():
        sys.modules.setdefault(old, importlib.import_module(new))
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look for their module by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise fault_in(path, error) from error
    return module
