"""What a search is asked for, checked before anything is opened."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from evoseg.app.pipelines import read_pipeline
from evoseg.app.tasks import AUTO, TaskKind, check_names, kind_called, kind_for
from evoseg.base.errors import SettingsError, unknown
from evoseg.evolve.budget import Budget
from evoseg.evolve.ports import Task
from evoseg.evolve.solve import SearchSettings
from evoseg.pipeline import Pipeline

OPERATORS = ("default", "all")
SECONDS = 60.0
"""Budget of a search that was given none."""
MOST_WORKERS = 256
"""Beyond any machine that this was tried on; each is a process that holds some of the images."""

Start = Iterable[Pipeline | str | Path]


@dataclass(frozen=True)
class RunSettings:
    """The settings of one search, complete and within their ranges.

    Attributes
    ----------
    task, metric : str
        Names of `evoseg.app.tasks`; until a dataset has been looked at, the task may be "auto" and the metric None.
    seconds, evaluations, target_score
        The budget; None is no limit.
    seed : int
    workers : int
        Processes; 0 runs everything in this one.
    operators : str
        "default" or "all".
    max_ms_per_mpx : float or None
        Highest modelled cost of the answer.
    start : tuple of Pipeline
        Programs to begin with.
    """

    task: str
    metric: str | None
    seconds: float | None
    evaluations: int | None
    target_score: float | None
    seed: int
    workers: int
    operators: str
    max_ms_per_mpx: float | None
    start: tuple[Pipeline, ...]

    @property
    def kind(self) -> TaskKind:
        """The kind of task."""
        return kind_called(self.task)

    @property
    def score(self) -> str:
        """The metric, once it has been decided."""
        assert self.metric is not None
        return self.metric

    def the_task(self) -> Task:
        """Return the task as the search takes it."""
        return self.kind.make(self.score)

    def decided(self, kind: TaskKind, metric: str) -> "RunSettings":
        """Return the settings with task and metric filled in.

        Raises
        ------
        SettingsError
            If a pipeline to start from gives something else.
        """
        _check_start(self.start, kind)
        return replace(self, task=kind.name, metric=metric)

    def search_settings(self) -> SearchSettings:
        """Return them as the search takes them."""
        return SearchSettings(
            budget=Budget(self.seconds, self.evaluations, self.target_score),
            seed=self.seed,
            workers=self.workers,
            optional_operators=self.operators == "all",
            max_cost=float("inf") if self.max_ms_per_mpx is None else self.max_ms_per_mpx,
            start=self.start,
        )

    def as_json(self) -> dict[str, Any]:
        """Return them as values that JSON knows; pipelines by their digests."""
        return vars(self) | {"start": [pipeline.digest for pipeline in self.start], "library": "none"}


def run_settings(
    *,
    metric: str | None,
    task: str,
    seconds: float | None,
    evaluations: int | None,
    target_score: float | None,
    seed: int,
    workers: int | None,
    operators: str,
    start: Start,
    max_ms_per_mpx: float | None,
) -> RunSettings:
    """Check what a caller asked for and fill in what was left open.

    Raises
    ------
    SettingsError
        If a value is unknown or out of its range.
    """
    check_names(task, metric)
    _one_of("operators", operators, OPERATORS)
    check_score("target_score", target_score)
    for name, number in (("seconds", seconds), ("max_ms_per_mpx", max_ms_per_mpx)):
        if number is not None and not isfinite(number):
            raise SettingsError(f"{name} is {number}; it must be a finite number.")
    if max_ms_per_mpx is not None and max_ms_per_mpx <= 0:
        raise SettingsError(f"max_ms_per_mpx is {max_ms_per_mpx:g}; it must be positive.")
    workers = min(cores(), MOST_WORKERS) if workers is None else checked_workers(workers)
    if seconds is None and evaluations is None:
        seconds = SECONDS
    programs = tuple(s if isinstance(s, Pipeline) else read_pipeline(s) for s in start)
    _check_start(programs, None if task == AUTO else kind_called(task))
    Budget(seconds, evaluations, target_score)
    return RunSettings(
        task=task,
        metric=metric,
        seconds=seconds,
        evaluations=evaluations,
        target_score=target_score,
        seed=seed,
        workers=workers,
        operators=operators,
        max_ms_per_mpx=max_ms_per_mpx,
        start=programs,
    )


def check_score(name: str, score: float | None) -> None:
    """Refuse a score that no pipeline can have.

    Raises
    ------
    SettingsError
        If it is given and not within -1 and 1.
    """
    # NaN compares with nothing, so it fails here, too.
    if score is not None and not -1 <= score <= 1:
        raise SettingsError(f"{name} is {score:g}; scores are at most 1, and none is below -1.")


def checked_workers(workers: int) -> int:
    """Return a number of processes.

    Raises
    ------
    SettingsError
        If it is none that any machine could bear.
    """
    if not 0 <= workers <= MOST_WORKERS:
        raise SettingsError(
            f"workers is {workers}; it must be a number of processes up to {MOST_WORKERS}, or 0 for none beside this "
            f"one. More than the {cores()} cores here gain nothing."
        )
    return workers


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _one_of(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise SettingsError(unknown(what, name, known))


def _check_start(programs: Iterable[Pipeline], kind: TaskKind | None) -> None:
    """Refuse pipelines to start from that do not answer the task, or any task as long as that is open."""
    for pipeline in programs:
        if kind is not None and pipeline.output is not kind.output:
            raise SettingsError(
                f"a pipeline to start from gives a {pipeline.output} value; the task {kind.name} needs a {kind.output} "
                "value."
            )
        if kind_for(pipeline.output) is None:
            raise SettingsError(f"a pipeline to start from gives a {pipeline.output} value, which answers no task.")
