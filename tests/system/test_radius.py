"""Within how many pixels points match: asked for, said by the dataset, remembered with the run."""

import json

import pytest

import evoseg
from evoseg.core.errors import SettingsError
from evoseg.synthetic import draw_frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_frames(tmp_path_factory.mktemp("frames") / "drawn", 6, (70, 90), seed=1)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    return evoseg.search(folder, task=evoseg.Points(1.5), evaluations=30, workers=1, out=tmp_path_factory.mktemp("run"))


def test_the_dataset_says_it(folder, tmp_path):
    found = evoseg.search(folder, evaluations=8, workers=0, out=tmp_path, report=False)
    assert found.radius_px == 3


@pytest.mark.e2e
def test_without_a_word_it_is_six(folder, tmp_path):
    data = evoseg.Dataset(folder)
    samples = [data.load(stem) for stem in data.stems]
    arrays = evoseg.Dataset.from_arrays([s.image for s in samples], points=[s.points for s in samples])
    assert evoseg.search(arrays, evaluations=8, workers=0, out=tmp_path, report=False).radius_px == 6


@pytest.mark.e2e
def test_it_is_remembered_with_the_run_and_said(command, run, folder):
    assert (run.radius_px, run.settings["radius"]) == (1.5, 1.5)
    stored = run.files["result"].parent
    assert "within 1.5 px" in run.files["report"].read_text("utf-8")
    document = json.loads(command("score", stored, folder, "--json").out)
    assert document["radius_px"] == 1.5
    assert document["score"] == pytest.approx(run.scores["test"])
    assert "within 1.5 px" in command("score", stored, folder).out


def test_a_wider_one_finds_no_less(command, run, folder):
    scores = [
        json.loads(command("score", run.files["pipeline"], folder, "--radius", radius, "--json").out)["score"]
        for radius in ("0.4", "1.5", "6")
    ]
    assert scores == sorted(scores)
    assert scores[0] < scores[2]


def test_nonsense_is_refused(folder, dataset):
    with pytest.raises(SettingsError, match="radius is -1; it must be a length in px, above 0"):
        evoseg.search(folder, task=evoseg.Points(-1), evaluations=1)
    with pytest.raises(SettingsError, match="the task points needs a file in points/"):
        evoseg.search(dataset, task=evoseg.Points(3), evaluations=1)
