"""The settings of a run: what a search was asked for, checked, complete and as it is recorded."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from math import isfinite
from pathlib import Path
from secrets import randbits
from typing import Any

from evoseg.cluster import check_executor
from evoseg.core.disk import expand
from evoseg.core.errors import SettingsError, unknown
from evoseg.datasets.meaning import CLASSES
from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions
from evoseg.evolve.budget import USUAL_S, Budget
from evoseg.evolve.context import SearchSettings
from evoseg.evolve.ports import Task
from evoseg.evolve.proposers.warm_start import WarmStartCandidate
from evoseg.evolve.tasks.task_kinds import AUTO, TaskKind, check_names, find_kind, find_kind_of_output, resolve_task
from evoseg.exporters.targets import LANGUAGES
from evoseg.metrics import metric_name
from evoseg.operators import registry
from evoseg.operators.registry import Operator
from evoseg.pipeline import Pipeline
from evoseg.runs.code_files import admit_file
from evoseg.runs.options import DEFAULT, ENCODERS, LLM_USD, LOCAL, NONE, SearchOptions
from evoseg.runs.pipeline_files import read_filters
from evoseg.sandbox.operators import AdmittedCode, admitted_code

PYTHON = "python"
"""The target that has every operator."""
MOST_GOAL = 1000
"""Characters of a goal in words."""
MOST_WORKERS = 256
"""Beyond any machine that this was tried on; each is a process that holds some of the images."""


@dataclass(frozen=True)
class RunSettings:
    """The settings of one search, complete and within their ranges.

    Most are options of the search (`evoseg.runs.options`) under their flat names, with these differences.

    Attributes
    ----------
    task, metric, radius
        Before the dataset has been looked at, "auto" and None are allowed.
    task : str
        The path of its file for a task of the user's own.
    executor : str
        "local", or the scheduler of a Dask cluster, as dask://HOST:PORT.
    workers : int
        Processes on this machine; 0 runs everything in this one.
    operators : str
        "default"; or "cpp" or "imagej" for the operators of that target. Early versions had "all", which adds none.
    offers : tuple of WarmStartCandidate
        What was retrieved from the library when the run began: a resumed run goes by this, whatever the library holds
        by then.
    barred : mapping of str to str
        Solved tasks that were left out, with the test image of this dataset that they have seen.
    reading : ReadOptions
        Which page and channels of the files, and which class of the masks.
    task_digest : str
        sha256 of the file of a task of the user's own; "" for other tasks.
    early : bool
        Whether the run was begun by an early version, and goes on as that did (see `SearchSettings`), with retired
        operators proposed: then it resumes to the same end.
    networks : bool
        Whether networks are trained; not in runs of early versions.
    code : tuple of AdmittedCode
        Python operators that the search may use, those of the pipelines that it starts from included.
    goal : str or None
        What to find, in the user's words, which a language model is told.
    goal_reason : str
        Why a language model has proposed this task and metric by these words; "" if it has not.
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
    library: str = "none"
    remember: bool = False
    offers: tuple[WarmStartCandidate, ...] = ()
    barred: Mapping[str, str] = field(default_factory=dict)
    agent: str | None = None
    base_url: str | None = None
    llm_calls: int = 20
    llm_tokens: int | None = None
    llm_usd: float | None = LLM_USD
    llm_wait: bool = False
    llm_deadline: float | None = None
    roles: str | None = None
    reading: ReadOptions = DEFAULT_OPTIONS
    executor: str = LOCAL
    radius: float | None = None
    task_digest: str = ""
    early: bool = True
    networks: bool = False
    encoder: str = NONE
    code: tuple[AdmittedCode, ...] = ()
    goal: str | None = None
    goal_reason: str = ""

    @property
    def kind(self) -> TaskKind:
        """The kind of task."""
        return find_kind(self.task)

    @property
    def score(self) -> str:
        """The metric, once it has been decided."""
        assert self.metric is not None
        return self.metric

    def make_task(self) -> Task:
        """Return the task as the search takes it."""
        return self.kind.task(self.score, self.radius)

    def with_task(self, kind: TaskKind, metric: str, radius: float | None) -> "RunSettings":
        """Return the settings with task, metric and radius filled in.

        Raises
        ------
        SettingsError
            If a pipeline to start from gives something else, or exported files are to carry what they cannot.
        """
        _check_start(self.start, kind)
        language = LANGUAGES.get(self.operators)
        if language is not None and kind.output not in language.outputs:
            raise SettingsError(
                f"exported {language.what} support pipelines that return {language.gives}; the task {kind.name} needs "
                f"a {kind.output} value. Search without the target {self.operators}; Python files support it."
            )
        return replace(self, task=kind.name, metric=metric, radius=radius, task_digest=kind.digest)

    def search_settings(self) -> SearchSettings:
        """Return them as the search takes them."""
        return SearchSettings(
            budget=Budget(self.seconds, self.evaluations, self.target_score),
            seed=self.seed,
            workers=self.workers,
            without=frozenset(op.name for op in registry.operators(retired=True) if not self.proposes(op)),
            max_cost=float("inf") if self.max_ms_per_mpx is None else self.max_ms_per_mpx,
            start=self.start,
            early=self.early,
        )

    def allows(self, op: Operator) -> bool:
        """Return whether pipelines of this search may have an operator, those that it starts from included."""
        language = LANGUAGES.get(self.operators)
        return language is None or language.carry(op)

    def proposes(self, op: Operator) -> bool:
        """Return whether this search proposes pipelines with an operator."""
        return self.allows(op) and (self.early or not op.retired)

    def as_json(self) -> dict[str, Any]:
        """Return them as values that JSON knows; pipelines by their digests."""
        programs = {"start": self.start, "offers": [offer.program for offer in self.offers]}
        return (
            vars(self)
            | {name: [p.digest for p in listed] for name, listed in programs.items()}
            | {"reading": asdict(self.reading), "code": [admitted.code.digest for admitted in self.code]}
        )

    def with_code_of(self, programs: Iterable[Pipeline]) -> "RunSettings":
        """Return the settings with the Python operators of some pipelines as well."""
        more = (admitted_code(digest) for pipeline in programs for digest in pipeline.codes)
        return replace(self, code=tuple(dict.fromkeys([*self.code, *more])))


