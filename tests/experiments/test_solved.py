"""How the bundled tasks are made, and the study that their transfer results are."""

from dataclasses import replace

import pytest

from evoseg.core.kinds import Kind
from evoseg.library.collection import bundled_tasks
from evoseg.library.task_files import print_task, read_file, write_task
from evoseg.synthetic import draw_dataset

pytestmark = pytest.mark.e2e

BINARY = [task for task in bundled_tasks() if task.output is Kind.MASK]


@pytest.fixture
def seeds(script):
    return script("seeds")


def test_a_dataset_is_solved_without_its_test_images(seeds, tmp_path):
    folder = draw_dataset("nuclei", tmp_path / "drawn", 10, (64, 80), seed=3)
    task = seeds.solved(folder, 60, 0)
    assert task.name == "drawn" and task.n_images == 7 == len(task.hashes)
    write_task(task, tmp_path / "drawn.yaml")
    assert print_task(read_file(tmp_path / "drawn.yaml")) == print_task(task)
    forgetful = replace(task, statistics={})
    assert print_task(seeds.described(folder, forgetful)) == print_task(task)


def test_the_bundled_transfer_results_are_a_study(script):
    study = script("study_subsets").study_of_ledger()
    assert len(study.datasets) == len(study.sources) == len(BINARY)
    assert {(row.target, row.source) for row in study.rows} == {(t.name, s.id) for t in BINARY for s in BINARY}
    assert all(values.shape == (len(BINARY),) * 2 for values in study.likeness.values()) and len(study.likeness) > 3
