"""Objects from end to end: a folder of label images, a search, answers on disk."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

import evoseg
from evoseg.datasets.io.files import write_image, write_labels
from evoseg.evolve.proposers.warm_start import OFFERED
from evoseg.library.collection import open_library
from evoseg.metrics.object_scores import OBJECT_METRICS
from tests.evolve.test_instances import SCENES


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("objects") / "discs"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for i, (image, labels) in enumerate(SCENES):
        write_image(root / "images" / f"s{i}.png", image)
        write_labels(root / "masks" / f"s{i}.tif", labels)
    return root


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory) -> evoseg.SearchResult:
    return evoseg.search(folder, evaluations=100, workers=1, seed=2, out=tmp_path_factory.mktemp("run"))


def test_a_folder_of_labels_is_searched_for_objects_and_that_is_said(folder, tmp_path, command):
    done = command("search", folder, "--evaluations", 12, "--workers", 0, "--out", tmp_path / "out", "--json")
    assert done.code == 0
    assert "the task is assumed to be instances, because in 6 of 6 masks each value is one object" in done.err
    result = json.loads(done.out)
    assert (result["task"], result["metric"]) == ("instances", "ap50")
    assert set(result["all_metrics_test"]) == set(OBJECT_METRICS)
    assert set(result["baselines_test"]) >= {"all", "nothing"}
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"pipeline.evo", "result.json", "test.png"}


def test_the_answer_scores_as_the_search_says(run, folder, command):
    assert run.metric == "ap50" and run.scores["test"] is not None and run.scores["test"] > 0.8
    done = command("score", run.files["pipeline"].parent, folder, "--json")
    assert json.loads(done.out)["score"] == pytest.approx(run.scores["test"])
    assert "AP50" in command("score", run.files["pipeline"], folder, "--split", "all").out


def test_objects_that_are_joined_are_missed(tmp_path):
    labels = np.zeros((20, 40), np.int32)
    for number, left in enumerate((2, 10, 18, 30), 1):
        labels[4:12, left : left + 8] = number
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    write_image(tmp_path / "images" / "a.png", (200 * (labels > 0)).astype(np.uint8))
    write_labels(tmp_path / "masks" / "a.tif", labels)
    (tmp_path / "joined.evo").write_text(
        "# evoseg 1: channel@1 threshold@1 components@1\n"
        "def pipeline(image):\n"
        "    channel_1 = channel(image, index=0)\n"
        '    return components(threshold(channel_1, level=100, polarity="bright"))\n'
    )
    with pytest.warns(evoseg.ImageWarning, match="written by hand"):
        found = evoseg.score(tmp_path / "joined.evo", tmp_path, split="all")
    assert (found.detections["a"].objects, found.detections["a"].missed, found.detections["a"].false_alarms) == (
        4,
        3,
        1,
    )


def test_labels_are_applied_as_32_bit_tiff(run, folder, tmp_path, command):
    done = command("apply", run.files["pipeline"], folder, "--out", tmp_path / "out", "--json")
    rows = json.loads(done.out)["images"]
    assert [row["name"] for row in rows] == [f"s{i}" for i in range(6)]
    for row, (image, _) in zip(rows, SCENES, strict=True):
        labels = tifffile.imread(row["mask"])
        assert labels.dtype == np.int32 and labels.max() == row["objects"]
        np.testing.assert_array_equal(labels, run.pipeline(image))
        assert Path(row["overlay"]).stat().st_size > 100


def test_the_exported_file_gives_the_same_labels(run, folder, tmp_path, command):
    target = tmp_path / "objects.py"
    assert command("export", run.files["pipeline"], "--to", "python", "--out", target).code == 0
    image = tmp_path / "s0.png"
    image.write_bytes((folder / "images" / "s0.png").read_bytes())
    for arguments in (["--self-test"], [str(image)]):
        subprocess.run([sys.executable, str(target), *arguments], check=True, capture_output=True)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "s0_labels.tif"), run.pipeline(SCENES[0][0]))


def test_a_metric_decides_the_task_and_must_suit_it(folder, tmp_path, command):
    done = command("search", folder, "--task", "instances", "--metric", "iou")
    assert done.code == 2 and "iou, which scores the task binary, not instances" in done.err
    done = command("search", folder, "--task", "instance")
    assert done.code == 2 and "did you mean instances" in done.err
    arguments = ("--metric", "dice", "--evaluations", 6, "--workers", 0, "--out", tmp_path / "out", "--json")
    done = command("search", folder, *arguments)
    assert (json.loads(done.out)["task"], json.loads(done.out)["metric"]) == ("binary", "dice")
    assert "objects touch another" not in done.err  # the folder's own task is instances; dice was asked for


def test_a_pipeline_of_another_kind_is_refused_as_a_start(run, folder, tmp_path, command):
    done = command(
        "search", folder, "--task", "binary", "--warm-start", run.files["pipeline"], "--out", tmp_path / "out"
    )
    assert done.code == 2 and "returns a labels value; the task binary needs a mask value" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.e2e
def test_a_run_of_objects_is_resumed_and_replayed_as_any(folder, tmp_path, command):
    out = tmp_path / "out"
    assert command("search", folder, "--evaluations", 12, "--workers", 0, "--out", out).code == 0
    done = command("runs", "replay", out, "--json")
    assert done.code == 0 and json.loads(done.out)["identical"] is True


@pytest.mark.e2e
def test_a_search_for_objects_is_remembered_and_begins_the_next_one(folder):
    first = evoseg.search(folder, evaluations=40, workers=0, report=False)
    # Masks and what is made of them come first.
    second = evoseg.search(folder, evaluations=120, workers=0, seed=1, report=False)
    entries = {entry["task"]: entry for entry in second.to_json()["warm_start"]}
    assert entries["discs"]["digest"] == first.digest and entries["discs"]["score"] > 0.3
    assert [name for name in entries if name.endswith("_instances")] and len(entries) == OFFERED
    with open_library() as shelf:
        own = {task.id: task for task in shelf.own()}
        assert {task.card.task for task in own.values()} == {"instances"}
        rows = [row for row in shelf.transfer_results() if row.target in own]
    assert rows and all(row.retrieved is not None for row in rows)