def resolve_settings(options: SearchOptions) -> RunSettings:
    """Check the options and fill in what was left open; task, metric, radius and reading wait for the dataset.

    Raises
    ------
    SettingsError
        If a value is unknown or out of its range.
    ExportError
        If a pipeline to start from uses what the target does not have.
    """
    flat = options.flat
    task, target = resolve_task(flat["task"]), flat["target"]
    metric = None if flat["metric"] is None else metric_name(flat["metric"])
    check_names(task, metric)
    _one_of("target", target or PYTHON, (PYTHON, *LANGUAGES))
    check_score("target_score", flat["target_score"])
    _one_of("encoder", flat["encoder"], ENCODERS)
    for name in ("seconds", "max_ms_per_mpx"):
        if flat[name] is not None and not isfinite(flat[name]):
            raise SettingsError(f"{name} is {flat[name]}; it must be a finite number.")
    if (most := flat["max_ms_per_mpx"]) is not None and most <= 0:
        raise SettingsError(f"max_ms_per_mpx is {most:g}; it must be positive.")
    check_caps(flat["llm_calls"], flat["llm_tokens"], flat["llm_usd"])
    if flat["llm_deadline"] is not None and not 0 < flat["llm_deadline"] < float("inf"):
        raise SettingsError(f"llm_deadline is {flat['llm_deadline']}; it must be a positive number of seconds.")
    given = _list_start(flat["start"])
    allow_code = flat["allow_code"]
    start = tuple(
        source if isinstance(source, Pipeline) else read_filters(source, allow_code=allow_code) for source in given
    )
    _check_start(start, None if task in (AUTO, CLASSES) else find_kind(task))
    if target in LANGUAGES:
        LANGUAGES[target].check(start)
    given = flat["operator"]
    files = (given,) if isinstance(given, str | Path) else tuple(given)
    if target in LANGUAGES and files:
        raise SettingsError(
            f"{files[0]}: exported {LANGUAGES[target].what} cannot hold Python operators. Leave out the operator or "
            f"the target {target}; Python files support them."
        )
    executor, workers = resolve_workers(flat["workers"])
    seconds = USUAL_S if flat["seconds"] is None and flat["evaluations"] is None else flat["seconds"]
    Budget(seconds, flat["evaluations"], flat["target_score"])
    library, roles, agent = str(flat["library"]), flat["roles"], flat["agent"]
    checked = {
        "task": task,
        "metric": metric,
        "seconds": seconds,
        "seed": randbits(32) if flat["seed"] is None else flat["seed"],
        "executor": executor,
        "workers": workers,
        "operators": target if target in LANGUAGES else DEFAULT,
        "start": start,
        "library": library,
        "remember": flat["remember"] and library != NONE,
        "agent": None if agent == NONE else agent,
        "goal": check_goal(flat["goal"], None if agent == NONE else agent),
        "llm_wait": seconds is None if flat["llm_wait"] is None else flat["llm_wait"],
        "roles": None if roles is None else str(expand(roles).absolute()),
        "code": tuple(dict.fromkeys(admit_file(expand(file)) for file in files)),
    }
    known = {field.name for field in fields(RunSettings)}
    as_given = {name: value for name, value in flat.items() if name in known}
    settings = RunSettings(**as_given | checked, early=False)
    return settings.with_code_of(start)


