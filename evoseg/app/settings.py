"""What a search is asked for, checked before anything is opened."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

from evoseg.app.executing import LOCAL, check_executor
from evoseg.app.exporting import LANGUAGES
from evoseg.app.pipelines import read_pipeline
from evoseg.app.tasks import AUTO, TaskKind, check_names, kind_called, kind_for
from evoseg.base.errors import SettingsError, unknown
from evoseg.base.kinds import Kind
from evoseg.data.meaning import CLASSES
from evoseg.data.reading import PLAIN, Reading
from evoseg.evolve.budget import USUAL_S, Budget
from evoseg.evolve.ports import Task
from evoseg.evolve.solve import SearchSettings
from evoseg.library.warm import Offer
from evoseg.operators import registry
from evoseg.operators.registry import Operator
from evoseg.pipeline import Pipeline

DEFAULT, NONE = "default", "none"
"""The user's own library, and none at all; anything else is a file or a URL."""
OPERATORS = ("default", "all", *LANGUAGES)
LLM_CALLS, LLM_USD = 20, 2.0
"""What a language model may cost if nobody says so."""
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
        Processes on this machine; 0 runs everything in this one.
    executor : str
        "local", or the scheduler of a Dask cluster, as dask://HOST:PORT.
    operators : str
        "default", "all", or "cpp" or "imagej" for those that exported files of that language carry.
    max_ms_per_mpx : float or None
        Highest modelled cost of the answer.
    start : tuple of Pipeline
        Programs to begin with.
    library : str
        Where the library of solved tasks is: "default", "none", a file or a URL.
    remember : bool
        Whether the library is to keep this task once it is solved.
    offers : tuple of Offer
        What was retrieved from the library when the run began: a resumed run goes by this, whatever the library holds
        by then.
    barred : mapping of str to str
        Solved tasks that were left out, with the test image of this dataset that they have seen.
    agent : str or None
        A language model, such as "openai:MODEL".
    base_url : str or None
        Of its endpoint; None for OpenAI's own.
    llm_calls, llm_tokens, llm_usd
        Caps; None is no cap of its own.
    roles : str or None
        Folder with roles that add to evoseg's own, or replace them.
    reading : Reading
        Which page and channels of the files, and which class of the masks.
    radius : float or None
        Within how many px points match; None for other tasks, or until a dataset has been looked at.
    task_digest : str
        sha256 of the file of a task of the user's own, whose path `task` is; "" for other tasks.
    equal_as_one : bool
        Whether channels that are equal in all search images count as one; not in runs of early versions, which say
        nothing of it.
    ipp : bool
        Whether operators use Intel IPP, whose results depend on where in memory an image lies: in runs of early
        versions, which say nothing of it, so that they resume to the same end.
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
    offers: tuple[Offer, ...] = ()
    barred: Mapping[str, str] = field(default_factory=dict)
    agent: str | None = None
    base_url: str | None = None
    llm_calls: int = LLM_CALLS
    llm_tokens: int | None = None
    llm_usd: float | None = LLM_USD
    roles: str | None = None
    reading: Reading = PLAIN
    executor: str = LOCAL
    radius: float | None = None
    task_digest: str = ""
    equal_as_one: bool = False
    ipp: bool = True

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
        return self.kind.task(self.score, self.radius)

    def decided(self, kind: TaskKind, metric: str, radius: float | None) -> "RunSettings":
        """Return the settings with task, metric and radius filled in.

        Raises
        ------
        SettingsError
            If a pipeline to start from gives something else, exported files are to carry what they cannot, or a
            language model is to propose for a task that it is not told of.
        """
        _check_start(self.start, kind)
        if self.agent is not None and (kind.own or kind.output is Kind.GRAY):
            raise SettingsError(
                f"agent is {self.agent}, but a language model proposes for binary, instances and points only; the "
                f"task is {kind.name}. Search without it."
            )
        language = LANGUAGES.get(self.operators)
        if language is not None and kind.output not in language.outputs:
            raise SettingsError(
                f"exported {language.what} carry pipelines that give {language.gives}; the task {kind.name} needs a "
                f"{kind.output} value. Search without --for {self.operators} (operators {self.operators}); Python "
                "files carry it."
            )
        return replace(self, task=kind.name, metric=metric, radius=radius, task_digest=kind.digest)

    def search_settings(self) -> SearchSettings:
        """Return them as the search takes them."""
        return SearchSettings(
            budget=Budget(self.seconds, self.evaluations, self.target_score),
            seed=self.seed,
            workers=self.workers,
            optional_operators=self.operators == "all",
            without=_left_out(self.operators),
            max_cost=float("inf") if self.max_ms_per_mpx is None else self.max_ms_per_mpx,
            start=self.start,
            equal_as_one=self.equal_as_one,
            ipp=self.ipp,
        )

    def usable(self, op: Operator) -> bool:
        """Return whether pipelines of this search may have an operator."""
        return self.operators == "all" or not (op.needs or op.name in _left_out(self.operators))

    def as_json(self) -> dict[str, Any]:
        """Return them as values that JSON knows; pipelines by their digests."""
        programs = {"start": self.start, "offers": [offer.program for offer in self.offers]}
        return (
            vars(self)
            | {name: [p.digest for p in listed] for name, listed in programs.items()}
            | {"reading": asdict(self.reading)}
        )


