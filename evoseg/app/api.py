"""Search from Python: from images and masks to a proven pipeline, in one call, and on from where a run was cut."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import numpy as np

from evoseg.app.agents import AgentStatus, Staff, at_work, staff_of
from evoseg.app.datasets import Data, opened
from evoseg.app.found import Finished, Found, name_of
from evoseg.app.pipelines import check_channels
from evoseg.app.recording import (
    data_of,
    record_of,
    refuse_other_dataset,
    refuse_other_operators,
    remove_scratch,
    scratch,
    settings_of,
)
from evoseg.app.reporting import gallery_stems, write_page
from evoseg.app.runs import CURVE, PIPELINE, REPORT, RESULT, TEST, FilesError, RunFolder, open_run, run_folder
from evoseg.app.scoring import Judged, judged
from evoseg.app.settings import DEFAULT, LLM_CALLS, LLM_USD, RunSettings, Start, checked_workers, run_settings
from evoseg.app.solved import remember as remember_task
from evoseg.app.solved import retrieved
from evoseg.app.stopping import stoppable
from evoseg.app.tasks import decided
from evoseg.app.words import METRIC_WORDS, sheet_title
from evoseg.base.errors import EvosegError
from evoseg.data.checking import report_of
from evoseg.data.dataset import Dataset
from evoseg.data.splits import Splits
from evoseg.data.splits import split as split_of
from evoseg.evolve.evaluator import AnyEvaluator
from evoseg.evolve.jobs import Executor
from evoseg.evolve.journal import Recorded, RecordedClock
from evoseg.evolve.method import USUAL
from evoseg.evolve.search import Progress
from evoseg.evolve.solve import RESERVE_S, Solution, solve
from evoseg.library.describing import Description
from evoseg.library.warm import WarmStart, with_warm_start
from evoseg.pipeline import Pipeline, print_text
from evoseg.store.lock import RunLock
from evoseg.store.runs import RunFile, create_run, open_journal, read_run

logger = logging.getLogger(__name__)

MOST_ON_SHEET = 40
MOST_WARNINGS = 5


@dataclass(frozen=True)
class Status:
    """How far a search is.

    Attributes
    ----------
    doing : str
        "resuming" (what an earlier process has found is told again), "searching", "choosing" (after the first Ctrl-C)
        or "proving".
    seconds : float, s
        Since the call.
    evaluations : int
    best : float
        Best mean score on the search images; minus infinity before the first.
    length : int
        Steps of the pipeline that leads.
    seconds_left, evaluations_left : float and int, or None
        Of the budget; None where that has no limit.
    task, metric : str
        What is searched for, and what `best` is.
    agent : AgentStatus or None
        What a language model has done so far; None without one.
    """

    doing: str
    seconds: float
    evaluations: int
    best: float
    length: int
    seconds_left: float | None
    evaluations_left: int | None
    task: str
    metric: str
    agent: AgentStatus | None = None


Watch = Callable[[Status], None]


def search(
    data: Data,
    *,
    metric: str | None = None,
    task: str = "auto",
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
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Watch | None = None,
) -> Found:
    """Search for a pipeline that segments images like these, and prove it on images that the search never saw.

    Parameters
    ----------
    data : path, Dataset, or (images, masks)
        A folder with images/ and masks/; or arrays, in order or by name.
    metric : str, optional
        What to maximise: iou, dice, mcc, f_beta, boundary_f or buffered_iou of foreground; ap50, ap or pq of instances;
        f1 or f2 of points, within 6 px. By default the first of the task.
    task : str
        "binary", "instances" or "points"; "auto" for what the metric scores, or else for what the dataset sets.
    seconds, evaluations, target_score : optional
        When to end: wall time, candidates scored, or a score reached on the search images; 60 s if neither time nor
        evaluations are given. Only a budget of evaluations gives the same result on every machine.
    seed : int
        Of the search. The split into search and test images does not depend on it.
    workers : int, optional
        Processes, by default one per core; 0 runs everything in this one, for debugging.
    operators : str
        "all" adds operators that need scikit-image; pipelines with those cannot be exported. "cpp" leaves out those
        that exported C++ files do not carry.
    start : iterable of Pipeline, path or str
        Programs to begin with.
    max_ms_per_mpx : float, optional
        Highest modelled cost of the pipeline, in ms per megapixel.
    library : str
        Where the solved tasks are that the search begins with, beside those that come with evoseg: "default" for
        $EVOSEG_HOME/library.db, a SQLite file, the URL of a PostgreSQL database, or "none" for a cold start.
    remember : bool
        Whether the library keeps this task, once it is solved.
    agent, base_url : str, optional
        A language model that proposes programs beside the search, as "openai:MODEL", and where it is, if not at
        OpenAI. Its key comes from the environment: OPENAI_API_KEY.
    llm_calls, llm_tokens, llm_usd : optional
        Caps on what it may cost. Where its price is unknown, tokens are capped instead of money.
    roles : path, optional
        Folder with roles that replace evoseg's own or join them (agents/README.md).
    out : path, optional
        Folder for the files of this run; by default a new one under $EVOSEG_HOME/runs.
    overwrite : bool
        Whether `out` may hold the files of another run.
    progress : callable, optional
        Called with a `Status` after each generation.

    Returns
    -------
    Found
        After Ctrl-C, too: the first ends the search with the best so far, the second raises KeyboardInterrupt. After
        either, and after a kill, `resume` goes on.

    Raises
    ------
    EvosegError
        For faults of the dataset (DatasetError), of a setting (SettingsError) or of the place for the files, or if
        the search ended before any candidate was scored.
    """
    asked = run_settings(
        metric=metric,
        task=task,
        seconds=seconds,
        evaluations=evaluations,
        target_score=target_score,
        seed=seed,
        workers=workers,
        operators=operators,
        start=start,
        max_ms_per_mpx=max_ms_per_mpx,
        library=library,
        remember=remember,
        agent=agent,
        base_url=base_url,
        llm_calls=llm_calls,
        llm_tokens=llm_tokens,
        llm_usd=llm_usd,
        roles=roles,
    )
    staff = staff_of(asked)
    clock = RecordedClock(asked.search_settings().budget, RESERVE_S)
    dataset = opened(data)
    kind, metric, choice = decided(asked.task, asked.metric, dataset)
    asked = asked.decided(kind, metric)
    for pipeline in asked.start:
        check_channels(pipeline, len(dataset.channels), f"{dataset.title}, with a pipeline to start from")
    splits = split_of(dataset)
    _warn(dataset)
    asked, description = retrieved(asked, dataset, splits)
    if not choice.certain:
        logger.warning("the task is taken to be %s, since %s; --task says otherwise", choice.task, choice.why)
    folder = open_run(name_of(dataset), out, overwrite=overwrite)
    the_search = _Search(asked, clock, dataset, splits, folder, progress, staff, description)
    with RunLock(folder.path) as lock:
        try:
            folder.clear()
            create_run(folder.path, record_of(folder.id, asked, dataset, splits))
            return the_search.run(lock)
        except Exception:
            if not the_search.evaluated:
                folder.drop()
            raise


def resume(
    run: str | Path, data: Data | None = None, *, workers: int | None = None, progress: Watch | None = None
) -> Found:
    """Go on with a run that was interrupted or killed, to what it would have found undisturbed.

    With a budget of evaluations that is the same to the last bit; of one in seconds, what is left is searched.

    Parameters
    ----------
    run : str or path
        Id or folder of the run.
    data : path, Dataset, or (images, masks), optional
        Its dataset, if that has moved or was given as arrays.
    workers : int, optional
        Processes, by default as many as before; the result does not depend on it.
    progress : callable, optional
        Called with a `Status` after each generation.

    Returns
    -------
    Found

    Raises
    ------
    EvosegError
        If there is no such run, another process is searching in it, it is done, or its dataset or the operators have
        changed since.
    """
    folder = run_folder(run)
    record = read_run(folder.path)
    with RunLock(folder.path) as lock:
        remove_scratch(lock.left)
        if read_run(folder.path).finished:
            raise FilesError(f"{folder.name}: this run is done; `evoseg runs show {folder.name}` shows what it found.")
        refuse_other_operators(record)
        asked = settings_of(record)
        asked = asked if workers is None else replace(asked, workers=checked_workers(workers))
        staff = staff_of(asked)
        clock = RecordedClock(asked.search_settings().budget, RESERVE_S)
        dataset = opened(data_of(record, data))
        splits = split_of(dataset)
        refuse_other_dataset(record, dataset, splits)
        return _Search(asked, clock, dataset, splits, replace(folder, id=record.id), progress, staff).run(lock)


def _warn(dataset: Dataset) -> None:
    """Log what a check of the folder warns of, the first few."""
    warnings = report_of(dataset).warnings if dataset.root else ()
    for warning in warnings[:MOST_WARNINGS]:
        logger.warning("%s", warning)
    if len(warnings) > MOST_WARNINGS:
        logger.warning("and %d more; `evoseg check %s` shows all", len(warnings) - MOST_WARNINGS, dataset.root)


class _Search:
    """One search from its settings to its files."""

    def __init__(
        self,
        asked: RunSettings,
        clock: RecordedClock,
        dataset: Dataset,
        splits: Splits,
        folder: RunFolder,
        watch: Watch | None,
        staff: Staff | None,
        description: Description | None = None,
    ) -> None:
        self._asked = asked
        self._clock = clock
        self._dataset = dataset
        self._splits = splits
        self._folder = folder
        self._watch = watch or (lambda status: None)
        self._staff = staff
        self._seen = Progress()
        self._seconds = 0.0
        self._stopped = Event()
        self._saved = False
        self._warm = WarmStart(asked.offers)
        self._description = description

    @property
    def evaluated(self) -> bool:
        """Whether anything has been found out that is worth keeping."""
        return self._seen.evaluations > 0

    def run(self, lock: RunLock) -> Found:
        """Search from wherever the run's journal ends, prove, write."""
        try:
            with open_journal(self._folder.path, write=True) as journal, scratch() as packs:
                lock.say(scratch=packs)
                self._clock.follow(journal)
                with (
                    at_work(self._staff, self._asked, self._folder.path, self._dataset, self._splits, self._clock),
                    stoppable(self._clock, lambda: self._tell("choosing")) as self._stopped,
                ):
                    return self._run(journal, Path(packs))
        except BaseException as error:
            if self._saved:
                error.add_note(f"what was found until then is in {self._folder.path}")
            if self.evaluated or isinstance(error, KeyboardInterrupt):
                error.add_note(f"go on with: evoseg runs resume {self._folder.name}")
            raise

    def _run(self, journal: RunFile, packs: Path) -> Found:
        try:
            solution = solve(
                self._dataset,
                self._splits,
                self._asked.the_task(),
                self._asked.search_settings(),
                packs,
                self._clock,
                self._generation,
                self._chosen,
                self._recorded,
                replace(USUAL, proposers=with_warm_start(self._warm)),
                guests=self._staff.guests if self._staff is not None else (),
            )
        except EvosegError as error:
            if self._stopped.is_set() and not self._seen.best:
                raise KeyboardInterrupt from error
            raise
        found = self._finish(replace(solution, reproducible=solution.reproducible and not self._clock.killed))
        if solution.progress.stopped_by != "interrupt":
            journal.finish()
            if self._asked.remember:
                remember_task(self._asked, self._dataset, solution, self._warm, self._description)
        return found

    def _recorded(self, name: str, evaluator: AnyEvaluator, executor: Executor) -> AnyEvaluator:
        return Recorded(name, evaluator, executor, self._clock)

    def _generation(self, progress: Progress) -> None:
        self._seen = progress
        if not self._stopped.is_set():
            self._tell("resuming" if self._clock.replaying else "searching")

    def _chosen(self, pipeline: Pipeline) -> None:
        """Write the champion, before any test image is opened."""
        self._seconds = self._clock.seconds
        if self._staff is not None:
            self._staff.close()
        self._folder.clear()
        self._folder.write(PIPELINE, print_text(pipeline))
        self._saved = True
        self._tell("proving")

    def _tell(self, doing: str) -> None:
        seen, asked, seconds = self._seen, self._asked, self._clock.seconds
        self._watch(
            Status(
                doing=doing,
                seconds=seconds,
                evaluations=seen.evaluations,
                best=seen.best_score,
                length=len(max(seen.best, key=lambda s: s.score).pipeline) if seen.best else 0,
                seconds_left=None if asked.seconds is None else max(0.0, asked.seconds - seconds),
                evaluations_left=None if asked.evaluations is None else max(0, asked.evaluations - seen.evaluations),
                task=asked.task,
                metric=asked.score,
                agent=None if self._staff is None else self._staff.status(seen),
            )
        )

    def _finish(self, solution: Solution) -> Found:
        from evoseg.report.curve import curve
        from evoseg.report.overlays import drawable
        from evoseg.report.sheet import Row, contact_sheet

        pipeline, on_test = solution.champion.scored.pipeline, bool(self._splits.test)
        stems = self._splits.test or self._splits.search
        scores = dict(zip(stems, self._task_scores(solution), strict=True))
        worst = sorted(stems, key=lambda stem: scores[stem])[:MOST_ON_SHEET]
        gallery = gallery_stems(scores)
        rows: dict[str, Row] = {}
        shown: list[Judged] = []
        metrics: dict[str, dict[str, float]] = {}
        metric = self._asked.score
        for found in judged(pipeline, self._dataset, stems, max(1, self._asked.workers)):
            stem = found.sample.stem
            metrics[stem] = found.scores
            if not np.isclose(here := found.scores[metric], scores[stem]):
                logger.warning("%s scored %g here and %g in the search", stem, here, scores[stem])
            if stem in worst:
                answer, truth = (drawable(a, found.sample.image.shape) for a in (found.answer, found.truth))
                rows[stem] = Row(stem, found.sample.image, answer, truth, scores[stem])
            if stem in gallery:
                shown.append(found)
        finished = Finished(
            folder=self._folder,
            dataset=self._dataset,
            settings=self._asked,
            solution=solution,
            all_metrics=metrics if on_test else {},
            warm=self._warm,
            seconds=self._seconds,
            seconds_in_all=self._clock.seconds,
            llm=None if self._staff is None else self._staff.as_json(solution),
        )
        result = finished.found()
        self._folder.write(RESULT, json.dumps(result.result, indent=1, allow_nan=False) + "\n")
        word = METRIC_WORDS[metric]
        title = sheet_title(finished.name, len(stems), len(worst), float(np.mean(list(scores.values()))), word, on_test)
        contact_sheet([rows[stem] for stem in worst], self._folder.path / TEST, title=title, metric=word)
        curve(_to_the_end(solution.progress), self._folder.path / CURVE, metric=word)
        write_page(result, shown, self._folder.path / REPORT)
        return result

    def _task_scores(self, solution: Solution) -> list[float]:
        """Return the champion's scores on the test images, or on the search images if there are none."""
        scored = solution.champion.scored
        if not self._splits.test:
            return [float(score) for score in scored.scores]
        return [float(s) for s in self._asked.the_task().score(solution.test[scored.pipeline])]


def _to_the_end(progress: Progress) -> list[tuple[int, float, float]]:
    """Return the history with one more entry for the end of the search."""
    return [*progress.history, *((progress.evaluations, s, best) for _, s, best in progress.history[-1:])]
