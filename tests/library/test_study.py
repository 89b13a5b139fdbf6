"""The cross-application study, on drawn datasets."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from evoseg.core.errors import DatasetError, SettingsError
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import split
from evoseg.evolve.budget import Budget
from evoseg.library import study
from evoseg.library.collection import bundled_tasks, open_library
from evoseg.library.study import ROWS, StudyStatus, run_study, simple_statistics, transfer_results
from evoseg.library.study_tables import StudyTables
from evoseg.runs.run_folder import FilesError
from evoseg.synthetic import draw_dataset

BRIEF = Budget(evaluations=20)
USUAL = {"n_images": 2, "workers": 0, "library": "none"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    return [draw_dataset(scene, root / scene, n=8, shape=(44, 52), seed=1) for scene in ("nuclei", "pores")]


@pytest.fixture(scope="module")
def whole(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("studies") / "whole"
    return out, run_study(folders, out, budget=BRIEF, **USUAL)


def test_every_stored_pipeline_is_tried_on_every_dataset(whole):
    _, study = whole
    n_bundled = sum(task.card.task == "binary" for task in bundled_tasks())
    assert len(study.sources) == n_bundled + 2
    grey = [task for task in study.sources if any(p.pipeline.channels == 1 for p in task.pipelines)]
    tried = {(row.target, row.source) for row in study.rows}
    assert tried >= {(dataset.name, task.id) for dataset in study.datasets for task in grey}
    assert all(-1 <= row.mcc <= 1 and 0 <= row.refitted_iou <= row.refitted_f1 <= 1 for row in study.rows)


def test_a_dataset_without_a_task_is_solved_on_the_images_that_are_not_scored(whole):
    out, study = whole
    assert sorted(path.name for path in (out / "tasks").iterdir()) == ["nuclei.yaml", "pores.yaml"]
    for dataset in study.datasets:
        own = next(task for task in study.sources if task.id == dataset.own)
        assert dataset.own in dataset.related and own.name == dataset.name and own.n_images == 3
        training = {*(splits := split(dataset.dataset)).search, *splits.selection}
        assert {*dataset.fitted_on, *dataset.scored_on} < training
        assert not {*dataset.fitted_on} & {*dataset.scored_on}


def test_refitting_helps_and_measures_cover_all_sources(whole):
    _, study = whole
    as_they_are, refitted = (np.mean([getattr(row, name) for row in study.rows]) for name in ("iou", "refitted_iou"))
    assert refitted > as_they_are + 0.1
    for name, values in study.likeness.items():
        known = np.isfinite(values).all(axis=1)
        assert known.all() if name != "simple statistics" else known.sum() == 2
    own = [study.sources.index(next(t for t in study.sources if t.id == d.own)) for d in study.datasets]
    assert study.likeness["image figures"][own, [0, 1]] == pytest.approx(1, abs=1e-5)
    assert StudyTables(study).sources[own[0]] == "nuclei"


def test_a_study_that_was_killed_goes_on_where_it_was(whole, folders, tmp_path):
    out, study = whole
    shutil.copytree(out, tmp_path / "killed")
    rows = tmp_path / "killed" / ROWS
    lines = rows.read_bytes().splitlines(keepends=True)
    rows.write_bytes(b"".join(lines[:50]) + lines[50][:-9])
    seen: list[StudyStatus] = []
    again = run_study(folders, tmp_path / "killed", budget=BRIEF, progress=seen.append, **USUAL)
    assert again.rows == study.rows and rows.read_bytes() == (out / ROWS).read_bytes()
    pairs = [status for status in seen if status.pairs]
    assert 0 < pairs[0].done < pairs[-1].done == pairs[-1].pairs == 2 * len(study.sources)


def test_an_interrupt_loses_the_pair_in_progress_only(whole, folders, tmp_path):
    out, _ = whole
    shutil.copytree(out, tmp_path / "halted", ignore=shutil.ignore_patterns(ROWS))

    def halt(status: StudyStatus) -> None:
        if status.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(folders, tmp_path / "halted", budget=BRIEF, progress=halt, **USUAL)
    written = (tmp_path / "halted" / ROWS).read_text()
    assert (out / ROWS).read_text().startswith(written)
    assert len({line.split(",")[1] for line in written.splitlines()[1:]}) == 3


def test_other_images_and_settings_need_a_folder_of_their_own(whole, folders, tmp_path):
    out, _ = whole
    with pytest.raises(SettingsError, match=r"begun with other settings \(n_images\)"):
        run_study(folders, out, budget=BRIEF, **(USUAL | {"n_images": 3}))
    other = draw_dataset("pores", tmp_path / "nuclei", n=8, shape=(44, 52), seed=2)
    with pytest.raises(SettingsError, match="the images of nuclei"):
        run_study([other], out, **USUAL)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(FilesError, match="holds no study"):
        run_study(folders, tmp_path / "mine", **USUAL)


def test_rows_that_are_not_of_a_study_are_refused(whole, folders, tmp_path):
    out, _ = whole
    shutil.copytree(out, tmp_path / "foreign")
    (tmp_path / "foreign" / ROWS).write_text("a,b\n1,2\n")
    with pytest.raises(FilesError, match=r"rows\.csv: is not what a study writes"):
        run_study(folders, tmp_path / "foreign", budget=BRIEF, **USUAL)


def test_a_dataset_may_be_added_and_tasks_of_the_library_are_recognised(whole, folders, tmp_path):
    out, study = whole
    shutil.copytree(out, tmp_path / "more")
    twin = shutil.copytree(folders[0], tmp_path / "nuclei")
    tasks = [task for task in study.sources if task.name in ("nuclei", "pores")]
    with open_library(str(tmp_path / "own.db")) as shelf:
        shelf.add([replace(task, origin="me") for task in tasks])
    again = run_study([*folders, twin], tmp_path / "more", **(USUAL | {"library": str(tmp_path / "own.db")}))
    assert [dataset.name for dataset in again.datasets] == ["nuclei", "pores", "nuclei_2"]
    # Half of the training images are enough to know a task by; the same images have the same task.
    assert [dataset.own for dataset in again.datasets] == [*(d.own for d in study.datasets), study.datasets[0].own]
    assert {row for row in again.rows if row.target != "nuclei_2"} == set(study.rows)


def test_stored_pipelines_alone_can_be_tried_on_test_images(folders, tmp_path):
    study = run_study(folders[:1], tmp_path / "out", on_test=True, **USUAL)
    (dataset,) = study.datasets
    splits = split(Dataset(folders[0]))
    assert dataset.own is None and set(dataset.scored_on) <= set(splits.test)
    assert set(dataset.fitted_on) <= {*splits.search, *splits.selection}
    assert not transfer_results(study) and not (tmp_path / "out" / "tasks").exists()
    assert StudyTables(study).own == () and len(StudyTables(study).choices()) > 2


def test_results_between_tasks_become_transfer_results_of_a_library(whole):
    _, study = whole
    found = transfer_results(study)
    assert len(found) == len(study.rows) and len({result.id for result in found}) == len(found)
    row = study.rows[0]
    (same,) = [r for r in found if (r.source, r.form, r.scale) == row.key[1:] and r.target == study.datasets[0].own]
    assert (same.retrieved, same.refitted) == (row.iou, row.refitted_iou)


def test_datasets_without_masks_or_enough_images_are_refused(tmp_path, folders):
    points = draw_dataset("spots", tmp_path / "spots", n=8, shape=(44, 52), seed=1)
    shutil.rmtree(points / "masks")
    with pytest.raises(DatasetError, match="masks"):
        run_study([points], tmp_path / "out", **USUAL)
    few = draw_dataset("nuclei", tmp_path / "few", n=3, shape=(44, 52), seed=1)
    with pytest.raises(DatasetError, match="too few labelled images for test images"):
        run_study([few], tmp_path / "out2", on_test=True, **USUAL)
    with pytest.raises(SettingsError, match="name at least one folder"):
        run_study([], tmp_path / "out3", **USUAL)
    with pytest.raises(SettingsError, match="at least 1"):
        run_study(folders, tmp_path / "out3", **(USUAL | {"n_images": 0}))


def test_simple_statistics_are_means_deviations_and_a_histogram():
    image = np.zeros((6, 8, 3), np.uint8)
    image[:, 4:, 0] = 255
    found = simple_statistics(image)
    assert found[:6] == pytest.approx([0.5, 0, 0, 0.5, 0, 0])
    # Two of eight columns touch the edge; in the flat rest the logarithm is lowest.
    assert found[6] == pytest.approx(6 / 8) and found[6:].sum() == pytest.approx(1)
    assert json.dumps(found.tolist())


def test_datasets_with_one_name_get_numbers_that_nobody_has(tmp_path):
    names = ("x/plates", "y/plates_3", "z/plates", "u/plates")
    for name in names:
        draw_dataset("cracks", tmp_path / name, n=1, shape=(40, 50), seed=1)
    assert list(study._open_all([tmp_path / name for name in names])) == ["plates", "plates_3", "plates_2", "plates_4"]
