"""A search: one history for a seed and an evaluation budget, whoever computes; no candidate twice."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator

import evoseg.evolve.loop as search_module
from evoseg.core.errors import EvosegError
from evoseg.core.kinds import Kind
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.evaluation import evaluator as evaluator_module
from evoseg.evolve.evaluation.evaluator import JobEvaluator
from evoseg.evolve.evaluation.jobs import Executor, InProcess, Job, Outcome
from evoseg.evolve.evaluation.processes import Processes, WorkerSettings
from evoseg.evolve.loop import GENERATION_SIZE, Descent, Progress, Search, Share
from evoseg.evolve.ports import Evaluation, Failed, Item, Proposer, Scored, SearchView, Task
from evoseg.evolve.proposers.classics import Classics
from evoseg.evolve.proposers.random_programs import make_vocabulary
from evoseg.evolve.proposers.tuning import Tuner
from evoseg.evolve.proposers.variation import RandomPrograms, Variation
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step
from tests.evolve.helpers import BrightnessTask, CountTask, NastyTask, discs, marking, pack, ramp, sizes, stats_of

ITEMS = discs(5, shape=(40, 51))
STATS = stats_of(ITEMS)


def shares(kind: Kind = Kind.MASK) -> list[Share]:
    words = make_vocabulary(STATS)
    return [
        Share(Classics(STATS), GENERATION_SIZE),
        Share(Tuner(words), 14),
        Share(RandomPrograms(words, kind, opening=30), 24),
        Share(Variation(words), GENERATION_SIZE),
    ]


def search(
    executor: Executor,
    budget: Budget,
    seed: int = 0,
    task: Task | None = None,
    items: Sequence[Item] = ITEMS,
    proposers: list[Share] | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
    max_cost: float = float("inf"),
    copied: bool = False,
    clock: Clock | None = None,
    before: Progress | None = None,
) -> Progress:
    """Search on the items; if `copied`, the second half of them are jittered copies of the first."""
    task = task or BinaryTask()
    pixels = list(sizes(list(items)).items())
    n = len(pixels) // 2 if copied else len(pixels)
    evaluator = JobEvaluator(task, executor, dict(pixels[:n]))
    copies = JobEvaluator(task, executor, dict(pixels[n:]))
    proposers = shares() if proposers is None else proposers
    places = range(len(pixels) - n)
    return Search(
        task,
        evaluator=evaluator,
        copies=copies,
        copied=places,
        sampler=evaluator,
        shares=proposers,
        stats=STATS,
        clock=clock or Clock(budget),
        seed=seed,
        max_cost=max_cost,
        on_progress=watch,
        progress=before,
    ).run()


def told(progress: Progress) -> dict[str, object]:
    """Return all of a search that must not depend on who computed it, or how fast."""
    return {
        "counts": (progress.evaluations, progress.failed, progress.n_pruned, progress.generation),
        "history": [(evaluations, score) for evaluations, _, score in progress.history],
        "best": [(s.pipeline.digest, s.scores.tolist(), s.left_out.tolist(), s.proposer) for s in progress.best],
        "population": [s.pipeline.digest for s in progress.population],
        "front": [(s.pipeline.digest, s.score) for s in progress.front.members],
        "lineage": list(progress.lineage.items()),
    }


def darker(items: Sequence[Item]) -> list[Item]:
    return [item | {"image": item["image"] // 5 * 4} for item in items]


def test_candidates_that_a_darker_copy_ruins_count_for_less():
    items = [*ITEMS, *darker(ITEMS)]
    executor = InProcess(BinaryTask(), items, 1 << 27)
    progress = search(executor, Budget(evaluations=120), items=items, copied=True)
    judged = [s for s in progress.best if s.jittered is not None]
    assert judged
    for s in judged:
        answers = [s.pipeline(item["image"]) for item in items[len(ITEMS) :]]
        ious = [(a & i["mask"]).sum() / (a | i["mask"]).sum() for a, i in zip(answers, ITEMS, strict=True)]
        assert s.jittered == pytest.approx(ious)
        assert s.robust == pytest.approx((s.left_out + ious) / 2)
        assert s.scores.shape == s.jittered.shape  # history and results are of the images as they are


def test_candidates_that_no_copy_has_tried_do_not_profit_from_that():
    items = [*ITEMS, *darker(ITEMS)]
    progress = search(InProcess(BinaryTask(), items, 1 << 27), Budget(evaluations=250), items=items, copied=True)
    seen = [*progress.best, *progress.population]
    losses = [float((s.left_out - s.robust).mean()) for s in seen if s.jittered is not None]
    untried = [s for s in seen if s.jittered is None and s.handicap]
    assert untried
    assert min(losses) < min(s.handicap for s in untried)
    assert max(s.handicap for s in untried) < max(losses)
    assert all(np.array_equal(s.robust, s.left_out - s.handicap) for s in untried)


@pytest.mark.e2e
def test_any_number_of_workers_gives_the_same_search(tmp_path):
    budget = Budget(evaluations=170)
    items = [*ITEMS, *darker(ITEMS)]
    expected = told(search(InProcess(BinaryTask(), items, 1 << 27), budget, seed=3, items=items, copied=True))
    assert expected["counts"][0] == 170
    path = pack(items, tmp_path)
    for n in (1, 2, 4):
        executor = Processes(BinaryTask(), path, WorkerSettings(n_workers=n, cache_bytes=1 << 20))
        try:
            assert told(search(executor, budget, seed=3, items=items, copied=True)) == expected
        finally:
            executor.close()


def test_another_seed_gives_another_search():
    budget = Budget(evaluations=140)
    first, second = (told(search(InProcess(BinaryTask(), ITEMS, 1 << 27), budget, seed=s)) for s in (0, 1))
    assert first["population"] != second["population"]


class Stubborn:
    """Proposes the same programs again and again, told a little differently each time."""

    name = "stubborn"

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.levels = iter(range(256))

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        level = next(self.levels)
        return [
            Pipeline([step("channel", IMAGE), step("gaussian", 0, sigma=s), step("threshold", 1, level=level)])
            for s in (1.0, 2.0, 3.0, 2.0)
        ][:n]

    def learn(self, evaluations: Sequence[Evaluation]) -> None:
        self.heard.append(len(evaluations))
        assert all(isinstance(v, Scored) for v in evaluations)


class Counting:
    """An executor that counts what it is asked for each image."""

    def __init__(self, inner: Executor) -> None:
        self.inner = inner
        self.scheduler = inner.scheduler
        self.asked: Counter[tuple[str, bool, int]] = Counter()

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        for job in jobs:
            self.asked.update((r.program.form, r.measure, image) for r in job.requests for image in job.images)
        return self.inner.run(jobs)

    def close(self) -> None:
        self.inner.close()


def test_repeats_are_never_evaluated_twice_and_cost_no_budget():
    counting = Counting(InProcess(BinaryTask(), ITEMS, 1 << 27))
    stubborn = Stubborn()
    words = make_vocabulary(STATS)
    proposers = [Share(stubborn, 4), Share(RandomPrograms(words, Kind.MASK, opening=6), 2)]
    progress = search(counting, Budget(evaluations=9), proposers=proposers)
    ours = {key: n for key, n in counting.asked.items() if key[0] in {p.form for p in Stubborn().ready(None, 4, None)}}
    assert set(ours.values()) == {1}
    assert len(ours) == 3 * len(ITEMS)
    assert progress.evaluations == 9
    assert progress.generation >= 3
    assert set(stubborn.heard) == {4}  # repeats included


def test_history_only_rises_and_ends_at_the_best():
    progress = search(InProcess(BinaryTask(), ITEMS, 1 << 27), Budget(evaluations=200))
    scores = [score for _, _, score in progress.history]
    assert scores == sorted(set(scores))
    assert progress.best_score == scores[-1]
    assert [n for n, _, _ in progress.history] == sorted(n for n, _, _ in progress.history)
    assert progress.stopped_by == "evaluations"


@pytest.mark.parametrize("evaluations", [1, 47, 48, 49, 100])
def test_a_budget_of_evaluations_is_spent_exactly(evaluations):
    assert search(InProcess(BinaryTask(), ITEMS, 1 << 27), Budget(evaluations=evaluations)).evaluations == evaluations


def test_a_target_ends_the_search():
    progress = search(InProcess(BinaryTask(), ITEMS, 1 << 27), Budget(evaluations=5000, target_score=0.3))
    assert progress.stopped_by == "target-score"
    assert progress.evaluations < 500
    assert progress.best_score >= 0.3


def test_a_stop_ends_the_search_with_the_best_so_far():
    clock = Clock(Budget(evaluations=5000))
    evaluator = JobEvaluator(BinaryTask(), InProcess(BinaryTask(), ITEMS, 1 << 27), sizes(ITEMS))
    none = JobEvaluator(BinaryTask(), InProcess(BinaryTask(), [], 1 << 20), {})
    running = Search(
        BinaryTask(),
        evaluator=evaluator,
        copies=none,
        copied=[],
        sampler=evaluator,
        shares=shares(),
        stats=STATS,
        clock=clock,
        seed=0,
        on_progress=lambda progress: clock.stop(),
    )
    progress = running.run()
    assert progress.stopped_by == "interrupt"
    assert progress.generation == 1
    assert progress.best


def test_time_ends_the_search():
    progress = search(InProcess(BinaryTask(), ITEMS, 1 << 27), Budget(seconds=1.5))
    assert progress.stopped_by == "seconds"
    assert progress.best


def test_costly_candidates_are_turned_away_unseen():
    counting = Counting(InProcess(BinaryTask(), ITEMS, 1 << 27))
    progress = search(counting, Budget(evaluations=120), max_cost=3.0)
    assert progress.too_costly > 0
    assert all(s.pipeline.cost <= 3.0 for s in [*progress.population, *progress.best, *progress.front.members])


class Marks:
    """Proposes programs that mark a certain number of pixels, a few at a time."""

    name = "marks"

    def __init__(self, marks: Sequence[int]) -> None:
        self.waiting = list(marks)
        self.heard: list[Evaluation] = []

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        now, self.waiting = self.waiting[:3], self.waiting[3:]
        return [marking(m) for m in now]

    def learn(self, evaluations: Sequence[Evaluation]) -> None:
        self.heard += evaluations


def test_failed_candidates_are_data():
    marks = Marks([100, 5, 50, 5, 156, 120])
    proposers = [Share(marks, 6)]
    progress = search(
        InProcess(NastyTask(), ramp(), 0), Budget(evaluations=5), task=NastyTask(), items=ramp(), proposers=proposers
    )
    assert (progress.evaluations, progress.failed) == (5, 1)
    assert progress.best[0].pipeline == marking(156)
    failed = [v for v in marks.heard if isinstance(v, Failed)]
    assert [v.pipeline for v in failed] == [marking(5), marking(5)]  # the repeat hears of it, too


def test_a_search_in_which_everything_fails_says_why():
    with pytest.raises(EvosegError, match="one of those days"):
        search(
            InProcess(NastyTask(), ramp(), 0),
            Budget(evaluations=5),
            task=NastyTask(),
            items=ramp(),
            proposers=[Share(Marks([5]), 6)],
        )


class Hurried(Clock):
    """A clock whose time is up after so many questions."""

    def __init__(self, questions: int) -> None:
        super().__init__(Budget(seconds=1000))
        self.left = questions

    def late(self) -> bool:
        self.left -= 1
        return self.left < 0


def hurried(questions: int, before: Progress | None = None) -> Progress:
    clock, marks = Hurried(questions), [Share(Marks([5, 100, 120]), 6)]
    executor = InProcess(NastyTask(), ramp(), 0)
    return search(executor, Budget(seconds=1000), 0, NastyTask(), ramp(), marks, clock=clock, before=before)


def test_a_failure_before_time_is_up_is_not_blamed_on_everything(monkeypatch):
    monkeypatch.setattr(evaluator_module, "JOB_S", 0.0)  # every candidate is a job of its own
    progress = hurried(3)
    assert (progress.failed, progress.evaluations, progress.best) == (1, 1, [])
    assert progress.stopped_by == "seconds"


def test_a_stage_that_time_is_up_for_ends_quietly_though_a_candidate_of_the_last_one_failed():
    progress = hurried(1, Progress(evaluations=40, failed=1).next_stage())
    assert (progress.failed, progress.evaluations, progress.stopped_by) == (1, 40, "seconds")


def resolve_task(sigma: float) -> Pipeline:
    return Pipeline([step("channel", IMAGE), step("gaussian", 0, sigma=sigma), step("threshold", 1)])


def test_credit_starts_at_the_first_generations_best_and_counts_every_ancestor():
    start, idea, tuned, crossed, aside = (resolve_task(sigma) for sigma in (1.0, 2.0, 3.0, 4.0, 5.0))
    lineage = {
        start.form: Descent("classic", 0.5),
        idea.form: Descent("agent", 0.6),
        tuned.form: Descent("tune", 0.65, (start.form,)),
        crossed.form: Descent("vary", 0.7, (tuned.form, idea.form)),
        aside.form: Descent("random", 0.69),
    }
    progress = Progress(lineage=lineage, opening=0.5)
    # 0.6 - 0.5 by the model, which never led; 0.65 - 0.5 by the tuner; 0.7 - 0.65 by the crossing; the start is given.
    assert progress.credit(crossed) == pytest.approx({"agent": 0.1, "tune": 0.15, "vary": 0.05})
    assert {one.proposer for one in progress.ancestors(crossed)} == {"classic", "agent", "tune", "vary"}
    assert progress.credit(start) == {} and progress.credit(tuned) == pytest.approx({"tune": 0.15})
    assert progress.credit(resolve_task(6.0)) == {}


def test_an_ancestor_that_was_worse_than_what_it_came_from_takes_nothing_away():
    start, worse, found = (resolve_task(sigma) for sigma in (1.0, 2.0, 3.0))
    lineage = {
        start.form: Descent("classic", 0.5),
        worse.form: Descent("random", 0.3),
        found.form: Descent("vary", 0.8, (worse.form, "never scored")),
    }
    assert Progress(lineage=lineage, opening=0.5).credit(found) == pytest.approx({"vary": 0.3})


class Breeding:
    """Proposes one program in each generation, made from the one before and, in the end, from the first too."""

    name = "breeding"

    def __init__(self, programs: Sequence[Pipeline]) -> None:
        self._made: list[Pipeline] = []
        self._waiting = list(programs)

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        if not self._waiting:
            return []
        child = self._waiting.pop(0)
        view.descend(child, [*self._made[-1:], *([] if self._waiting else self._made[:1])])
        self._made.append(child)
        return [child]

    def learn(self, evaluations: Sequence[Evaluation]) -> None:
        pass


def test_a_search_keeps_the_lineage_of_what_it_scored():
    programs = [resolve_task(sigma) for sigma in (9.0, 5.0, 2.0)]
    progress = search(
        InProcess(BinaryTask(), ITEMS, 1 << 27), Budget(evaluations=3), proposers=[Share(Breeding(programs), 5)]
    )
    first, second, third = (progress.lineage[program.form] for program in programs)
    assert progress.opening == first.score
    assert (first.parents, second.parents) == ((), (programs[0].form,))
    assert third.parents == (programs[1].form, programs[0].form)


def test_what_every_usual_proposer_makes_of_candidates_descends_from_them():
    progress = search(InProcess(BinaryTask(), ITEMS, 1 << 27), Budget(evaluations=400))
    made = [one for one in progress.lineage.values() if one.proposer in ("tune", "vary")]
    assert made and all(one.parents and set(one.parents) <= set(progress.lineage) for one in made)
    assert all(not one.parents for one in progress.lineage.values() if one.proposer in ("classic", "random"))
    (best,) = (s for s in progress.best if s.score == progress.best_score)
    gains = progress.credit(best.pipeline)
    assert gains and set(gains) <= {"classic", "tune", "random", "vary"}
    assert sum(gains.values()) >= progress.best_score - (progress.opening or 0) - 1e-9


def test_the_best_classic_is_remembered():
    progress = search(InProcess(BinaryTask(), ITEMS, 1 << 27), Budget(evaluations=100))
    assert progress.best_classic is not None
    assert progress.best_classic.proposer == "classic"


@pytest.mark.parametrize("task", [CountTask(), BrightnessTask()], ids=["counting", "brightness"])
def test_the_search_knows_nothing_of_masks(task, tmp_path):
    words = make_vocabulary(STATS)
    proposers: list[Proposer] = [RandomPrograms(words, task.output, opening=20), Variation(words)]
    executor = Processes(task, pack(ITEMS[:2], tmp_path), WorkerSettings(n_workers=1))
    try:
        progress = search(
            executor, Budget(evaluations=60), task=task, items=ITEMS[:2], proposers=[Share(p, 24) for p in proposers]
        )
    finally:
        executor.close()
    assert progress.evaluations == 60
    assert progress.best_score > 0.1
    assert all(s.pipeline.output is task.output for s in progress.best)


def test_what_is_kept_was_scored_on_every_image():
    progress = search(InProcess(BinaryTask(), ITEMS, 1 << 27), Budget(evaluations=150))
    truths = [BinaryTask().target(item) for item in ITEMS]
    for s in progress.best[:5]:
        judged = [BinaryTask().judge(s.pipeline(i["image"]), t) for i, t in zip(ITEMS, truths, strict=True)]
        assert s.statistics.tolist() == np.array(judged).tolist()


def test_packed_items_are_those_that_were_packed(tmp_path: Path):
    from evoseg.datasets.memmap import Pack

    for written, read in zip(ITEMS, Pack(pack(ITEMS, tmp_path)).items, strict=True):
        assert all(np.array_equal(written[key], read[key]) for key in written)


@pytest.mark.e2e
def test_a_converged_population_starts_anew_and_its_leaders_are_remembered(monkeypatch):
    monkeypatch.setattr(search_module, "STAGNATION", 30)  # low, so that any set of operators converges
    epochs: list[tuple[int, int, int]] = []

    def watch(progress: Progress) -> None:
        epochs.append((progress.epoch, len(progress.population), len(progress.leaders)))

    progress = search(InProcess(BinaryTask(), ITEMS, 1 << 27), Budget(evaluations=900), watch=watch)
    assert progress.epoch >= 2
    started_anew = [after for before, after in itertools.pairwise(epochs) if after[0] > before[0]]
    assert all(len_population <= leaders for _, len_population, leaders in started_anew)
    assert all(leaders <= epoch * search_module.LEADERS for epoch, _, leaders in epochs)
    scores = [score for _, _, score in progress.history]
    assert scores == sorted(scores)
    # Not always equal: both lists go by the robust score less the penalty, so the very best may have dropped out.
    assert progress.best_score >= max(s.score for s in [*progress.best, *progress.leaders])
    assert progress.best_score == pytest.approx(max(s.score for s in [*progress.best, *progress.leaders]), abs=0.01)


class Patient:
    """Proposes programs once, and notes what it is told of them."""

    name = "patient"

    def __init__(self, n: int) -> None:
        self.waiting = [resolve_task(1 + i / 10) for i in range(n)]
        self.heard: list[list[Evaluation]] = []

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        now, self.waiting = self.waiting[:n], self.waiting[n:]
        return now

    def learn(self, evaluations: Sequence[Evaluation]) -> None:
        self.heard.append(list(evaluations))


def test_what_a_part_of_the_budget_did_not_reach_is_finished_in_the_next():
    patient, clock = Patient(20), Clock(Budget(evaluations=50))
    evaluator = JobEvaluator(BinaryTask(), InProcess(BinaryTask(), ITEMS, 1 << 26), sizes(ITEMS))
    hunt = Search(
        BinaryTask(),
        evaluator=evaluator,
        copies=JobEvaluator(BinaryTask(), InProcess(BinaryTask(), [], 0), {}),
        copied=(),
        sampler=evaluator,
        shares=[Share(patient, 20)],
        stats=STATS,
        clock=clock,
        seed=0,
    )
    with clock.part(0.25):
        assert hunt.run().evaluations == 12 and not any(patient.heard)
    assert hunt.run().evaluations == 20
    (heard,) = filter(None, patient.heard)
    assert len(heard) == 20 and all(isinstance(one, Scored) for one in heard)


class Debts(BinaryTask):
    """Its scores are all below zero."""

    def score(self, statistics):
        return super().score(statistics) - 10

    def score_thresholds(self, histograms):
        scores, counts = super().score_thresholds(histograms)
        return scores - 10, counts


def test_a_search_goes_by_scores_below_zero_as_by_others():
    def watch(progress: Progress) -> None:
        assert progress.generation < 40, "it prunes whatever is not far better than what it has"

    found = search(InProcess(Debts(), ITEMS, 1 << 26), Budget(evaluations=300), task=Debts(), watch=watch)
    assert found.evaluations == 300 and found.best_score > -9.5


class Hopeless:
    """Proposes candidates that a few images are enough to dismiss, without end."""

    name = "hopeless"

    def __init__(self) -> None:
        self._made = itertools.count()

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        blurs = [20 + next(self._made) / 100 for _ in range(n)]
        return [Pipeline([step("channel", IMAGE), step("gaussian", 0, sigma=s), step("threshold", 1)]) for s in blurs]

    def learn(self, evaluations: Sequence[Evaluation]) -> None:
        pass


def test_the_last_evaluations_are_spent_even_if_the_first_to_propose_has_nothing_good():
    budget = Budget(evaluations=260)
    found = search(InProcess(BinaryTask(), ITEMS, 1 << 26), budget, proposers=[Share(Hopeless(), 12), *shares()])
    assert found.n_pruned > 0
    assert found.evaluations == 260
    assert found.generation < 15
