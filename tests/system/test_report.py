"""The report of a real search, from the command line and from Python."""

import json
import shutil
from dataclasses import replace

import pytest

import evoseg
from evoseg.core.errors import EvosegError
from evoseg.report.page import gallery_stems
from evoseg.report.text import summarise_in_short


@pytest.fixture
def copy(found, tmp_path):
    """Return a copy of the run's folder that a test may change."""
    return shutil.copytree(found.files["result"].parent, tmp_path / "copy")


def test_a_search_leaves_a_report_that_names_what_was_found(found):
    text = found.files["report"].read_text("utf-8")
    for said in (found.dataset, found.pipeline.steps[-1].operator, f"{found.scores['test']:.3f}", found.run):
        assert said in text
    assert found.to_json()["files"]["report"] == str(found.files["report"])
    assert len(found.files["report"].read_bytes()) < 1_500_000


def test_settings_that_say_nothing_are_left_out(found):
    text = found.files["report"].read_text("utf-8")
    assert "max_ms_per_mpx" not in text and "task_digest" not in text and "evaluations" in text


def test_the_command_writes_the_same_report_anew(command, found, copy):
    before = (copy / "report.html").read_text("utf-8")
    (copy / "report.html").unlink()
    done = command("report", copy)
    assert (done.code, done.err) == (0, "")
    assert done.out.strip() == str(copy / "report.html")
    assert len((copy / "report.html").read_text("utf-8")) == pytest.approx(len(before), rel=0.01)


def test_another_file_is_written_but_never_over_one_that_exists(command, copy, tmp_path):
    target = tmp_path / "page.html"
    assert command("report", copy, "--out", target).code == 0
    done = command("report", copy, "--out", target)
    assert done.code == 1
    assert "--overwrite" in done.err
    assert evoseg.write_report(copy, out=target, overwrite=True) == target


def test_a_dataset_that_has_changed_is_refused(command, dataset, copy, tmp_path):
    other = shutil.copytree(dataset, tmp_path / "other")
    mask = next((other / "masks").iterdir())
    shutil.copyfile(next(p for p in (other / "masks").iterdir() if p != mask), mask)
    done = command("report", copy, "--dataset", other)
    assert done.code == 1
    assert "has changed" in done.err


def test_a_run_without_a_result_and_one_of_another_version_are_named(command, copy):
    document = json.loads((copy / "result.json").read_text())
    del document["interval_selection"]
    (copy / "result.json").write_text(json.dumps(document))
    assert "has no 'interval_selection'" in command("report", copy).err
    (copy / "result.json").unlink()
    assert "evoseg runs resume" in command("report", copy).err


def test_the_gallery_holds_the_worst_and_the_middle():
    scores = {f"{i:02d}": i / 20 for i in range(20)}
    assert gallery_stems(scores) == ["00", "01", "02", "03", "09", "10", "11"]
    assert gallery_stems({"a": 0.4}) == ["a"]
    assert gallery_stems({}) == []
    assert len(gallery_stems({str(i): 0.5 for i in range(6)})) == 6


def test_few_images_have_a_report_too(dataset, tmp_path):
    data = evoseg.Dataset(dataset)
    samples = [data.load(stem) for stem in data.labelled[:3]]
    arrays = ([s.image for s in samples], [s.mask for s in samples])
    found = evoseg.search(arrays, evaluations=20, workers=0, out=tmp_path / "few")
    text = found.files["report"].read_text("utf-8")
    assert "not tested" in text
    assert set(found.scores_per_image) == set(found.search_per_image)
    evoseg.write_report(tmp_path / "few", arrays)
    with pytest.raises(EvosegError, match="were arrays"):
        evoseg.write_report(tmp_path / "few")


@pytest.mark.parametrize(
    ("curve", "search", "says"),
    [
        ([[1, 0.2], [2, 0.3], [4, 0.5]], 0.5, "would probably help"),
        ([[1, 0.5], [2, 0.5], [4, 0.5]], 0.9, "other kinds of images"),
        ([[1, 0.5], [2, 0.5], [4, 0.5]], 0.5, "would hardly help"),
        ([], 0.5, "too few to estimate"),
    ],
)
def test_it_says_whether_more_masks_would_help(found, curve, search, says):
    splits = replace(found.splits, search=found.splits.search[:1] * 5)
    scores = found.scores | {"test": 0.5, "search": search}
    other = replace(found, learning=curve, splits=splits, scores=scores)
    assert says in " ".join(summarise_in_short(other, []))
