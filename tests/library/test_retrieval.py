"""What is retrieved: similar and popular tasks in turn, and none that has seen a test image."""

import numpy as np
import pytest

from evoseg.core.kinds import Kind
from evoseg.library.collection import Library, Popularity, bundled_tasks
from evoseg.library.description import Description, description_of
from evoseg.library.likeness import measure_norms
from evoseg.library.retrieval import choose, retrieve, scale_between, scaled_pipelines
from evoseg.library.task import Card, SolvedTask, StoredPipeline
from evoseg.library.task_files import TransferResult
from evoseg.pipeline import read_text
from tests.library.helpers import statistics, task


def crowd(n: int = 30) -> dict[str, SolvedTask]:
    """Make tasks with a pipeline of one of three forms each."""
    made = [task(f"t{i}", i, texts=(i % 3,)) for i in range(n)]
    return {t.id: t for t in made}


def results(tasks: dict[str, SolvedTask], good: int) -> list[TransferResult]:
    """Let pipelines of one form do well everywhere, and the others badly."""
    return [
        TransferResult(s.id, t.id, s.best.pipeline.form, 1.0, None, 0.7 if int(s.name[1:]) % 3 == good else 0.3)
        for s in tasks.values()
        for t in tasks.values()
        if s is not t
    ]


HERE = description_of(task("here", 500))
NORMS = measure_norms(bundled_tasks())


def chosen(popularity: Popularity, tasks: dict[str, SolvedTask], k: int) -> list[SolvedTask]:
    return [c.task for c in choose(popularity, NORMS, HERE, scaled_pipelines(HERE, tasks.values()), k)]


@pytest.mark.parametrize("good", [0, 1, 2])
def test_what_is_near_and_what_did_well_elsewhere_take_turns(good):
    twin = task("twin", 500, texts=(2,))
    tasks = crowd() | {twin.id: twin}
    found = chosen(Popularity(results(crowd(), good), tasks), tasks, 5)
    assert twin in found[:2] and len({t.id for t in found}) == 5
    assert sum(int(t.name[1:]) % 3 == good for t in found if t is not twin) >= 2


def test_relatives_teach_nothing_about_other_tasks():
    tasks = {t.id: t for t in (task(f"t{i}", i, family="one sensor") for i in range(30))}
    assert not Popularity(results(tasks, 0), tasks).sources


def test_what_was_tried_on_some_targets_can_be_left_out():
    tasks = crowd()
    popularity = Popularity(results(tasks, 0), tasks)
    assert popularity.sources and not popularity.without(tasks).sources


def test_without_masks_images_alone_are_compared():
    tasks = crowd()
    here = Description({"images": statistics(np.random.default_rng(3))["images"]}, {}, 3)
    found = choose(Popularity(results(tasks, 0), tasks), NORMS, here, scaled_pipelines(here, tasks.values()), 3)
    assert len(found) == 3 and all(c.scale == 1.0 for c in found)


def test_a_pipeline_that_reads_a_missing_channel_is_not_offered():
    gray = description_of(task("here", 500, channels=1))
    assert all(c.program.channels == 1 for c in scaled_pipelines(gray, crowd().values()))


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
        assert "spy" in [offer.name for offer in open_to_all.offers] and not open_to_all.barred
        kept = retrieve(library, description, 3, {"image_7": there.hashes[0]})
    assert "spy" not in [offer.name for offer in kept.offers] and kept.barred == {"spy": "image_7"}


def objects(name: str, seed: int) -> SolvedTask:
    """Make a task of objects."""
    text = "def pipeline(image):\n a = channel(image, index=0)\n b = threshold(a, level=9)\n return components(b)"
    stored = StoredPipeline("best", read_text(text), 0.6, {"channel": 1, "threshold": 1, "components": 1})
    return task(name, seed, card=Card(task="instances"), metric="ap50", pipelines=(stored,))


def test_tasks_of_the_wanted_kind_come_first_and_foreground_is_parted_into_objects(tmp_path):
    there, foreground = objects("cells", 500), task("plates", 500)
    description = Description(there.statistics, {}, 3)
    with Library(tmp_path / "library.db") as library:
        n_seeds = len(library.bundled_of(Kind.LABELS))
        library.add([there, foreground])
        found = retrieve(library, description, n_seeds + 3, output=Kind.LABELS)
        kinds = [library.find(offer.task).card.task for offer in found.offers]
        assert kinds == ["instances"] * (n_seeds + 1) + ["binary"] * 2
        assert all(offer.program.output is Kind.LABELS for offer in found.offers)
        assert found.offers[0].task == there.id and foreground.id in [offer.task for offer in found.offers[-2:]]
        assert "cells" not in [offer.name for offer in retrieve(library, description, 10).offers]


def test_few_tasks_of_one_kind_are_found_among_many_of_another(tmp_path):
    there = objects("cells", 7)
    with Library(tmp_path / "library.db") as library:
        library.add([there, *(task(f"t{seed}", 7, score=0.001 * seed) for seed in range(20))])
        assert library.most_alike(there.described, [Kind.LABELS])[0][0] == there.id
        assert there.id not in dict(library.most_alike(there.described, [Kind.MASK]))
