"""Objects and points begin as masks: the first stage of their searches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evoseg.core.kinds import Kind
from evoseg.datasets.splits import Splits
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.context import SearchSettings
from evoseg.evolve.journal import END, RecordedClock, RecordedEvaluator
from evoseg.evolve.loop import FOREGROUND, Progress
from evoseg.evolve.ports import Scored
from evoseg.evolve.proposers.classics import chain
from evoseg.evolve.solve import Solution, solve
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.evolve.tasks.object_tasks import (
    ENDINGS,
    FOREGROUND_SHARE,
    N_CONTINUED,
    InstanceTask,
    PointTask,
    foreground_of,
    make_objects,
)
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step
from tests.evolve.test_instances import DATASET, ITEMS, SCENES
from tests.evolve.test_journal import Entries, Memory, told

N = 100
SETTINGS = SearchSettings(Budget(evaluations=N), seed=5, workers=0)
SPLITS = Splits(DATASET.stems[:4], (), DATASET.stems[4:])
MASK = chain(Pipeline([step("channel", IMAGE)]), [("level", {"level": 105, "polarity": "bright"})])


def searched(
    folder: Path,
    journal: Memory,
    inside: Callable[[RecordedClock, Any], Any] = lambda clock, evaluator: evaluator,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Solution:
    clock = RecordedClock(SETTINGS.budget)
    clock.follow(journal)

    def wrap_evaluator(name: str, evaluator: Any) -> RecordedEvaluator:
        return RecordedEvaluator(name, inside(clock, evaluator), clock)

    return solve(
        DATASET, SPLITS, InstanceTask(), SETTINGS, folder, clock, on_progress=watch, wrap_evaluator=wrap_evaluator
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Entries, dict[str, object], list[tuple[str, int, float]]]:
    """Return the journal of a search for objects, what it found, and what it told on the way."""
    journal, seen = Memory(), []
    solution = searched(
        tmp_path_factory.mktemp("whole"), journal, watch=lambda p: seen.append((p.stage, p.evaluations, p.best_score))
    )
    return journal.entries, told(solution), seen


def test_the_foreground_of_objects_is_scored_as_a_mask():
    task = foreground_of(InstanceTask())
    assert task is not None
    item = ITEMS[0]
    mask = np.zeros(item["labels"].shape, bool)
    mask[:, : mask.shape[1] // 2] = True
    expected = (mask & (item["labels"] > 0)).sum() / (mask | (item["labels"] > 0)).sum()
    assert task.score(task.judge(mask, task.target(item))) == pytest.approx(expected)
    assert task.score(task.judge(SCENES[0][1] > 0, task.target(item))) == 1


def test_what_is_a_mask_already_has_no_first_stage():
    assert foreground_of(BinaryTask()) is None


@pytest.mark.parametrize("task", [InstanceTask(), PointTask()])
def test_the_best_masks_of_distinct_structures_are_lifted(task):
    few = [Scored(MASK, np.zeros((2, 2)), np.array([s, s]), np.array([s, s])) for s in (0.2, 0.5)]
    programs = make_objects(few, task.output)
    assert len(programs) == len(ENDINGS[task.output]) <= N_CONTINUED * len(ENDINGS[task.output])
    assert all(p.output is task.output and p.steps[: len(MASK)] == MASK.steps for p in programs)


def test_masks_come_first_and_take_their_share_of_the_budget(whole):
    entries, found, seen = whole
    stages = [stage for stage, *_ in seen]
    first = stages.count(FOREGROUND)
    assert stages == [FOREGROUND] * first + [""] * (len(stages) - first) and 0 < first < len(stages)
    assert seen[first - 1][1] == round(FOREGROUND_SHARE * N)
    assert seen[-1][1] == N
    assert next(n for n, _ in found["history"]) > FOREGROUND_SHARE * N
    assert [h.about for h, _ in entries].count(END) == 2


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_in_either_stage_it_ends_as_if_undisturbed(whole, tmp_path, share):
    entries, expected, _ = whole
    journal = Memory(entries[: round(share * len(entries))])
    assert told(searched(tmp_path, journal)) == expected
    assert [h.about for h, _ in journal.entries] == [h.about for h, _ in entries]


def test_a_budget_too_small_to_share_goes_to_the_objects(tmp_path):
    settings = SearchSettings(Budget(evaluations=2), workers=0)
    solution = solve(DATASET, SPLITS, InstanceTask(), settings, tmp_path, Clock(settings.budget))
    assert (solution.progress.evaluations, solution.champion.scored.pipeline.output) == (2, Kind.LABELS)


class _Interrupting:
    """An evaluator during whose second question somebody presses Ctrl-C."""

    def __init__(self, clock: RecordedClock, evaluator: Any) -> None:
        self._clock = clock
        self._evaluator = evaluator
        self._n = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._evaluator, name)

    def evaluate(self, *arguments: Any, **named: Any) -> Any:
        self._n += 1
        if self._n == 2:
            self._clock.stop()
        return self._evaluator.evaluate(*arguments, **named)


@pytest.mark.e2e
def test_interrupted_among_the_masks_it_still_answers_with_objects_and_goes_on(whole, tmp_path):
    journal = Memory()
    (tmp_path / "cut").mkdir()
    solution = searched(tmp_path / "cut", journal, _Interrupting)
    assert solution.progress.stopped_by == "interrupt"
    assert solution.champion.scored.pipeline.output is Kind.LABELS
    assert solution.champion.scored.score > 0
    (tmp_path / "on").mkdir()
    assert told(searched(tmp_path / "on", Memory(journal.entries))) == whole[1]


def test_a_share_of_a_budget_is_no_reason_to_stop_at_a_score():
    clock = Clock(Budget(seconds=100, evaluations=50, target_score=0.5))
    assert clock.reason(10, 0.7) == "target-score"
    with clock.part(0.3):
        assert clock.reason(14, 0.7) is None
        assert clock.reason(15, 0.7) == "evaluations"
        assert clock.evaluations_left(10) == 5
    assert clock.reason(15, 0.4) is None
