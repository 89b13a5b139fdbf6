"""A search that trains networks, seen by its user: the two pipelines in the summary, in files and in the report."""

import logging
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evoseg
from evoseg.runs.stored import open_run

pytestmark = pytest.mark.e2e

SETTINGS = {"evaluations": 200, "workers": 0, "library": "none"}


@pytest.fixture(scope="module")
def found(dataset, tmp_path_factory) -> evoseg.SearchResult:
    return evoseg.search(dataset, task="binary", **SETTINGS, out=tmp_path_factory.mktemp("two"))


def test_commands_know_both_by_name(found, dataset, command, tmp_path):
    for name, pipeline in (("readable", found.readable), ("accurate", found.accurate)):
        shown = command("show", f"{found.folder}#{name}").out
        assert shown.startswith(str(pipeline).splitlines()[0])
        applied = command("apply", f"{found.folder}#{name}", dataset / "images", "--out", tmp_path / name)
        assert applied.code == 0 and len([*(tmp_path / name / "masks").iterdir()]) == 12
        assert command("score", f"{found.folder}#{name}", dataset).code == 0
    assert command("export", f"{found.folder}#readable", "--to", "imagej").code == 0
    refused = command("export", f"{found.folder}#accurate", "--to", "imagej")
    assert refused.code == 1 and "#readable" in refused.err
    shown = command("runs", "show", found.folder).out
    assert "accurate" in shown and "readable" in shown


def test_lists_of_runs_count_candidates_with_a_network(found):
    state = open_run(found.folder).state
    assert state.evaluations == found.evaluations
    assert state.best == pytest.approx(max(best for _, _, best in found.history))


def test_scores_on_images_that_a_network_has_learned_come_with_a_warning(found, dataset, command):
    assert "too high" in command("score", f"{found.folder}#accurate", dataset, "--split", "search").err
    assert "too high" not in command("score", f"{found.folder}#readable", dataset, "--split", "search").err


def test_a_saved_result_takes_its_network_along(found, tmp_path):
    copies = found.save(tmp_path / "copy")
    assert {"pipeline", "readable", "accurate"} <= copies.keys()
    script = f"import evoseg; print(evoseg.read_pipeline({str(copies['accurate'])!r}).cost)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_the_report_shows_both_and_is_written_anew(found, command):
    report = found.folder / "report.html"
    text = report.read_text("utf-8")
    for said in ("Two pipelines", "The accurate pipeline", "The readable pipeline", "a small neural network"):
        assert said in text
    assert command("report", found.folder).code == 0
    assert len(report.read_text("utf-8")) == pytest.approx(len(text), rel=0.02)


def test_pictures_of_search_images_are_out_of_bag(dataset, command, tmp_path, caplog):
    few = tmp_path / "few"
    for kind in ("images", "masks"):
        (few / kind).mkdir(parents=True)
        for path in sorted((dataset / kind).iterdir())[:4]:
            shutil.copy(path, few / kind)
    with caplog.at_level(logging.WARNING):
        found = evoseg.search(few, task="binary", **SETTINGS, out=tmp_path / "run")
    assert found.scores["test"] is None and found.accurate is not None
    assert not [record for record in caplog.records if "in the search" in record.getMessage()]
    assert command("report", tmp_path / "run").code == 0


def test_a_pickled_segmenter_brings_its_networks_to_another_process(dataset, tmp_path):
    data = evoseg.Dataset(dataset)
    samples = [data.load(stem) for stem in data.labelled]
    images, masks = [s.image for s in samples], [s.mask for s in samples]
    segmenter = evoseg.Segmenter(evaluations=200, n_jobs=0, library="none").fit(images, masks)
    segmenter.pipeline_ = segmenter.result_.accurate
    file = tmp_path / "segmenter.pickle"
    file.write_bytes(pickle.dumps(segmenter))
    np.save(tmp_path / "image.npy", images[0])
    script = (
        "import pickle, numpy as np\n"
        f"found = pickle.load(open({str(file)!r}, 'rb')).predict([np.load({str(tmp_path / 'image.npy')!r})])[0]\n"
        f"np.save({str(tmp_path / 'mask.npy')!r}, found)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    np.testing.assert_array_equal(np.load(Path(tmp_path / "mask.npy")), segmenter.predict([images[0]])[0])
