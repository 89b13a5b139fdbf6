"""Pairs of images from the command line: search, score, apply, replay, report."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from numpy.random import default_rng

import evoseg
from evoseg.core.errors import SettingsError
from evoseg.core.transforms import as_transform, resample
from evoseg.datasets.io.files import read_image, write_image
from evoseg.datasets.pair_tables import read_pair_table
from evoseg.exporters.targets import exported
from evoseg.inference import register as registering
from evoseg.synthetic import draw_pairs, element_maps


def read_shifts(path):
    return {stem: tuple(rows[0]) for stem, rows in read_pair_table(path).rows.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_pairs(tmp_path_factory.mktemp("pairs") / "maps", 12, (40, 56), seed=4)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    return evoseg.search(folder, evaluations=60, workers=1, seed=1, out=tmp_path_factory.mktemp("run"))


def test_pairs_are_searched_for_shifts(run):
    assert (run.task, run.metric, run.radius_px) == ("registration", "closeness", None)
    assert run.scores["test"] > run.baselines_test["nothing"] + 0.4
    errors = run.error_px_test
    assert errors["median"] <= errors["max"] < 1
    assert errors["max"] == pytest.approx(1 / min(run.test_per_image.values()) - 1)
    assert run.pipeline.output is evoseg.Kind.GRAY


def test_the_report_shows_pairs_and_says_so(run):
    page = run.files["report"].read_text()
    assert "a checkerboard of both images as they are" in page and "outlines of" not in page
    assert "Would more pairs help?" in page and "ore masks" not in page
    assert "1 / (1 + error in px)" in page and " px off" in page
    first_steps = re.search(r'<ol class="steps">(.*?)</ol>', page, re.DOTALL)
    assert first_steps is not None
    assert first_steps[1].count("<img") == 2 * first_steps[1].count("<li>"), "the fixed image and the moving one"
    assert "new_pairs/ --out aligned/" in str(run)


def test_scores_name_the_error(command, run, folder):
    done = command("score", run.files["pipeline"], folder)
    assert done.code == 0
    assert "error in px: median" in done.out
    document = json.loads(command("score", run.files["pipeline"], folder, "--json").out)
    assert document["per_image"] == {stem: {"closeness": s} for stem, s in run.test_per_image.items()}


def test_an_interrupt_keeps_the_shifts_that_were_found(command, run, folder, tmp_path, monkeypatch):
    def cut(*arguments, **options):
        yield registering.RegisteredPair("a", transform=as_transform(np.array([1.0, 2.0])))
        raise KeyboardInterrupt

    monkeypatch.setattr(registering, "register_pairs", cut)
    done = command("apply", run.files["pipeline"], folder, "--out", tmp_path)
    assert done.code == 130 and f"the results so far are in {tmp_path / 'shifts.csv'}" in done.err
    assert read_shifts(tmp_path / "shifts.csv") == {"a": (1.0, 2.0)}


def test_apply_writes_a_table_of_shifts(command, run, folder, tmp_path):
    done = command("apply", run.files["pipeline"], folder, "--out", tmp_path)
    assert done.code == 0
    assert "12 of 12 pairs registered" in done.out
    truth, found = read_shifts(folder / "pairs" / "shifts.csv"), read_shifts(tmp_path / "shifts.csv")
    assert found.keys() == truth.keys()
    assert np.median([np.hypot(*np.subtract(found[stem], truth[stem])) for stem in truth]) < 0.5
    again = command("apply", run.files["pipeline"], folder, "--out", tmp_path)
    assert (again.code, "exists already" in again.err) == (1, True)


def test_a_damaged_pair_is_named_and_the_others_go_on(command, run, tmp_path):
    folder = draw_pairs(tmp_path / "maps", 3, (40, 56), seed=4)
    (folder / "pairs" / "shifts.csv").unlink()  # new pairs have none
    (folder / "pairs" / "moving" / "maps_001.tif").write_bytes(b"no image")
    done = command("apply", run.files["pipeline"], folder, "--out", tmp_path / "out", "--json")
    assert done.code == 1
    assert "maps_001.tif" in done.err
    assert [sorted(pair) for pair in json.loads(done.out)["pairs"]][1] == ["fault", "name"]
    with (tmp_path / "out" / "shifts.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["maps_000", "maps_002"]


def test_pairs_without_a_table_cannot_be_scored(command, run, tmp_path):
    folder = draw_pairs(tmp_path / "maps", 3, (40, 56), seed=4)
    (folder / "pairs" / "shifts.csv").unlink()
    for split in ("test", "all"):
        done = command("score", run.files["pipeline"], folder, "--split", split)
        assert (done.code, done.out, "no image is labelled, so none can be scored" in done.err) == (1, "", True)


def test_what_is_no_pair_is_refused(command, run, dataset, tmp_path):
    done = command("apply", run.files["pipeline"], dataset, "--out", tmp_path)
    assert (done.code, "holds no pairs" in done.err) == (1, True)
    done = command("search", dataset, "--task", "registration", "--evaluations", "1")
    assert (done.code, "needs a line in pairs/shifts.csv" in done.err) == (2, True)


@pytest.mark.parametrize(
    "options",
    [("--image-table", "t.csv"), ("--doubt", "d"), ("--formats", "rois"), ("--page", "all"), ("--recursive",)],
)
def test_options_that_mean_nothing_for_pairs_are_refused(command, run, folder, tmp_path, options):
    done = command("apply", run.files["pipeline"], folder, "--out", tmp_path / "out", *options)
    word = "--page all" if "all" in options else options[0]
    assert (done.code, f"for which there is no {word}. Leave it out." in done.err) == (2, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.e2e
def test_it_is_replayed_and_reported(command, run, tmp_path):
    folder = run.files["result"].parent
    assert "all as recorded" in command("runs", "replay", folder).out
    assert command("report", folder, "--out", tmp_path / "report.html").code == 0
    assert "px off" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.e2e
def test_what_filters_the_images_is_exported(command, run, tmp_path):
    file = tmp_path / "filtering.py"
    assert command("export", run.files["pipeline"], "--to", "python", "--out", file).code == 0
    done = subprocess.run([sys.executable, file, "--self-test"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.e2e
def test_pairs_come_from_arrays_too(tmp_path):
    pairs = [element_maps(default_rng(seed), (40, 52)) for seed in range(6)]
    data = evoseg.Dataset.from_arrays(
        [p.fixed for p in pairs], moving=[p.moving for p in pairs], shifts=[p.shift for p in pairs]
    )
    found = evoseg.search(data, evaluations=12, workers=0, out=tmp_path, report=False)
    assert found.task == "registration"


@pytest.mark.e2e
def test_the_channel_of_both_images_is_remembered(command, folder, tmp_path):
    out = tmp_path / "run"
    found = evoseg.search(
        evoseg.Dataset(folder, channel=2), evaluations=12, workers=0, library="none", out=out, report=False
    )
    assert found.pipeline.channels == 1
    done = command("score", out, folder, "--split", "all", "--json")
    assert done.code == 0
    one = folder / "pairs" / "moving" / "maps_000.tif"
    assert command("apply", out, folder, "--out", tmp_path / "shifts").code == 0
    other = draw_pairs(tmp_path / "maps", 12, (40, 56), seed=4)
    for side in ("fixed", "moving"):
        for file in (other / "pairs" / side).iterdir():
            write_image(file, read_image(file)[..., 2:3], overwrite=True)
    assert read_image(one).shape[2] == 4
    assert command("apply", found.files["pipeline"], other, "--channel", "0", "--out", tmp_path / "gray").code == 0
    assert read_shifts(tmp_path / "gray" / "shifts.csv") == read_shifts(tmp_path / "shifts" / "shifts.csv")


@pytest.mark.e2e
def test_macros_carry_no_planes_and_cpp_files_do(folder, tmp_path):
    with pytest.raises(SettingsError, match="ImageJ macros support pipelines that return masks; the task registration"):
        evoseg.search(folder, evaluations=1, goal=evoseg.Goal(target="imagej"))
    found = evoseg.search(
        folder, evaluations=6, workers=0, library="none", goal=evoseg.Goal(target="cpp"), out=tmp_path
    )
    assert "pipeline(const cv::Mat& image)" in exported(found.pipeline, "cpp")


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    return draw_pairs(tmp_path_factory.mktemp("turned") / "cells", 10, (56, 64), seed=4, noise=0.5, kind="rigid")


@pytest.fixture(scope="module")
def rigid(turned, tmp_path_factory):
    out = tmp_path_factory.mktemp("rigid")
    return evoseg.search(turned, evaluations=25, workers=0, seed=1, library="none", out=out, report=False)


def test_rotated_pairs_of_two_modalities_are_searched(rigid):
    assert rigid.task == "registration"
    assert rigid.scores["test"] > rigid.baselines_test["nothing"] + 0.2
    assert '# reads: {"transform": "rigid"}' in rigid.files["pipeline"].read_text()


def test_rotated_pairs_are_aligned(command, rigid, turned, tmp_path):
    done = command("apply", rigid.files["pipeline"], turned, "--out", tmp_path, "--json")
    assert done.code == 0
    document = json.loads(done.out)
    table = read_pair_table(tmp_path / "transforms.csv")
    assert document["transforms"] == str(tmp_path / "transforms.csv") and len(table.rows) == 10
    pair = document["pairs"][0]
    np.testing.assert_allclose(table.truth(pair["name"], "rigid"), pair["transform"], atol=1e-3)
    moving = read_image(turned / "pairs" / "moving" / "maps_000.tif")
    aligned = read_image(tmp_path / "aligned" / "maps_000.tif")
    np.testing.assert_array_equal(aligned, resample(moving, np.array(pair["transform"])))
    assert read_image(tmp_path / "overlays" / "maps_000.png").shape == (56, 64, 3)
    again = command("apply", rigid.files["pipeline"], turned, "--out", tmp_path)
    assert (again.code, "exists already" in again.err) == (1, True)


def test_only_pipelines_for_pairs_take_a_transform(command, rigid, dataset, tmp_path):
    mask = "def pipeline(image):\n    return threshold(channel(image), level=9)\n"
    (tmp_path / "mask.evo").write_text(mask)
    done = command("apply", tmp_path / "mask.evo", dataset / "images", "--out", tmp_path, "--transform", "rigid")
    assert (done.code, "Leave out --transform rigid" in done.err) == (2, True)


@pytest.mark.e2e
def test_an_exported_file_registers_pairs_as_apply_does(command, rigid, turned, tmp_path):
    assert command("apply", rigid.files["pipeline"], turned, "--out", tmp_path / "out", "--json").code == 0
    files = {side: tmp_path / f"{side}.tif" for side in ("fixed", "moving")}
    for side, file in files.items():
        file.write_bytes((turned / "pairs" / side / "maps_003.tif").read_bytes())
    program = tmp_path / "align.py"
    assert command("export", rigid.files["result"].parent, "--to", "python", "--out", program).code == 0
    call = [sys.executable, "-I", program, "--register", *files.values()]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    heads, numbers, target = done.stdout.splitlines()
    assert (heads, target) == ("yy,yx,dy,xy,xx,dx", str(tmp_path / "moving_aligned.tif"))
    found = np.reshape([float(number) for number in numbers.split(",")], (2, 3))
    truth = read_pair_table(tmp_path / "out" / "transforms.csv").truth("maps_003", "rigid")
    np.testing.assert_allclose(found, truth, atol=2e-3)
    again = subprocess.run(call, capture_output=True, text=True)
    assert again.returncode == 1 and "exists already" in again.stderr


@pytest.mark.e2e
def test_a_report_shows_pairs_aligned(command, rigid, tmp_path):
    assert command("report", rigid.files["result"].parent, "--out", tmp_path / "report.html").code == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "a checkerboard of both images, aligned" in page and "in red and cyan" in page
