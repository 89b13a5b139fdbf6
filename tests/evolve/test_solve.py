"""The whole way: search, choose on other images, and only then open the test images."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evoseg.core.errors import EvosegError
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import Splits
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.context import SearchSettings
from evoseg.evolve.finalists import FEWEST, cross_fit
from evoseg.evolve.loop import Progress
from evoseg.evolve.solve import Solution, solve
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step
from tests.evolve.helpers import NastyTask, discs
from tests.evolve.sums import evaluator_of

ITEMS = discs(9, shape=(40, 51))
NAMES = [f"{i:03}" for i in range(9)]
WITH_SELECTION = Splits(("000", "001", "002", "003"), ("004", "005", "006"), ("007", "008"))
WITHOUT_SELECTION = Splits(("000", "001", "002", "003"), (), ("007", "008"))


def dataset() -> Dataset:
    return Dataset.from_arrays([i["image"] for i in ITEMS], [i["mask"] for i in ITEMS], names=NAMES)


def solved(
    folder: Path,
    splits: Splits = WITH_SELECTION,
    watch: Callable[[Progress], None] = lambda progress: None,
    found: Callable[[Pipeline], None] = lambda pipeline: None,
    **settings: object,
) -> Solution:
    settings = {"budget": Budget(evaluations=110), "workers": 0} | settings
    chosen = SearchSettings(**settings)
    return solve(
        dataset(),
        splits,
        BinaryTask(),
        chosen,
        folder,
        Clock(chosen.budget),
        on_progress=watch,
        on_chosen=lambda answers, recommended: found(answers[recommended]),
    )


def told(solution: Solution) -> dict[str, object]:
    return {
        "champion": (solution.champion.scored.pipeline.digest, solution.champion.role),
        "finalists": [(f.scored.pipeline.digest, f.role, f.selection.tolist()) for f in solution.finalists],
        "expected": solution.expected.tolist(),
        "test": {p.digest: s.tolist() for p, s in solution.test.items()},
        "history": [(n, score) for n, _, score in solution.progress.history],
    }


@pytest.mark.e2e
@pytest.mark.parametrize("splits", [WITH_SELECTION, WITHOUT_SELECTION], ids=["selection", "leave one out"])
def test_workers_change_nothing_about_a_solution(splits, tmp_path):
    here, there = (solved(tmp_path, splits, workers=n) for n in (0, 2))
    assert told(here) == told(there)
    assert here.reproducible
    assert there.reproducible


def test_an_easy_scene_is_solved_and_beats_its_baselines(tmp_path):
    solution = solved(tmp_path)
    score = BinaryTask().score
    tested = {p: float(score(s).mean()) for p, s in solution.test.items()}
    champion = tested.pop(solution.champion.scored.pipeline)
    assert champion > 0.75
    assert champion >= max(tested.values())
    roles = [f.role for f in solution.finalists]
    assert roles.count("constant") == 2
    assert roles.count("classic") == 1


def test_test_scores_are_those_of_running_the_pipeline(tmp_path):
    solution = solved(tmp_path)
    champion = solution.champion.scored.pipeline
    truths = [(ITEMS[i]["image"], BinaryTask().target(ITEMS[i])) for i in (7, 8)]
    expected = [BinaryTask().judge(champion(image), truth).tolist() for image, truth in truths]
    assert solution.test[champion].tolist() == expected


def test_leaders_are_scored_on_the_selection_images_after_the_search(tmp_path):
    solution = solved(tmp_path)
    assert [(one.evaluations, one.scored.score) for one in solution.leaders] == [
        (n, score) for n, _, score in solution.progress.history
    ]
    for leader in solution.leaders:
        answers = [leader.scored.pipeline(item["image"]) for item in ITEMS[4:7]]
        task = BinaryTask()
        expected = [task.score(task.judge(a, task.target(i))) for a, i in zip(answers, ITEMS[4:7], strict=True)]
        assert leader.held_out == pytest.approx(np.mean(expected))


def test_without_selection_images_leaders_are_scored_by_leaving_search_images_out(tmp_path):
    solution = solved(tmp_path, WITHOUT_SELECTION)
    for leader in solution.leaders:
        expected = cross_fit(leader.scored, leader.scored.left_out, evaluator_of(ITEMS[:4]), 1, most=FEWEST)
        assert leader.held_out == pytest.approx(expected.mean())


def test_selection_scores_are_those_of_running_the_pipeline(tmp_path):
    champion = solved(tmp_path).champion
    expected = [
        float(BinaryTask().score(BinaryTask().judge(champion.scored.pipeline(i["image"]), BinaryTask().target(i))))
        for i in ITEMS[4:7]
    ]
    assert champion.selection == pytest.approx(expected)


@pytest.mark.e2e
def test_what_is_expected_of_new_images_is_told_by_images_that_taught_the_champion_nothing(tmp_path):
    with_selection = solved(tmp_path)
    assert with_selection.expected.tolist() == with_selection.champion.selection.tolist()
    without = solved(tmp_path, WITHOUT_SELECTION)
    best = without.champion
    assert without.expected.tolist() == cross_fit(best.scored, best.selection, evaluator_of(ITEMS[:4]), 1).tolist()


def test_no_test_image_is_opened_before_the_champion_is_known(tmp_path, monkeypatch):
    events: list[str] = []
    load = Dataset.load
    monkeypatch.setattr(Dataset, "load", lambda self, stem: (events.append(stem), load(self, stem))[1])
    solve(
        data := dataset(),
        WITH_SELECTION,
        BinaryTask(),
        SearchSettings(Budget(evaluations=60), workers=0),
        tmp_path,
        Clock(Budget(evaluations=60)),
        on_chosen=lambda answers, recommended: events.append("found"),
    )
    assert data.stems == tuple(NAMES)
    before = events[: events.index("found")]
    after = events[events.index("found") + 1 :]
    # from_arrays looks at every image once, before the search begins.
    assert set(before[len(NAMES) :]) == {*WITH_SELECTION.search, *WITH_SELECTION.selection}
    assert set(after) == set(WITH_SELECTION.test)


def test_without_a_test_split_nothing_is_claimed(tmp_path):
    assert solved(tmp_path, Splits(tuple(NAMES[:4]), (), ())).test == {}


def test_a_program_that_the_user_brings_is_tried_first(tmp_path):
    brought = Pipeline(
        [step("channel", IMAGE), step("gaussian", 0, sigma=1.7), step("threshold", 1), step("remove_small", 2, area=9)]
    )
    solution = solved(tmp_path, start=(brought,), budget=Budget(evaluations=1))
    (first,) = solution.progress.best
    assert (first.pipeline.form, first.proposer) == (brought.form, "start")


def test_a_cost_limit_holds_for_every_evolved_finalist(tmp_path):
    solution = solved(tmp_path, max_cost=4.0)
    assert all(f.scored.pipeline.cost <= 4.0 for f in solution.finalists)


def test_an_interrupt_keeps_the_best_so_far(tmp_path):
    def interrupt(progress: Progress) -> None:
        if progress.generation == 2:
            raise KeyboardInterrupt

    solution = solved(tmp_path, watch=interrupt, budget=Budget(evaluations=100_000))
    assert solution.progress.stopped_by == "interrupt"
    assert solution.progress.generation == 2
    assert solution.test


def test_an_interrupt_from_outside_in_mid_job_keeps_the_best_so_far(tmp_path):
    begun = threading.Event()

    def interrupt() -> None:
        begun.wait(30)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    solution = solved(tmp_path, watch=lambda p: begun.set(), budget=Budget(evaluations=100_000), workers=1)
    thread.join()
    assert solution.progress.stopped_by == "interrupt"
    champion = solution.champion.scored.pipeline
    expected = [BinaryTask().judge(champion(ITEMS[i]["image"]), BinaryTask().target(ITEMS[i])).tolist() for i in (7, 8)]
    assert solution.test[champion].tolist() == expected


def test_an_interrupt_before_the_first_score_says_so(tmp_path):
    clock = Clock(Budget(evaluations=10))
    clock.stop()
    with pytest.raises(EvosegError, match="before any candidate was scored"):
        solve(
            dataset(), WITH_SELECTION, BinaryTask(), SearchSettings(Budget(evaluations=10), workers=0), tmp_path, clock
        )


@pytest.mark.e2e
def test_a_run_in_which_a_worker_was_killed_says_so(tmp_path):
    # `NastyTask` lets its process exit whenever exactly two pixels are marked.
    spot = np.zeros((40, 51), np.uint8)
    spot[7, 9:11] = 200
    images = [np.maximum(spot, 5)] * 4
    data = Dataset.from_arrays(images, [spot > 0] * 4, names=NAMES[:4])
    deadly = Pipeline([step("channel", IMAGE), step("level", 0, level=99)])
    budget = Budget(evaluations=12)
    settings = SearchSettings(budget, workers=1, start=(deadly,))
    solution = solve(data, Splits(tuple(NAMES[:4]), (), ()), NastyTask(), settings, tmp_path, Clock(budget))
    assert not solution.reproducible
    assert solution.progress.failed >= 1


def test_a_cost_limit_that_nothing_can_meet_is_said(tmp_path):
    with pytest.raises(EvosegError, match=r"no candidate costs less than 0\.001 ms per megapixel"):
        solved(tmp_path, max_cost=0.001)


def test_images_of_one_value_end_in_an_answer(tmp_path):
    flat = [np.full((24, 31, 3), 9, np.uint8) for _ in ITEMS]
    masks = [item["mask"][:24, :31] for item in ITEMS]
    data = Dataset.from_arrays(flat, masks, names=NAMES)
    chosen = SearchSettings(budget=Budget(evaluations=150), workers=0)
    solution = solve(data, WITHOUT_SELECTION, BinaryTask(), chosen, tmp_path, Clock(chosen.budget))
    assert solution.champion.role in ("constant", "classic", "evolved")


def test_files_in_the_working_folder_do_not_stand_in_for_modules(tmp_path, monkeypatch):
    for name in ("random.py", "select.py", "evoseg.py"):
        (tmp_path / name).write_text("raise SystemExit('this is not the module you are looking for')\n")
    monkeypatch.chdir(tmp_path)
    assert solved(tmp_path, workers=1, budget=Budget(evaluations=20)).progress.evaluations == 20