def _list_start(start: Any) -> tuple[Pipeline | str | Path, ...]:
    """Return the pipelines to start from one by one.

    Raises
    ------
    SettingsError
        If they are neither pipelines nor where some are.
    """
    listed = (start,) if isinstance(start, Pipeline | str | Path) else start
    if isinstance(listed, Iterable):
        several = tuple(listed)
        if all(isinstance(source, Pipeline | str | Path) for source in several):
            return several
    raise SettingsError(
        f"start is {start!r} ({type(start).__name__}); it must be a pipeline, its text, its file or run, or a list of "
        "these."
    )


def check_caps(llm_calls: int, llm_tokens: int | None, llm_usd: float | None) -> None:
    """Raise if a limit on a language model is not a number from 0.

    Raises
    ------
    SettingsError
        Naming the first.
    """
    for name, cap in (("llm_calls", llm_calls), ("llm_tokens", llm_tokens), ("llm_usd", llm_usd)):
        if cap is not None and not 0 <= cap < float("inf"):
            raise SettingsError(f"{name} is {cap}; it must be a finite number, 0 or more.")


def check_goal(goal: str | None, agent: str | None) -> str | None:
    """Return a goal in words without needless white space, None without one.

    Raises
    ------
    SettingsError
        If it says nothing or very much, or there is no language model to read it.
    """
    if goal is None:
        return None
    words = " ".join(goal.split())
    if not 0 < len(words) <= MOST_GOAL:
        raise SettingsError(f"goal has {len(words)} characters; say what to find in 1 to {MOST_GOAL} of them.")
    if agent is None:
        raise SettingsError(
            "goal is for a language model to read, and none is named. Name one with --agent PROVIDER:MODEL "
            "(agent=evoseg.Agent(model, goal=...)), or leave out the goal and name the task yourself."
        )
    return words


def check_score(name: str, score: float | None) -> None:
    """Refuse a score that no pipeline can have.

    Raises
    ------
    SettingsError
        If it is given and not within -1 and 1.
    """
    # NaN compares with nothing, so it fails here, too.
    if score is not None and not -1 <= score <= 1:
        raise SettingsError(f"{name} is {score:g}; scores are between -1 and 1.")


def resolve_workers(workers: int | str | None) -> tuple[str, int]:
    """Return the executor, and the number of processes beside this one.

    Raises
    ------
    SettingsError
        If it is no executor, or a number that no machine could bear.
    """
    if workers is None or workers == LOCAL:
        return LOCAL, min(cores(), MOST_WORKERS)
    if isinstance(workers, str):
        check_executor(workers)
        return workers, min(cores(), MOST_WORKERS)
    if not 0 <= workers <= MOST_WORKERS:
        raise SettingsError(
            f"workers is {workers}; it must be a number of processes up to {MOST_WORKERS}, or 0 to run everything in "
            f"this process. More than the {cores()} cores do not help."
        )
    return LOCAL, workers


def with_workers(settings: RunSettings, workers: int | str | None) -> RunSettings:
    """Return the settings with other workers; None keeps those of the run.

    Raises
    ------
    SettingsError
        As `resolve_workers`.
    """
    if workers is None:
        return settings
    executor, number = resolve_workers(workers)
    return replace(settings, executor=executor, workers=number)


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
        if pipeline.has_network:
            raise SettingsError(
                "a pipeline to start from has a network in it, which was trained on the images of another search, "
                "perhaps on test images of this one. Start from filters only: RUN#readable."
            )
        if kind is not None and pipeline.output is not kind.output:
            raise SettingsError(
                f"a pipeline to start from returns a {pipeline.output} value; the task {kind.name} needs a "
                f"{kind.output} value."
            )
        if find_kind_of_output(pipeline.output) is None:
            raise SettingsError(f"a pipeline to start from returns a {pipeline.output} value, which no task uses.")
