"""A search told the same does the same: cut anywhere, interrupted anywhere, it ends as if nothing had happened."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import Splits
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.context import EvaluatorWrapper, SearchSettings
from evoseg.evolve.journal import (
    END,
    Answer,
    DiffersError,
    EndOfJournal,
    Heading,
    JournalError,
    RecordedClock,
    RecordedEvaluator,
    ReplayChecker,
)
from evoseg.evolve.ports import Failed, Scored, Task
from evoseg.evolve.solve import Solution, solve
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.pipeline import Pipeline
from tests.evolve.helpers import FickleTask, discs, marking

ITEMS = discs(9, shape=(40, 51))
NAMES = [f"{i:03}" for i in range(9)]
DATASET = Dataset.from_arrays([i["image"] for i in ITEMS], [i["mask"] for i in ITEMS], names=NAMES)
SPLITS = Splits(("000", "001", "002", "003"), ("004", "005", "006"), ("007", "008"))
SETTINGS = SearchSettings(Budget(evaluations=130), workers=0)
TASK = BinaryTask()

Entries = list[tuple[Heading, list[Answer]]]


class Memory:
    """A journal in a list."""

    def __init__(self, entries: Entries = ()) -> None:
        self.entries: Entries = list(entries)
        self._n_old = len(self.entries)
        self._taken = 0

    def peek(self) -> Heading | None:
        return self.entries[self._taken][0] if self._taken < self._n_old else None

    def next_entry(self, programs: Sequence[Pipeline]) -> list[Answer]:
        self._taken += 1
        return list(self.entries[self._taken - 1][1])

    def add(self, heading: Heading, answers: Sequence[Answer]) -> None:
        self.entries.append((heading, list(answers)))

    def cut(self) -> None:
        self._taken -= 1
        self._n_old = self._taken
        del self.entries[self._taken :]


def solved(
    folder: Path, clock: Clock, wrap_evaluator: EvaluatorWrapper, chosen: SearchSettings = SETTINGS, task: Task = TASK
) -> Solution:
    return solve(DATASET, SPLITS, task, chosen, folder, clock, wrap_evaluator=wrap_evaluator)


def recorded(
    folder: Path,
    journal: Memory,
    inside: Callable[[RecordedClock, Any], Any] = lambda clock, evaluator: evaluator,
    chosen: SearchSettings = SETTINGS,
    task: Task = TASK,
) -> Solution:
    """Solve with a journal; `inside` may put something between the recording and the evaluator."""
    clock = RecordedClock(chosen.budget)
    clock.follow(journal)

    def wrap_evaluator(name: str, evaluator: Any) -> RecordedEvaluator:
        return RecordedEvaluator(name, inside(clock, evaluator), clock)

    return solved(folder, clock, wrap_evaluator, chosen, task)


def told(solution: Solution) -> dict[str, object]:
    return {
        "champion": (solution.champion.scored.pipeline.digest, solution.champion.role),
        "finalists": [(f.scored.pipeline.digest, f.role, f.selection.tobytes()) for f in solution.finalists],
        "expected": solution.expected.tobytes(),
        "test": {p.digest: s.tobytes() for p, s in solution.test.items()},
        "history": [(n, score) for n, _, score in solution.progress.history],
        "front": [(s.pipeline.digest, s.answer, s.scores.tobytes()) for s in solution.progress.front.members],
        "stopped_by": solution.progress.stopped_by,
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Entries, dict[str, object]]:
    """Return the journal of an undisturbed search and what it found; tests read only."""
    journal = Memory()
    solution = recorded(tmp_path_factory.mktemp("whole"), journal)
    return journal.entries, told(solution)


def test_recording_changes_nothing(whole, tmp_path):
    assert told(solved(tmp_path, Clock(SETTINGS.budget), lambda name, evaluator: evaluator)) == whole[1]
    about = [heading.about for heading, _ in whole[0]]
    assert about.count(END) == 1
    ending = about[about.index(END) :]
    assert ending == [END, "finalists.evaluate", "selection.judge", "test.judge"]


@pytest.mark.e2e
@settings(max_examples=8)
@given(data=st.data())
def test_cut_anywhere_it_ends_as_if_undisturbed(whole, tmp_path_factory, data):
    entries, expected = whole
    journal = Memory(entries[: data.draw(st.integers(0, len(entries)), "entries left")])
    assert told(recorded(tmp_path_factory.mktemp("cut"), journal)) == expected
    assert [(h.about, h.question) for h, _ in journal.entries] == [(h.about, h.question) for h, _ in entries]


class Never:
    """An evaluator that must not be asked, except for samples of planes, of which only digests are kept."""

    def __init__(self, evaluator: Any) -> None:
        self._evaluator = evaluator
        self.few = evaluator.few
        self.n_given_up = 0

    def judge(self, *arguments: object) -> None:
        raise AssertionError("asked again")

    evaluate = judge_finished = judge

    def sample_pixels(self, *arguments: object) -> Any:
        return self._evaluator.sample_pixels(*arguments)  # too much to keep


def test_what_is_recorded_is_never_evaluated_again(whole, tmp_path):
    assert told(recorded(tmp_path, Memory(whole[0]), lambda clock, evaluator: Never(evaluator))) == whole[1]


class Stopping:
    """Stops the clock in its n-th question, before or after it is answered."""

    def __init__(self, evaluator: Any, clock: RecordedClock, counter: list[int], before: bool) -> None:
        self._evaluator, self._clock, self._counter, self._before = evaluator, clock, counter, before
        self.few = evaluator.few
        self.n_given_up = 0

    def _ask(self, ask: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        self._counter[0] -= 1
        if self._counter[0] == 0 and self._before:
            self._clock.stop()
        answer = ask(*arguments, **named)
        if self._counter[0] == 0:
            self._clock.stop()
        return answer

    def judge(self, *arguments: Any) -> Any:
        return self._ask(self._evaluator.judge, *arguments)

    def judge_finished(self, *arguments: Any) -> Any:
        return self._ask(self._evaluator.judge_finished, *arguments)

    def sample_pixels(self, *arguments: Any) -> Any:
        return self._ask(self._evaluator.sample_pixels, *arguments)

    def evaluate(self, *arguments: Any, **named: Any) -> Any:
        return self._ask(self._evaluator.evaluate, *arguments, **named)


@pytest.mark.e2e
@settings(max_examples=8)
@given(data=st.data())
def test_interrupted_anywhere_it_keeps_the_best_and_goes_on_as_if_undisturbed(whole, tmp_path_factory, data):
    entries, expected = whole
    questions = sum(heading.about != END for heading, _ in entries)
    at, before = data.draw(st.integers(2, questions), "question"), data.draw(st.booleans(), "before it is answered")
    journal, folder, counter = Memory(), tmp_path_factory.mktemp("interrupted"), [at]
    solution = recorded(folder, journal, lambda clock, evaluator: Stopping(evaluator, clock, counter, before))
    assert solution.champion.scored.pipeline.steps
    # The last question is about the test images: by then the answer is chosen, and the search is over.
    assert solution.progress.stopped_by == ("evaluations" if at == questions else "interrupt")
    assert told(recorded(folder, Memory(journal.entries))) == expected


def test_an_interrupt_while_it_catches_up_changes_nothing(whole, tmp_path):
    journal = Memory(whole[0])
    clock = RecordedClock(SETTINGS.budget)
    clock.follow(journal)
    with pytest.raises(KeyboardInterrupt):
        solve(
            *(DATASET, SPLITS, BinaryTask(), SETTINGS, tmp_path, clock),
            wrap_evaluator=lambda name, evaluator: Catching(RecordedEvaluator(name, evaluator, clock), clock),
        )
    assert len(journal.entries) == len(whole[0])


class Catching(Stopping):
    def __init__(self, evaluator: Any, clock: RecordedClock) -> None:
        super().__init__(evaluator, clock, [3], before=True)


def test_a_budget_of_seconds_goes_on_where_it_was_cut():
    for seconds, late in ((20.0, False), (59.99, True)):
        clock = RecordedClock(Budget(seconds=60), reserve_s=0.5)
        clock.follow(Memory([(Heading("search.judge", "q", seconds), [])]))
        assert clock.reason(0, 0.0) is None  # it did go on
        clock.next_entry(Heading("search.judge", "q"), [])
        assert seconds <= clock.seconds < seconds + 0.4
        assert clock.late() is late
        assert clock.reason(0, 0.0) == ("seconds" if late else None)


def test_the_recorded_reason_for_the_end_holds():
    # Whether time was up was found out a moment after the last answer; the clock alone would say no.
    clock = RecordedClock(Budget(seconds=60))
    clock.follow(Memory([(Heading(END, "seconds", 59.9), [])]))
    assert clock.reason(10, 0.5) == "seconds"


def test_time_that_ran_out_is_remembered(tmp_path):
    chosen = replace(SETTINGS, budget=Budget(seconds=2.0))
    journal = Memory()
    first = recorded(tmp_path, journal, chosen=chosen)
    assert first.progress.stopped_by == "seconds"
    for entries in (journal.entries, journal.entries[:-1]):
        assert told(recorded(tmp_path, Memory(entries), chosen=chosen)) == told(first)


def test_another_question_is_refused(whole, tmp_path):
    chosen = replace(SETTINGS, seed=1)
    with pytest.raises(JournalError, match=r"entry \d+ of the journal is about search\.evaluate.* have changed since"):
        recorded(tmp_path, Memory(whole[0]), chosen=chosen)


class Blurred(Never):
    """Samples what differs in one bit."""

    def sample_pixels(self, programs: Sequence[Pipeline], *arguments: object) -> Any:
        found = self._evaluator.sample_pixels(programs, *arguments)
        return [sample if sample is None else np.nextafter(sample, 256) for sample in found]


def test_planes_that_differ_are_refused(whole, tmp_path):
    assert any(heading.about == "probes.probe" for heading, _ in whole[0])
    with pytest.raises(JournalError, match=r"planes differ .* \(entry \d+\)"):
        recorded(tmp_path, Memory(whole[0]), lambda clock, evaluator: Blurred(evaluator))


def fickle(folder: Path, *stems: str) -> FickleTask:
    """Return a task that fails on some images as long as there is a file."""
    return FickleTask(folder=str(folder), pixels=tuple(int(ITEMS[NAMES.index(stem)]["mask"].sum()) for stem in stems))


def about(entries: Entries) -> list[str]:
    return [heading.about for heading, _ in entries]


@pytest.mark.parametrize(("stem", "left"), [("007", ["selection.judge"]), ("005", [])])
def test_what_the_machine_has_failed_is_named_and_tried_again(whole, tmp_path, stem, left):
    journal, task, busy = Memory(), fickle(tmp_path, stem), tmp_path / "busy"
    busy.touch()
    solution = recorded(tmp_path, journal, task=task)
    assert dict(solution.not_scored) == {stem: "MemoryError: others have it all"}
    expected = Pipeline(solution.champion.scored.pipeline.steps)
    assert solution.tested == tuple(name for name in SPLITS.test if name != stem)
    assert {len(statistics) for statistics in solution.test.values()} == {len(solution.tested)}
    assert len(solution.champion.selection) == len([name for name in SPLITS.selection if name != stem])
    for i, name in enumerate(solution.tested):
        item = ITEMS[NAMES.index(name)]
        found = task.judge(expected(item["image"]), task.target(item))
        assert solution.test[expected][i].tolist() == found.tolist()
    assert about(journal.entries)[about(journal.entries).index(END) :] == [END, "finalists.evaluate", *left]
    busy.unlink()
    assert told(recorded(tmp_path, resumed := Memory(journal.entries), task=task)) == whole[1]
    assert [h.question for h, _ in resumed.entries] == [h.question for h, _ in whole[0]]


def test_a_search_whose_test_images_all_fail_ends_all_the_same(tmp_path):
    (tmp_path / "busy").touch()
    solution = recorded(tmp_path, Memory(), task=fickle(tmp_path, *SPLITS.test, *SPLITS.selection))
    assert sorted(solution.not_scored) == sorted([*SPLITS.selection, *SPLITS.test])
    assert (solution.tested, solution.test) == ((), {})
    assert len(solution.champion.selection) == len(SPLITS.search), "chosen as without a selection split"
    assert len(solution.expected) == len(SPLITS.search)


@pytest.mark.parametrize("name", ["selection.judge", "test.judge"])
def test_a_failure_that_an_older_version_has_written_down_is_not_repeated(whole, tmp_path, name):
    old: Entries = []
    for heading, answers in whole[0]:
        if heading.about == name:
            reason = "it ran for more than 5 s, or its process died"
            old.append((replace(heading, killed=True), [*answers[:-1], Failed(marking(1), reason)]))
        else:
            old.append((heading, answers))
    journal = Memory(old)
    solution = recorded(tmp_path, journal)
    assert told(solution) == whole[1]
    assert about(journal.entries) == about(whole[0])
    assert not any(isinstance(a, Failed) for h, answers in journal.entries if h.about == name for a in answers)


def test_an_error_of_the_task_itself_is_final_and_named(tmp_path):
    class Broken(BinaryTask):
        def judge(self, output: Any, target: Any) -> Any:
            if int(target.mask.sum()) == int(ITEMS[7]["mask"].sum()):
                raise ZeroDivisionError("of its own")
            return super().judge(output, target)

    journal = Memory()
    solution = recorded(tmp_path, journal, task=Broken())
    assert dict(solution.not_scored) == {"007": "ZeroDivisionError: of its own"}
    assert solution.tested == ("008",)
    assert about(journal.entries)[-1] == "test.judge"
    assert told(recorded(tmp_path, Memory(journal.entries), task=Broken())) == told(solution)


class Forgetful(Never):
    """Has no memory for planes."""

    def sample_pixels(self, programs: Sequence[Pipeline], *arguments: object) -> Any:
        return [Failed(program, "MemoryError: ", transient=True) for program in programs]


def test_planes_that_cannot_be_had_now_are_not_said_to_differ(whole, tmp_path):
    with pytest.raises(JournalError, match="cannot be computed now: MemoryError"):
        recorded(tmp_path, Memory(whole[0]), lambda clock, evaluator: Forgetful(evaluator))


def test_a_killed_worker_is_not_forgotten(tmp_path):
    clock = RecordedClock(SETTINGS.budget)
    clock.follow(Memory([(Heading("x.judge", "q", killed=True), [])]))
    clock.next_entry(Heading("x.judge", "q"), [])
    assert clock.killed


def checked(folder: Path, entries: Entries) -> RecordedClock:
    clock = RecordedClock(SETTINGS.budget)
    clock.follow(Memory(entries), extend=False)
    solved(folder, clock, lambda name, evaluator: ReplayChecker(name, evaluator, clock))
    return clock


def test_a_replay_agrees_in_every_bit(whole, tmp_path):
    clock = checked(tmp_path, whole[0])
    assert clock.n_taken == len(whole[0])
    assert clock.n_answers == sum(len(answers) for _, answers in whole[0])
    with pytest.raises(EndOfJournal):
        checked(tmp_path, whole[0][:3])


def test_a_replay_finds_one_bit(whole, tmp_path):
    entries = list(whole[0])
    heading, answers = entries[2]
    place, scored = next((i, a) for i, a in enumerate(answers) if isinstance(a, Scored) and a.scores[1] > 0)
    bent = scored.scores.copy()
    bent[1] = np.nextafter(bent[1], 1)
    entries[2] = (heading, [*answers[:place], replace(scored, scores=bent), *answers[place + 1 :]])
    with pytest.raises(DiffersError) as caught:
        checked(tmp_path, entries)
    difference = caught.value.difference
    assert (difference.entry, difference.about) == (3, heading.about)
    assert difference.recorded != difference.now


def test_programs_and_orders_make_a_question():
    from evoseg.evolve.journal import _digest

    one, two = marking(1), marking(2)
    assert len({_digest(q) for q in ([one], [two], [one, two], [two, one])}) == 4
