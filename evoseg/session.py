"""One search from its settings to its files, and the same search once more to compare."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from evoseg.core.disk import expand
from evoseg.core.errors import EvosegError
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import Splits
from evoseg.evolve.advising import Adviser
from evoseg.evolve.context import ExecutorFactory
from evoseg.evolve.evaluation.evaluator import Evaluator
from evoseg.evolve.journal import (
    Difference,
    DiffersError,
    EndOfJournal,
    RecordedClock,
    RecordedEvaluator,
    ReplayChecker,
)
from evoseg.evolve.loop import Candidate, Progress
from evoseg.evolve.ports import KnownPlanes
from evoseg.evolve.proposers.warm_start import WarmStart
from evoseg.evolve.solve import Solution, solve
from evoseg.evolve.strategy import Strategy
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.inference.score import JudgedImage, judge_images
from evoseg.library.exchange import add_solved_or_warn, write_pending
from evoseg.llm.agent_session import AgentSession, replay_agent, run_agent
from evoseg.llm.calls import MemoryCallLog
from evoseg.metrics import METRIC_LABELS
from evoseg.operators import registry
from evoseg.pipeline import Pipeline, print_text
from evoseg.report.ending import result_of
from evoseg.report.figures import write_progress
from evoseg.report.page import as_row, gallery_stems, write_page
from evoseg.report.results import SearchResult
from evoseg.runs.code_files import write_sources
from evoseg.runs.control import RunLock, graceful_interrupt
from evoseg.runs.opening import dataset_name
from evoseg.runs.record import make_record
from evoseg.runs.run_file import RunFile, create_run, open_journal
from evoseg.runs.run_folder import (
    ANSWERS,
    CLASSES,
    CURVE,
    PIPELINE,
    REPORT,
    RESULT,
    TEST,
    RunFolder,
    create_run_folder,
    how_to_continue,
    refuse_run,
    scratch,
)
from evoseg.runs.settings import RunSettings
from evoseg.runs.status import ProgressCallback, Status
from evoseg.runs.stored import delete
from evoseg.runs.trained import RunTrainer, out_of_bag_planes

logger = logging.getLogger(__name__)

MOST_ON_SHEET = 40


@dataclass(frozen=True)
class Plan:
    """What a run will do, with everything decided that the caller left open.

    Attributes
    ----------
    settings : RunSettings
    dataset : Dataset
    splits : Splits
    """

    settings: RunSettings
    dataset: Dataset
    splits: Splits

    def begin(
        self, out: str | Path | None, *, overwrite: bool, drawn: bool = True, log: MemoryCallLog | None = None
    ) -> RunFolder:
        """Record the run, and return its folder.

        Parameters
        ----------
        out : path or None
        overwrite : bool
        drawn : bool
            Whether it gets a report and pictures.
        log : MemoryCallLog or None
            Calls of a language model before the search, which count as the run's.

        Raises
        ------
        EvosegError
            If the folder cannot be made, or holds a run already.
        """
        if overwrite and out and (classes := expand(out) / CLASSES).is_file():
            delete(classes.parent)  # commands that are given the folder would go on to find the runs of the classes
        folder = replace(create_run_folder(dataset_name(self.dataset), out, overwrite=overwrite), drawn=drawn)
        with RunLock(folder.path):
            refuse_run(folder.path, overwrite=overwrite)  # another search may have begun there meanwhile
            try:
                folder.clear(database=True)
                write_sources(self.settings.code, folder.path)
                record = make_record(folder.id, self.settings, self.dataset, self.splits)
                create_run(folder.path, record, (log or MemoryCallLog()).insert_into)
            except BaseException:
                folder.drop()
                raise
        return folder


class Session:
    """One search in a run's folder.

    Parameters
    ----------
    plan : Plan
    folder : RunFolder
        Of the run, which has been recorded.
    clock : RecordedClock
        Started by the caller, so that its own preparations count.
    make_executor : callable or None
        Makes the executor of the jobs; None for processes on this machine.
    agent : AgentSession or None
        The language model, if one proposes.
    progress : callable or None
        Called with a `Status` after each generation.
    """

    def __init__(
        self,
        plan: Plan,
        folder: RunFolder,
        clock: RecordedClock,
        *,
        make_executor: ExecutorFactory | None = None,
        agent: AgentSession | None = None,
        progress: ProgressCallback | None = None,
    ) -> None:
        self._plan = plan
        self._settings = plan.settings
        self._dataset = plan.dataset
        self._folder = folder
        self._clock = clock
        self._make_executor = make_executor
        self._agent = agent
        self._progress = progress or (lambda status: None)
        self._warm = WarmStart(plan.settings.offers, plan.settings.seconds)
        self._seen = Progress()
        self._seconds = 0.0
        self._stopped = Event()
        self._saved = False

    @property
    def evaluated(self) -> bool:
        """Whether there are results that are worth keeping."""
        return self._seen.evaluations > 0

    def run(self, lock: RunLock) -> SearchResult:
        """Search from where the run's journal ends, choose, test, and write the files."""
        settings, splits = self._settings, self._plan.splits
        try:
            with open_journal(self._folder.path, write=True) as journal, scratch() as packs:
                lock.write_owner(scratch=packs)
                self._clock.follow(journal)
                with (
                    run_agent(
                        self._agent, settings, self._folder.path, self._dataset, splits, self._clock, self._on_wait
                    ),
                    graceful_interrupt(self._clock, lambda: self._report_progress("choosing")) as self._stopped,
                ):
                    return self._search(journal, Path(packs))
        except BaseException as error:
            if self._saved:
                error.add_note(f"the results so far are in {self._folder.path}")
            if self.evaluated or isinstance(error, KeyboardInterrupt):
                error.add_note(how_to_continue(self._folder.name))
            raise

    def replay(self) -> tuple[int, int, Difference | None]:
        """Search again as the run did, and return how many entries and answers were compared, and what differs first.

        Raises
        ------
        KeyboardInterrupt
            At the first Ctrl-C.
        """
        # What the model has said is in the journal; nobody is asked.
        advisers = [replay_agent(self._clock)] if self._settings.agent else []
        difference = None
        with (
            open_journal(self._folder.path) as journal,
            scratch() as packs,
            graceful_interrupt(self._clock) as self._stopped,
        ):
            self._clock.follow(journal, extend=False)
            try:
                self._solve(Path(packs), ReplayChecker, advisers, lambda candidates: None)
            except EndOfJournal:
                pass
            except DiffersError as error:
                difference = error.difference
            except EvosegError as error:
                if self._clock.stopped:
                    raise KeyboardInterrupt from error
                raise
            if self._clock.stopped:
                raise KeyboardInterrupt
        return self._clock.n_taken, self._clock.n_answers, difference

    def _solve(
        self,
        packs: Path,
        witness: type[RecordedEvaluator] | type[ReplayChecker],
        advisers: Sequence[Adviser],
        on_decided: Callable[[Sequence[Candidate]], None],
    ) -> Solution:
        """Search, choose and test; `witness` records what is evaluated, or compares it with the journal."""

        def wrap_evaluator(name: str, evaluator: Evaluator) -> Evaluator:
            return witness(name, evaluator, self._clock)

        with registry.with_ipp(self._settings.early):
            return solve(
                self._dataset,
                self._plan.splits,
                self._settings.make_task(),
                self._settings.search_settings(),
                packs,
                self._clock,
                on_progress=self._on_generation,
                on_decided=on_decided,
                on_training=self._on_training,
                on_chosen=self._on_chosen if witness is RecordedEvaluator else lambda answers, recommended: None,
                wrap_evaluator=wrap_evaluator,
                strategy=Strategy(self._warm, tuple(dict.fromkeys(admitted.name for admitted in self._settings.code))),
                advisers=advisers,
                trainer=RunTrainer(self._folder.path, self._settings, self._clock) if self._settings.networks else None,
                make_executor=self._make_executor,
            )

    def _search(self, journal: RunFile, packs: Path) -> SearchResult:
        try:
            advisers = self._agent.advisers if self._agent is not None else ()
            solution = self._solve(packs, RecordedEvaluator, advisers, journal.add_candidates)
        except EvosegError as error:
            if self._stopped.is_set() and not self._seen.best:
                raise KeyboardInterrupt from error
            raise
        with registry.with_ipp(self._settings.early):
            found = self._finish(replace(solution, reproducible=solution.reproducible and not self._clock.killed))
            if self._is_final(solution):
                self._end(journal, solution)
        return found

    def _is_final(self, solution: Solution) -> bool:
        """Return whether there is nothing left to resume."""
        return solution.progress.stopped_by != "interrupt" and not self._clock.withheld

    def _end(self, journal: RunFile, solution: Solution) -> None:
        """Note that all is done, and add the task to the library; after a kill in between, a later command adds it."""
        pending = write_pending(
            self._folder,
            self._settings,
            self._dataset,
            solution,
            self._warm,
            {} if self._agent is None else self._agent.macros,
        )
        journal.finish()
        if pending is not None:
            add_solved_or_warn(pending, self._folder.word)

    def _on_generation(self, progress: Progress) -> None:
        self._seen = progress
        if not self._stopped.is_set():
            self._report_progress("resuming" if self._clock.replaying else "searching")

    def _on_training(self, progress: Progress, share: float) -> None:
        self._seen = progress
        if not self._stopped.is_set():
            self._report_progress("training", share)

    def _on_wait(self, waiting: bool) -> None:
        if not self._stopped.is_set():
            self._report_progress("waiting" if waiting else "searching")

    def _on_chosen(self, answers: Mapping[str, Pipeline], recommended: str) -> None:
        """Write the best pipelines, before any test image is opened."""
        self._seconds = self._clock.seconds
        if self._agent is not None:
            self._agent.close()
        self._folder.clear()
        names = {ANSWERS[name]: pipeline for name, pipeline in answers.items()} if len(answers) > 1 else {}
        for name, pipeline in {PIPELINE: answers[recommended], **names}.items():
            if not self._settings.kind.own:
                pipeline = pipeline.for_images(self._dataset.image_format(self._plan.splits.search))
            first, rest = print_text(pipeline).split("\n", 1)
            self._folder.write(name, f"{first}\n{self._settings.reading.mark()}{rest}")
        self._saved = True
        self._report_progress("proving")

    def _report_progress(self, doing: str, share: float = 0.0) -> None:
        seen, settings, seconds = self._seen, self._settings, self._clock.seconds
        left = None if settings.evaluations is None else max(0, settings.evaluations - seen.evaluations)
        self._progress(
            Status(
                doing=doing,
                seconds=seconds,
                evaluations=seen.evaluations,
                best=seen.best_score,
                length=len(max(seen.best, key=lambda s: s.score).pipeline) if seen.best else 0,
                seconds_left=None if settings.seconds is None else max(0.0, settings.seconds - seconds),
                evaluations_left=left,
                task=seen.stage or settings.task,
                metric=BinaryTask().metric if seen.stage else settings.score,
                agent=None if self._agent is None else self._agent.status(seen),
                share=share,
            )
        )

    def _finish(self, solution: Solution) -> SearchResult:
        """Score the best pipeline by every metric, and write the result and the report."""
        pipeline, stems = solution.champion.scored.pipeline, solution.tested or self._plan.splits.search
        scores = dict(zip(stems, self._task_scores(solution), strict=True))
        planes = self._known_planes(solution)
        gallery = gallery_stems(scores) if self._folder.drawn else []
        worst = sorted(stems, key=lambda stem: scores[stem])[:MOST_ON_SHEET] if self._folder.drawn else []
        rows, shown, metrics, detections = {}, [], {}, {}
        for one in self._judge_images(pipeline, stems, planes):
            stem = one.sample.stem
            metrics[stem] = one.scores
            if one.detections is not None:
                detections[stem] = one.detections
            if not np.isclose(here := one.scores[self._settings.score], scores[stem]):
                logger.warning("%s scored %g in the report, but %g in the search", stem, here, scores[stem])
            if stem in worst:
                rows[stem] = as_row(one, scores[stem])
            if stem in gallery:
                shown.append(one)
        result = result_of(
            solution,
            self._folder,
            self._dataset,
            self._settings,
            all_metrics=metrics if solution.tested else {},
            detections=detections if solution.tested else {},
            warm=self._warm,
            seconds=self._seconds,
            seconds_in_all=self._clock.seconds,
            llm=None if self._agent is None else self._agent.as_json(solution),
            final=self._is_final(solution),
        )
        self._folder.write(RESULT, json.dumps(result.to_json(), indent=1, allow_nan=False) + "\n")
        if self._folder.drawn:
            others = [answer for answer in solution.answers.values() if answer is not solution.best]
            beside = [one for other in others for one in self._judge_images(other.pipeline, gallery, planes)]
            self._draw(result, solution, [rows[stem] for stem in worst], shown, beside, planes)
        return result

    def _known_planes(self, solution: Solution) -> KnownPlanes:
        """Return what networks give for the images that are shown."""
        if solution.tested:
            return solution.planes
        accurate = None if solution.accurate is None else solution.accurate.pipeline
        return out_of_bag_planes(self._folder.path, accurate, self._plan.splits.search)

    def _draw(
        self,
        result: SearchResult,
        solution: Solution,
        rows: Sequence[Any],
        shown: Sequence[JudgedImage],
        beside: Sequence[JudgedImage],
        planes: KnownPlanes,
    ) -> None:
        """Write the contact sheet, the curve and the report."""
        from evoseg.drawing import write_contact_sheet

        word, scores = METRIC_LABELS[self._settings.score], list(result.scores_per_image.values())
        title = _sheet_title(
            result.dataset, len(scores), len(rows), float(np.mean(scores)), word, bool(solution.tested)
        )
        write_contact_sheet(rows, self._folder.path / TEST, title=title, metric=word)
        write_progress(_to_the_end(solution.progress), self._folder.path / CURVE, word)
        write_page(result, shown, self._folder.path / REPORT, beside=beside, planes=planes)

    def _judge_images(self, pipeline: Pipeline, stems: Sequence[str], planes: KnownPlanes) -> Iterator[JudgedImage]:
        settings = self._settings
        threads = max(1, settings.workers)
        return judge_images(
            pipeline, self._dataset, stems, threads, kind=settings.kind, radius=settings.radius, planes=planes
        )

    def _task_scores(self, solution: Solution) -> list[float]:
        """Return the best pipeline's scores on the test images, or on the search images if none was scored."""
        scored = solution.champion.scored
        if not solution.tested:
            return [float(score) for score in scored.scores]
        return [float(s) for s in self._settings.make_task().score(solution.test[scored.pipeline])]


def _to_the_end(progress: Progress) -> list[tuple[int, float, float]]:
    """Return the history with one more entry for the end of the search."""
    return [*progress.history, *((progress.evaluations, s, best) for _, s, best in progress.history[-1:])]


def _sheet_title(dataset: str, n: int, shown: int, score: float, metric: str, on_test: bool) -> str:
    """Return the title of a contact sheet."""
    some = f"the worst {shown} of {n}" if shown < n else f"{n}"
    if on_test:
        return f"{dataset}: {some} test images, worst first; mean {metric} {score:.2f}"
    return f"{dataset}: {some} search images, worst first; mean {metric} {score:.2f}, no test images"