def run_settings(
    *,
    metric: str | None = None,
    task: str = AUTO,
    seconds: float | None = None,
    evaluations: int | None = None,
    target_score: float | None = None,
    seed: int = 0,
    workers: int | None = None,
    operators: str = "default",
    start: Start = (),
    max_ms_per_mpx: float | None = None,
    library: str = DEFAULT,
    remember: bool = True,
    agent: str | None = None,
    base_url: str | None = None,
    llm_calls: int = LLM_CALLS,
    llm_tokens: int | None = None,
    llm_usd: float | None = LLM_USD,
    roles: str | Path | None = None,
    reading: Reading = PLAIN,
    executor: str = LOCAL,
    radius: float | None = None,
) -> RunSettings:
    """Check what a caller asked for and fill in what was left open.

    Raises
    ------
    SettingsError
        If a value is unknown or out of its range.
    ExportError
        If a pipeline to start from uses what the language in `operators` does not carry.
    """
    check_names(task, metric)
    _one_of("operators", operators, OPERATORS)
    check_score("target_score", target_score)
    for name, number in (("seconds", seconds), ("max_ms_per_mpx", max_ms_per_mpx)):
        if number is not None and not isfinite(number):
            raise SettingsError(f"{name} is {number}; it must be a finite number.")
    if max_ms_per_mpx is not None and max_ms_per_mpx <= 0:
        raise SettingsError(f"max_ms_per_mpx is {max_ms_per_mpx:g}; it must be positive.")
    check_caps(llm_calls, llm_tokens, llm_usd)
    begun = tuple(source if isinstance(source, Pipeline) else read_pipeline(source) for source in start)
    _check_start(begun, None if task in (AUTO, CLASSES) else kind_called(task))
    if operators in LANGUAGES:
        LANGUAGES[operators].check(begun)
    check_executor(executor, workers)
    workers = min(cores(), MOST_WORKERS) if workers is None else checked_workers(workers)
    if seconds is None and evaluations is None:
        seconds = USUAL_S
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
        start=begun,
        library=library,
        remember=remember and library != NONE,
        agent=None if agent == "none" else agent,
        base_url=base_url,
        llm_calls=llm_calls,
        llm_tokens=llm_tokens,
        llm_usd=llm_usd,
        roles=None if roles is None else str(Path(roles).expanduser().absolute()),
        reading=reading,
        executor=executor,
        radius=radius,
        equal_as_one=True,
        ipp=False,
    )


def check_caps(llm_calls: int, llm_tokens: int | None, llm_usd: float | None) -> None:
    """Refuse caps on a language model that are none.

    Raises
    ------
    SettingsError
        Naming the first.
    """
    for name, cap in (("llm_calls", llm_calls), ("llm_tokens", llm_tokens), ("llm_usd", llm_usd)):
        if cap is not None and not 0 <= cap < float("inf"):
            raise SettingsError(f"{name} is {cap}; it must be a number from 0.")


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


def moved(asked: RunSettings, executor: str | None, workers: int | None) -> RunSettings:
    """Return the settings with jobs done elsewhere, or by another number of processes here; None is as before.

    Raises
    ------
    SettingsError
        If the two do not go together, or one is none.
    """
    executor = asked.executor if executor is None else executor
    check_executor(executor, workers)
    return replace(asked, executor=executor, workers=asked.workers if workers is None else checked_workers(workers))


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _left_out(operators: str) -> frozenset[str]:
    """Return the default operators that a choice leaves out."""
    if operators not in LANGUAGES:
        return frozenset()
    return frozenset(op.name for op in registry.operators() if not LANGUAGES[operators].carry(op))


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
