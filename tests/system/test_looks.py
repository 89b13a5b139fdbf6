"""Looks at a run's test images are counted, whoever scores, and whatever the images are called."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import evoseg
from evoseg.runs.database import LOOK, opened
from evoseg.runs.run_file import DATABASE, add_look, count_recorded_looks
from evoseg.runs.stored import open_run


def scored(command, run: Path | str, dataset: Path, *options: str) -> dict:
    done = command("score", run, dataset, "--json", *options)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_each_score_on_the_test_images_is_a_look_and_others_are_none(command, run, dataset):
    assert open_run(run).looks == 1  # the search's own
    assert scored(command, run, dataset)["looks"] == 2
    assert scored(command, f"{run.name}#1", dataset, "--split", "all")["looks"] == 3
    assert scored(command, run / "pipeline.evo", dataset, "--split", "search")["looks"] is None
    said = command("score", run, dataset).out.splitlines()[-1]
    assert said.startswith(f"This is the 4th use of the test images of run {run}, including the search.")
    said = command("score", f"{run.name}#1", dataset).out.splitlines()[-1]
    assert said.startswith(f"This is the 5th use of the test images of run {run.name}, including the search.")
    assert "test images  used 5 times" in command("runs", "show", run.name).out
    assert json.loads(command("runs", "list", "--json").out)["runs"][0]["looks"] == 5
    evoseg.write_report(run, dataset)
    assert open_run(run).looks == 5  # it repeats recorded scores
    assert "uses of the test images" in (run / "report.html").read_text("utf-8")


def test_test_images_are_known_by_what_they_show_and_not_by_their_names(command, run, dataset, tmp_path):
    test = json.loads((run / "result.json").read_text("utf-8"))["splits"]["test"]
    renamed, others = tmp_path / "renamed", tmp_path / "others"
    for part in ("images", "masks"):
        for folder in (renamed, others):
            (folder / part).mkdir(parents=True)
        for i, stem in enumerate(test):
            shutil.copy(dataset / part / f"{stem}.png", renamed / part / f"new{i}.png")
        unseen = [file for file in sorted((dataset / part).iterdir()) if file.stem not in test]
        for stem, file in zip(test, unseen, strict=False):
            shutil.copy(file, others / part / f"{stem}.png")
    assert scored(command, run, renamed, "--split", "all")["looks"] == 2
    assert scored(command, run, others, "--split", "all")["looks"] is None


def test_looks_of_several_processes_are_all_counted(run):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: add_look(run, "score", f"{i}", 4), range(24)))
    assert count_recorded_looks(run) == 24


def test_a_run_of_an_early_version_has_no_table_of_looks_and_gets_one(command, run, dataset):
    with opened(run / DATABASE, write=True) as connection, connection.begin():
        LOOK.drop(connection)
    assert open_run(run).looks == 1
    assert scored(command, run, dataset)["looks"] == 2


def test_a_run_whose_database_is_damaged_is_scored_all_the_same(command, run, dataset):
    (run / DATABASE).write_bytes(b"no database")
    done = command("score", run / "pipeline.evo", dataset)
    assert done.code == 0 and "mean over 4 test images" in done.out
    assert "could not be counted" in done.err


@pytest.mark.e2e
def test_resuming_repeats_no_look(command, broken, dataset):
    evoseg.resume(broken, dataset)
    assert open_run(broken).looks == 1


def test_a_folder_of_test_images_alone_is_scored_and_not_searched(command, found, dataset, tmp_path):
    root = shutil.copytree(dataset, tmp_path / "accepted")
    stems = ", ".join(sorted(file.stem for file in (root / "images").iterdir()))
    (root / "dataset.yaml").write_text(f"splits: {{test: [{stems}]}}")
    folder = found.files["pipeline"].parent
    for options in ((), ("--split", "all")):
        assert scored(command, folder, root, *options)["n_images"] == 12
    checked = command("check", root)
    assert checked.code == 0 and "all 12 images are test images" in checked.out
    done = command("search", root, "--evaluations", "5")
    assert done.code == 1 and "no image is left for the search: all 12 images" in done.err


def test_a_pipeline_of_no_run_is_scored_without_counting(command, dataset, tmp_path):
    (tmp_path / "own.evo").write_text("def pipeline(image):\n    return threshold(channel(image))\n")
    assert scored(command, tmp_path / "own.evo", dataset)["looks"] is None
