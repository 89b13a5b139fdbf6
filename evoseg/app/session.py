"""One search, from its settings to its files."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np

from evoseg.app.agents import Staff, at_work
from evoseg.app.found import Finished, Found
from evoseg.app.reporting import as_row, gallery_stems, write_page
from evoseg.app.runs import CURVE, PIPELINE, REPORT, RESULT, TEST, RunFolder, scratch
from evoseg.app.scoring import Judged, judged
from evoseg.app.settings import RunSettings
from evoseg.app.solved import remember_or_say, to_remember
from evoseg.app.status import Status, Watch
from evoseg.app.stopping import stoppable
from evoseg.app.words import METRIC_WORDS, sheet_title
from evoseg.base.errors import EvosegError
from evoseg.data.dataset import Dataset
from evoseg.data.splits import Splits
from evoseg.evolve.binary import BinaryTask
from evoseg.evolve.evaluator import AnyEvaluator
from evoseg.evolve.jobs import Executor
from evoseg.evolve.journal import Recorded, RecordedClock
from evoseg.evolve.method import USUAL
from evoseg.evolve.search import Progress
from evoseg.evolve.solve import Hire, Solution, solve
from evoseg.library.describing import Description
from evoseg.library.warm import WarmStart, with_warm_start
from evoseg.operators import registry
from evoseg.pipeline import Pipeline, print_text
from evoseg.store.lock import RunLock
from evoseg.store.runs import RunFile, open_journal

logger = logging.getLogger(__name__)

MOST_ON_SHEET = 40


class Session:
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
        hire: Hire | None = None,
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
        self._warm = WarmStart(asked.offers, asked.seconds)
        self._description = description
        self._hire = hire

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
                    registry.with_ipp(self._asked.ipp),
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
                hire=self._hire,
            )
        except EvosegError as error:
            if self._stopped.is_set() and not self._seen.best:
                raise KeyboardInterrupt from error
            raise
        found = self._finish(replace(solution, reproducible=solution.reproducible and not self._clock.killed))
        if self._is_final(solution):
            self._end(journal, solution)
        return found

    def _is_final(self, solution: Solution) -> bool:
        """Return whether there is nothing left to resume."""
        return solution.progress.stopped_by != "interrupt" and not self._clock.withheld

    def _end(self, journal: RunFile, solution: Solution) -> None:
        """Note that all is done, and tell the library; after a kill in between, a later command tells it."""
        macros = {} if self._staff is None else self._staff.macros
        pending = to_remember(self._folder, self._asked, self._dataset, solution, self._warm, self._description, macros)
        journal.finish()
        if pending is not None:
            remember_or_say(pending, self._folder.name)

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
        if not self._asked.kind.own:
            pipeline = pipeline.for_images(self._dataset.image_format(self._splits.search))
        first, rest = print_text(pipeline).split("\n", 1)
        self._folder.write(PIPELINE, f"{first}\n{self._asked.reading.mark()}{rest}")
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
                task=seen.stage or asked.task,
                metric=BinaryTask().metric if seen.stage else asked.score,
                agent=None if self._staff is None else self._staff.status(seen),
            )
        )

    def _finish(self, solution: Solution) -> Found:
        from evoseg.report.curve import curve
        from evoseg.report.sheet import Row, contact_sheet

        pipeline, on_test = solution.champion.scored.pipeline, bool(solution.tested)
        stems = solution.tested or self._splits.search
        scores = dict(zip(stems, self._task_scores(solution), strict=True))
        worst = sorted(stems, key=lambda stem: scores[stem])[:MOST_ON_SHEET]
        gallery = gallery_stems(scores)
        rows: dict[str, Row] = {}
        shown: list[Judged] = []
        metrics: dict[str, dict[str, float]] = {}
        metric = self._asked.score
        for found in self._judged(pipeline, stems):
            stem = found.sample.stem
            metrics[stem] = found.scores
            if not np.isclose(here := found.scores[metric], scores[stem]):
                logger.warning("%s scored %g here and %g in the search", stem, here, scores[stem])
            if stem in worst:
                rows[stem] = as_row(found, scores[stem])
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
            final=self._is_final(solution),
        )
        result = finished.found()
        self._folder.write(RESULT, json.dumps(result.result, indent=1, allow_nan=False) + "\n")
        word = METRIC_WORDS[metric]
        title = sheet_title(finished.name, len(stems), len(worst), float(np.mean(list(scores.values()))), word, on_test)
        contact_sheet([rows[stem] for stem in worst], self._folder.path / TEST, title=title, metric=word)
        curve(_to_the_end(solution.progress), self._folder.path / CURVE, metric=word)
        write_page(result, shown, self._folder.path / REPORT)
        return result

    def _judged(self, pipeline: Pipeline, stems: Sequence[str]) -> Iterator[Judged]:
        asked = self._asked
        threads = max(1, asked.workers)
        return judged(pipeline, self._dataset, stems, threads, kind=asked.kind, radius=asked.radius)

    def _task_scores(self, solution: Solution) -> list[float]:
        """Return the champion's scores on the test images, or on the search images if none was scored."""
        scored = solution.champion.scored
        if not solution.tested:
            return [float(score) for score in scored.scores]
        return [float(s) for s in self._asked.the_task().score(solution.test[scored.pipeline])]


def _to_the_end(progress: Progress) -> list[tuple[int, float, float]]:
    """Return the history with one more entry for the end of the search."""
    return [*progress.history, *((progress.evaluations, s, best) for _, s, best in progress.history[-1:])]
