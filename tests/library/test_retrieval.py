"""What is retrieved: by the ledger where there is one, else neighbours and popular tasks in turn; no barred one."""

import numpy as np
import pytest

from evoseg.base.kinds import Kind
from evoseg.library.advice import Adviser, Problem, problem_of
from evoseg.library.describing import Description
from evoseg.library.ledger import Reuse
from evoseg.library.offers import scale_between
from evoseg.library.retrieval import candidates_for, ranked, retrieve
from evoseg.library.shelf import Library
from evoseg.library.task import Card, SolvedTask, StoredPipeline
from evoseg.pipeline import read_text
from tests.library.helpers import statistics, task


def crowd(n: int = 30) -> dict[str, SolvedTask]:
    """Make tasks with a pipeline of one of three forms each."""
    made = [task(f"t{i}", i, texts=(i % 3,)) for i in range(n)]
    return {t.id: t for t in made}


def ledger(tasks: dict[str, SolvedTask], good: int) -> list[Reuse]:
    """Let pipelines of one form do well everywhere, and the others badly."""
    return [
        Reuse(s.id, t.id, s.best.pipeline.form, 1.0, None, 0.7 if int(s.name[1:]) % 3 == good else 0.3)
        for s in tasks.values()
        for t in tasks.values()
        if s is not t
    ]


@pytest.fixture
def problem() -> Problem:
    return problem_of(task("here", 500))


@pytest.mark.parametrize("good", [0, 1, 2])
def test_a_ledger_puts_first_what_did_well_elsewhere(problem, good):
    tasks = crowd()
    adviser = Adviser(ledger(tasks, good), tasks)
    assert not adviser.thin
    chosen = ranked(adviser, problem, candidates_for(problem, tasks.values()), 5)
    assert {int(c.task.name[1:]) % 3 for c, _ in chosen} == {good}
    assert all(score is not None and 0.6 < score < 0.8 for _, score in chosen)
    assert len({c.task.id for c, _ in chosen}) == 5


def test_a_thin_ledger_mixes_neighbours_with_popular_tasks(problem):
    tasks = crowd(10)
    twin = task("twin", 500, texts=(2,))
    tasks[twin.id] = twin
    rows = [r for r in ledger(crowd(10), 1) if r.target == next(iter(tasks))]
    adviser = Adviser(rows, tasks)
    assert adviser.thin
    chosen = ranked(adviser, problem, candidates_for(problem, tasks.values()), 4)
    assert chosen[0][0].task is twin
    assert int(chosen[1][0].task.name[1:]) % 3 == 1
    assert [score for _, score in chosen] == [None] * 4


def test_of_a_twin_its_own_score_is_expected(problem):
    tasks = crowd()
    twin = task("twin", 500, texts=(2,), score=0.93)
    tasks[twin.id] = twin
    chosen = ranked(Adviser(ledger(crowd(), 0), tasks), problem, candidates_for(problem, tasks.values()), 1)
    assert chosen[0][0].task is twin and chosen[0][1] == pytest.approx(0.93)


def test_relatives_teach_nothing_about_strangers():
    tasks = {t.id: t for t in (task(f"t{i}", i, family="one sensor") for i in range(30))}
    assert Adviser(ledger(tasks, 0), tasks).thin


def test_without_masks_images_alone_are_compared():
    tasks = crowd()
    images = {"images": statistics(np.random.default_rng(3))["images"]}
    description = Description(images, {}, 3)
    problem = Problem(images, description.described, 3)
    found = ranked(Adviser(ledger(tasks, 0), tasks), problem, candidates_for(problem, tasks.values()), 3)
    assert all(score is not None and c.scale == 1.0 for c, score in found)


def test_a_pipeline_that_reads_a_missing_channel_is_not_offered():
    gray = problem_of(task("here", 500, channels=1))
    assert all(c.program.channels == 1 for c in candidates_for(gray, crowd().values()))


def test_lengths_follow_the_objects_within_reason():
    assert scale_between(10.0, 20.0) == 2.0
    assert scale_between(10.0, 11.0) == 1.0
    assert scale_between(10.0, 1000.0) == 8.0
    assert scale_between(None, 5.0) == scale_between(5.0, None) == 1.0


def test_a_task_that_has_seen_a_test_image_is_barred_and_named(tmp_path):
    there = task("spy", 500)
    description = Description(there.statistics, {}, 3)
    with Library(tmp_path / "library.db") as library:
        library.add([there])
        open_to_all = retrieve(library, description, 3)
        assert open_to_all.similar[0].task.name == "spy" and not open_to_all.barred
        kept = retrieve(library, description, 3, {"image_7": there.hashes[0]})
    assert "spy" not in [s.task.name for s in kept.similar] and kept.barred == {"spy": "image_7"}


def objects(name: str, seed: int) -> SolvedTask:
    """Make a task of objects."""
    text = "def pipeline(image):\n a = channel(image, index=0)\n b = threshold(a, level=9)\n return components(b)"
    stored = StoredPipeline("best", read_text(text), 0.6, {"channel": 1, "threshold": 1, "components": 1})
    return task(name, seed, card=Card(task="instances"), metric="ap50", pipelines=(stored,))


def test_tasks_of_the_wanted_kind_come_first_and_foreground_is_parted_into_objects(tmp_path):
    there, foreground = objects("cells", 500), task("plates", 500)
    description = Description(there.statistics, {}, 3)
    with Library(tmp_path / "library.db") as library:
        n_seeds = len(library.seeds_of(Kind.LABELS))
        library.add([there, foreground])
        found = retrieve(library, description, n_seeds + 3, output=Kind.LABELS)
        kinds = [s.task.card.task for s in found.similar]
        assert kinds == ["instances"] * (n_seeds + 1) + ["binary"] * 2
        assert all(s.offer.program.output is Kind.LABELS for s in found.similar)
        assert found.similar[0].task.id == there.id and found.similar[n_seeds + 1].task.id == foreground.id
        assert "cells" not in [s.task.name for s in retrieve(library, description, 10).similar]


def test_few_tasks_of_one_kind_are_found_among_many_of_another(tmp_path):
    there = objects("cells", 7)
    with Library(tmp_path / "library.db") as library:
        library.add([there, *(task(f"t{seed}", 7, score=0.001 * seed) for seed in range(20))])
        assert library.nearest(there.described, 5, Kind.LABELS) == [there.id]
        assert there.id not in library.nearest(there.described, 30)
