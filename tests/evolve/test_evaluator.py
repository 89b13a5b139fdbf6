"""The evaluator turns candidates into evaluations, for any task and any executor."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoseg.evolve.evaluation import evaluator as evaluator_module
from evoseg.evolve.evaluation.evaluator import JobEvaluator
from evoseg.evolve.evaluation.jobs import (
    Executor,
    InProcess,
    Job,
    Measure,
    Outcome,
    Part,
    Request,
    Scheduler,
    out_of_memory,
)
from evoseg.evolve.evaluation.processes import Processes, WorkerError, WorkerSettings
from evoseg.evolve.ports import Failed, Item, Scored, Task
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step
from tests.evolve.helpers import BrightnessTask, CountTask, FickleTask, NastyTask, discs, marking, pack, ramp, sizes

Make = Callable[[Task, Sequence[Item], Path], Executor]


def in_process(task: Task, items: Sequence[Item], folder: Path) -> Executor:
    return InProcess(task, items, 1 << 28)


def two_processes(task: Task, items: Sequence[Item], folder: Path) -> Executor:
    return Processes(task, pack(list(items), folder), WorkerSettings(n_workers=2))


EXECUTORS = pytest.mark.parametrize("make", [in_process, two_processes])

PLANE = [step("channel", IMAGE, index=0), step("gaussian", 0, sigma=1.5)]


class Counting:
    """An executor that notes what it is asked."""

    def __init__(self, inner: Executor) -> None:
        self.inner = inner
        self.scheduler = inner.scheduler
        self.jobs: list[Job] = []

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        self.jobs += jobs
        return self.inner.run(jobs)

    def close(self) -> None:
        self.inner.close()


@EXECUTORS
def test_a_counting_task_is_solved_without_a_word_about_masks(make, tmp_path):
    items = discs(4)
    executor = make(CountTask(), items, tmp_path)
    rough = Pipeline([PLANE[0], step("threshold", 0)])
    smooth = Pipeline([*PLANE, step("threshold", 1)])
    cleaned = Pipeline([*PLANE, step("threshold", 1), step("remove_small", 2, area=10)])
    try:
        evaluations = JobEvaluator(CountTask(), executor, sizes(items)).evaluate([rough, smooth, cleaned])
    finally:
        executor.close()
    scores = [v.score for v in evaluations if isinstance(v, Scored)]
    assert scores[:2] == pytest.approx([best_count(items, p.until(len(p) - 2)) for p in (rough, smooth)], abs=1e-12)
    assert scores[2] > 0.8
    assert evaluations[1].statistics[:, 1].tolist() == [CountTask().target(item) for item in items]


def best_count(items: Sequence[Item], plane: Pipeline) -> float:
    """Return the best mean score of all thresholds of a plane, each tried."""
    task, every = CountTask(), []
    planes = [plane(item["image"]) for item in items]
    for level in range(256):
        for bright in (True, False):
            masks = [p > level if bright else p <= level for p in planes]
            judged = [task.judge(m, task.target(i)) for m, i in zip(masks, items, strict=True)]
            every.append(task.score(np.array(judged)).mean())
    return max(every)


@EXECUTORS
def test_a_task_about_planes_is_judged_on_planes(make, tmp_path):
    items = discs(3)
    task = BrightnessTask()
    executor = make(task, items, tmp_path)
    programs = [Pipeline([*PLANE, step("gamma", 1, exponent=e)]) for e in (0.5, 1.5, 3.0)]
    # A threshold in the middle of a program that returns a plane.
    programs.append(Pipeline([*PLANE, step("level", 1, level=120), step("distance", 2)]))
    try:
        evaluations = JobEvaluator(task, executor, sizes(items)).evaluate(programs)
    finally:
        executor.close()
    for program, evaluation in zip(programs, evaluations, strict=True):
        assert isinstance(evaluation, Scored), evaluation
        means = [program(item["image"]).mean() for item in items]
        assert evaluation.scores == pytest.approx([1 / (1 + abs(m - 77)) for m in means])


def test_both_executors_give_the_same_bits(tmp_path):
    items = discs(5)
    programs = [Pipeline([*PLANE, step("threshold", 1)]), Pipeline([*PLANE, step("otsu", 1), step("fill_holes", 2)])]
    found = []
    for n in (0, 1, 2, 3):
        executor = InProcess(BinaryTask(), items, 0)
        if n:
            executor = Processes(BinaryTask(), pack(items, tmp_path), WorkerSettings(n_workers=n))
        evaluations = JobEvaluator(BinaryTask(), executor, sizes(items)).evaluate(programs)
        executor.close()
        found.append([(v.pipeline.digest, v.statistics.tolist(), v.left_out.tolist()) for v in evaluations])
    assert all(other == found[0] for other in found)


class Many(Counting):
    """Several workers in name, one in fact."""

    def __init__(self, items: Sequence[Item], n_workers: int) -> None:
        super().__init__(InProcess(BinaryTask(), items, 1 << 27))
        self.scheduler = Scheduler(n_workers, 1 << 20)
        self.rounds: list[list[Job]] = []

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        self.rounds.append(list(jobs))
        return super().run(jobs)


OTSU = [Pipeline([PLANE[0], step("gaussian", 0, sigma=s), step("otsu", 1)]) for s in (1.0, 2.0, 3.0, 4.0, 5.0)]


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=6), st.integers(1, 8))
def test_images_are_shared_out_whole_and_in_order_where_programs_are_few(pixels, n_workers):
    many = Many(discs(len(pixels)), n_workers)
    JobEvaluator(BinaryTask(), many, dict(enumerate(pixels))).judge(OTSU[:1])
    (jobs,) = many.rounds
    assert [image for job in jobs for image in job.images] == list(range(len(pixels)))
    assert 1 <= len(jobs) <= min(n_workers, len(pixels))
    assert all(job.images for job in jobs)


@given(st.integers(1, 5), st.integers(1, 6))
def test_programs_are_dealt_whole_where_they_are_many(n_programs, n_workers):
    many = Many(items := discs(3), n_workers)
    found = JobEvaluator(BinaryTask(), many, sizes(items)).judge(OTSU[:n_programs])
    alone = JobEvaluator(BinaryTask(), InProcess(BinaryTask(), items, 0), sizes(items)).judge(OTSU[:n_programs])
    assert np.array_equal(np.array(found), np.array(alone))
    (jobs,) = many.rounds
    assert len(jobs) <= n_workers
    answered = [(r.program, image) for job in jobs for r in job.requests for image in job.images]
    assert sorted(map(hash, answered)) == sorted(hash((p, i)) for p in OTSU[:n_programs] for i in range(3))
    if n_programs >= n_workers:
        assert len(jobs) == n_workers
        assert all(len(job.images) == 3 for job in jobs)


def ridges(*lengths: float) -> list[Pipeline]:
    """Return programs that return a plane each, all equally dear."""
    return [Pipeline([PLANE[0], step("oriented", 0, length=n)]) for n in lengths]


def test_a_fit_goes_back_to_the_worker_that_holds_its_plane():
    many = Many(items := discs(4), 2)
    planes = ridges(7, 9, 11, 13)
    programs = [Pipeline([*p.steps, step("threshold", 1), step("remove_small", 2, area=9)]) for p in planes]
    JobEvaluator(BinaryTask(), many, sizes(items)).evaluate(programs)
    homes: dict[bytes, set[int]] = {}
    for job in many.jobs:
        for request in job.requests:
            if request.part is Part.FEW:
                homes.setdefault(request.program.digests[1], set()).add(job.worker)
    assert len(many.rounds) > 3
    assert [len(workers) for workers in homes.values()] == [1] * 4
    assert set().union(*homes.values()) == {0, 1}


IMAGES = [{0: 1000, 1: 1000}]


def probes(*lengths: float) -> list[Request]:
    return [Request(plane, Measure.SAMPLE) for plane in ridges(*lengths)]


def test_programs_are_dealt_to_who_holds_what_they_build_on():
    scheduler = Scheduler(2, 1 << 20)
    batches = scheduler.assign(probes(7, 9, 11, 13), IMAGES)
    assert [len(batch) for batch in batches] == [2, 2]
    children = [Request(Pipeline([*r.program.steps, step("otsu", 1)])) for batch in batches for r in batch]
    for order in (children, children[::-1]):
        again = scheduler.assign(order, IMAGES)
        assert [{r.program.digests[1] for r in batch} for batch in again] == [
            {r.program.digests[1] for r in batch} for batch in batches
        ]


def test_work_is_shared_even_if_one_worker_holds_everything():
    scheduler = Scheduler(2, 1 << 20)
    scheduler.assign(probes(7), IMAGES)
    children = [Request(Pipeline([*ridges(7)[0].steps, step("level", 1, level=n)])) for n in range(100)]
    first, second = map(len, scheduler.assign(children, IMAGES))
    assert first > second > 20, "the other one computes the plane, too, and then takes its part"


def test_what_a_worker_must_have_dropped_is_not_counted_on():
    scheduler = Scheduler(2, 4000)  # of two images with 1000 pixels each: two values
    _, (second,) = scheduler.assign(probes(7, 9), IMAGES)
    assert scheduler.assign([second], IMAGES) == [[], [second]], "it is still at hand"
    scheduler.assign(probes(11, 13), IMAGES)
    assert scheduler.assign([second], IMAGES) == [[second], []], "both would have to begin from nothing"


def test_only_the_images_named_are_looked_at():
    items = discs(4)
    counting = Counting(InProcess(BinaryTask(), items, 0))
    (evaluation,) = JobEvaluator(BinaryTask(), counting, {1: 10, 3: 10}).evaluate(
        [Pipeline([*PLANE, step("threshold", 1)])]
    )
    assert {image for job in counting.jobs for image in job.images} == {1, 3}
    assert evaluation.scores.shape == (2,)


def test_equal_questions_are_asked_once():
    items = discs(2)
    counting = Counting(InProcess(BinaryTask(), items, 0))
    program = Pipeline([*PLANE, step("threshold", 1)])
    evaluations = JobEvaluator(BinaryTask(), counting, sizes(items)).evaluate([program, program, program])
    assert sum(len(job.requests) for job in counting.jobs) == 1
    assert len({v.answer for v in evaluations}) == 1


def test_a_failed_candidate_is_data_and_the_others_are_exact():
    executor = InProcess(NastyTask(), ramp(), 0)
    evaluator = JobEvaluator(NastyTask(), executor, {0: 256})
    good, bad, also_good = evaluator.evaluate([marking(100), marking(5), marking(156)])
    assert isinstance(bad, Failed)
    assert bad.pipeline == marking(5)
    assert bad.reason == "ZeroDivisionError: one of those days"
    assert good.statistics.tolist() == [[100, 0, 56, 100]]
    assert also_good.score == 1.0


def test_a_candidate_whose_variants_fail_is_named_itself():
    # Levels around the best are tried with the tail; one of them marks 5 pixels, and the task cannot bear that.
    items = ramp()
    items[0]["mask"] = items[0]["image"][:, :, 0] >= 251
    program = Pipeline([step("channel", IMAGE), step("threshold", 0), step("fill_holes", 1)])
    (evaluation,) = JobEvaluator(NastyTask(), InProcess(NastyTask(), items, 0), {0: 256}).evaluate([program])
    assert isinstance(evaluation, Failed)
    assert evaluation.pipeline == program


def test_time_that_is_up_leaves_candidates_without_a_verdict(monkeypatch):
    monkeypatch.setattr(evaluator_module, "JOB_S", 0.0)  # every candidate is a job of its own
    items = discs(2)
    programs = [Pipeline([PLANE[0], step("gaussian", 0, sigma=s), step("otsu", 1)]) for s in (1.0, 2.0, 3.0)]
    asked = iter([False, False, False, True, True, True])
    evaluations = JobEvaluator(BinaryTask(), InProcess(BinaryTask(), items, 0), sizes(items)).evaluate(
        programs, lambda: next(asked)
    )
    assert [isinstance(v, Scored) for v in evaluations] == [True, True, False]
    assert evaluations[2] is None


def test_candidates_that_were_finished_in_time_are_not_lost(monkeypatch):
    monkeypatch.setattr(evaluator_module, "GROUP_S", 0.0)  # every candidate is a group of its own
    items = discs(3)
    evaluator = JobEvaluator(BinaryTask(), InProcess(BinaryTask(), items, 0), sizes(items))
    candidates = [Pipeline([*PLANE, step("gaussian", 1, sigma=s), step("threshold", 2)]) for s in (1.0, 2.0, 3.0)]
    questions = iter(range(100))

    def late() -> bool:
        return next(questions) >= 4

    found = evaluator.evaluate(candidates, late)
    assert isinstance(found[0], Scored) and found[-1] is None
    assert evaluator.evaluate(candidates)[0].statistics.tolist() == found[0].statistics.tolist()


def test_nothing_is_run_when_time_is_up_before_it_begins():
    counting = Counting(InProcess(BinaryTask(), discs(1), 0))
    evaluator = JobEvaluator(BinaryTask(), counting, {0: 1})
    assert evaluator.evaluate([Pipeline([*PLANE, step("threshold", 1)])], lambda: True) == [None]
    assert counting.jobs == []


def test_limits_grow_with_the_modelled_cost_and_never_fall_below_that_of_a_hang():
    class Large(Counting):
        def run(self, jobs: Sequence[Job]) -> list[Outcome]:
            self.jobs += jobs
            return [Outcome(tuple(np.ones((len(job.images), 4)) for _ in job.requests)) for job in jobs]

    program = Pipeline([*PLANE, step("otsu", 1)])
    counting = Large(InProcess(BinaryTask(), [], 0))
    JobEvaluator(BinaryTask(), counting, {0: 100}).judge([program])
    JobEvaluator(BinaryTask(), counting, {0: 10**9}).judge([program])
    small, large = counting.jobs
    assert small.limit_s == 20.0
    assert large.limit_s == pytest.approx(20 * program.cost)


def test_judging_refits_nothing():
    items = discs(2)
    evaluator = JobEvaluator(BinaryTask(), InProcess(BinaryTask(), items, 0), sizes(items))
    program = Pipeline([*PLANE, step("threshold", 1, level=3, polarity="dark")])
    (statistics,) = evaluator.judge([program])
    expected = [BinaryTask().judge(program(i["image"]), BinaryTask().target(i)).tolist() for i in items]
    assert statistics.tolist() == expected


def test_a_finished_program_that_fails_on_an_image_is_told_of_image_by_image(tmp_path):
    items = discs(3)
    pixels = tuple(int(item["mask"].sum()) for item in items)
    task = FickleTask(folder=str(tmp_path), pixels=pixels[1:2])
    evaluator = JobEvaluator(task, InProcess(task, items, 0), sizes(items))
    program = Pipeline([*PLANE, step("otsu", 1)])
    (whole,) = evaluator.judge_finished([program])
    (tmp_path / "busy").touch()
    (failed,) = evaluator.judge_finished([program])
    assert isinstance(whole, np.ndarray)
    assert isinstance(failed, Failed)
    assert failed.transient
    first, second, third = failed.parts
    assert isinstance(second, Failed)
    assert second.reason == "MemoryError: others have it all"
    assert [first[0].tolist(), third[0].tolist()] == [whole[0].tolist(), whole[2].tolist()]


def test_a_score_that_is_no_number_fails_a_candidate_and_names_the_image():
    class Undefined(BinaryTask):
        """Overlap by the size of the truth, which has none in an empty image."""

        def score(self, statistics):
            tp, _, fn, _ = np.moveaxis(statistics, -1, 0)
            return np.divide(tp, tp + fn, out=np.full_like(tp, np.nan), where=tp + fn > 0)

    items = discs(3)
    items[1]["mask"] = np.zeros_like(items[1]["mask"])
    program = Pipeline([*PLANE, step("otsu", 1)])
    evaluator = JobEvaluator(Undefined(), InProcess(Undefined(), items, 0), sizes(items))
    assert evaluator.evaluate([program]) == evaluator.judge([program]) == [Failed(program, evaluator_module.NO_SCORE)]
    (failed,) = evaluator.judge_finished([program])
    assert isinstance(failed, Failed) and not failed.transient
    assert [isinstance(part, Failed) for part in failed.parts] == [False, True, False]


@pytest.mark.e2e
def test_a_test_image_that_kills_every_process_is_found_out(tmp_path):
    items = discs(2)
    task = FickleTask(folder=str(tmp_path), pixels=(int(items[0]["mask"].sum()),), kill=True)
    program = Pipeline([*PLANE, step("otsu", 1)])
    processes = Processes(task, pack(items, tmp_path), WorkerSettings())
    (tmp_path / "busy").touch()
    try:
        (failed,) = JobEvaluator(task, processes, sizes(items)).judge_finished([program])
        (tmp_path / "busy").unlink()
        (found,) = JobEvaluator(task, processes, sizes(items)).judge_finished([program])
    finally:
        processes.close()
    assert isinstance(failed, Failed)
    assert "SIGKILL" in failed.parts[0].reason
    assert failed.parts[1][0].tolist() == found[1].tolist()


def test_processes_that_cannot_be_had_any_more_are_no_error_once_there_is_a_result():
    class Gone(Counting):
        def run(self, jobs: Sequence[Job]) -> list[Outcome]:
            raise WorkerError("a worker process did not start")

    items = discs(2)
    evaluator = JobEvaluator(BinaryTask(), Gone(InProcess(BinaryTask(), items, 0)), sizes(items))
    program = Pipeline([*PLANE, step("otsu", 1)])
    (failed,) = evaluator.judge_finished([program])
    assert failed == Failed(program, "a worker process did not start", transient=True)
    with pytest.raises(WorkerError):
        evaluator.judge([program])


def test_memory_that_values_at_hand_take_up_fails_nobody():
    class Once(BinaryTask):
        def judge(self, output, target):
            if not tried.append(output) and len(tried) == 1:
                raise MemoryError
            return super().judge(output, target)

    tried: list[object] = []
    task, items = Once(), discs(1)
    evaluator = JobEvaluator(task, InProcess(task, items, 1 << 20), sizes(items))
    (found,) = evaluator.judge([Pipeline([*PLANE, step("otsu", 1)])])
    assert isinstance(found, np.ndarray)


@pytest.mark.parametrize("raises", [MemoryError, OSError(12, "Cannot allocate memory"), ZeroDivisionError])
def test_only_a_lack_of_memory_is_worth_another_try(raises):
    class Failing(BinaryTask):
        def judge(self, output, target):
            raise raises

    task, items = Failing(), discs(1)
    evaluator = JobEvaluator(task, InProcess(task, items, 0), sizes(items))
    (failed,) = evaluator.judge([Pipeline([*PLANE, step("otsu", 1)])])
    assert isinstance(failed, Failed)
    assert failed.transient is (raises is not ZeroDivisionError)


def test_opencv_says_in_its_own_words_that_memory_has_run_out():
    with pytest.raises(cv2.error) as caught:
        cv2.resize(np.zeros((8, 8), np.uint8), (2**31 - 1, 2**31 - 1))
    assert out_of_memory(caught.value)
    with pytest.raises(cv2.error) as caught:
        cv2.resize(np.zeros((0, 0), np.uint8), (2, 2))
    assert not out_of_memory(caught.value)
