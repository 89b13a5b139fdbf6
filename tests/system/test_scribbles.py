"""Scribbles: strokes in place of masks."""

from pathlib import Path

import numpy as np
import pytest

import evoseg
from evoseg.core.errors import DatasetError, SettingsError
from evoseg.datasets.annotations import from_scribbles
from evoseg.datasets.checking import check, open_dataset
from evoseg.datasets.io.files import write_image, write_mask
from evoseg.datasets.splits import split
from evoseg.datasets.survey import infer_task
from evoseg.library.description import describe

SHAPE = (40, 57)  # Non-square on purpose: swapped axes must fail.


def folder(root: Path, n: int = 4, strokes: bool = True) -> Path:
    """Write images of a bright square on noise; of every image but the last two, strokes instead of the mask."""
    for i in range(n):
        rng = np.random.default_rng(i)
        mask = np.zeros(SHAPE, bool)
        mask[8 + i : 26 + i, 10:38] = True
        write_image(root_of(root, "images") / f"s{i}.png", (rng.integers(0, 60, SHAPE) + 90 * mask).astype(np.uint8))
        if strokes and i < n - 2:
            drawn = np.zeros(SHAPE, np.uint8)
            drawn[2:4, 5:50], drawn[16:18, 14:34] = 1, 2
            write_image(root_of(root, "scribbles") / f"s{i}.png", drawn)
        else:
            write_mask(root_of(root, "masks") / f"s{i}.png", mask)
    train = ", ".join(f"s{i}" for i in range(n - 1))
    (root / "dataset.yaml").write_text(f"splits: {{test: [s{n - 1}], selection: [], train: [{train}]}}")
    return root


def root_of(root: Path, name: str) -> Path:
    (root / name).mkdir(parents=True, exist_ok=True)
    return root / name


def test_strokes_say_what_is_foreground_and_what_is_known():
    values = np.array([[0, 1, 2], [3, 0, 1]], np.uint8)
    mask, known = from_scribbles(values)
    assert mask.tolist() == [[0, 0, 1], [2, 0, 0]] and mask.dtype == np.uint8
    assert known.tolist() == [[False, True, True], [True, False, True]]
    mask, known = from_scribbles(np.array([[False, True]]))  # a file of one bit per pixel
    assert mask.tolist() == [[0, 0]] and known.tolist() == [[False, True]]


@pytest.mark.parametrize("value", [128, -1, 0.5])
def test_other_values_are_refused_with_the_convention(value):
    with pytest.raises(DatasetError, match=r"a\.png: scribbles hold 0 where nothing is drawn, 1 for background"):
        from_scribbles(np.array([[0, value]]), "a.png")


def test_scribbles_and_masks_make_one_dataset(tmp_path):
    data = open_dataset(folder(tmp_path))
    scribbled, full = data.load("s0"), data.load("s3")
    assert scribbled.known is not None and scribbled.mask is not None
    assert scribbled.known.sum() == 2 * 45 + 2 * 20 and scribbled.mask.sum() == 2 * 20
    assert full.known is None and full.mask is not None and full.mask.sum() == 18 * 28
    facts = data.survey.facts["s0"]
    assert facts.strokes and not facts.whole and len(facts.areas) == 0 and facts.n_known == 130
    report = check(tmp_path)
    assert report.ok and "of the pixels are known, and only these are scored" in str(report)
    assert report.card["objects_per_image"] == {"median": 1.0}


def test_strokes_tell_the_library_nothing_of_shapes(tmp_path):
    data = open_dataset(folder(tmp_path))
    assert "masks" not in describe(data, ["s0", "s1"]).statistics
    assert describe(data, ["s0", "s2"]).statistics["masks"] == describe(data, ["s2"]).statistics["masks"]


def test_two_truths_of_one_image_are_a_fault(tmp_path):
    folder(tmp_path)
    write_mask(tmp_path / "masks" / "s0.png", np.ones(SHAPE, bool))
    write_mask(root_of(tmp_path, "known") / "s1.png", np.ones(SHAPE, bool))
    write_image(tmp_path / "scribbles" / "lone.png", np.ones(SHAPE, np.uint8))
    faults = check(tmp_path).problems
    assert any("scribbles/s0.png: there is a mask of it too (masks/)" in fault for fault in faults)
    assert any("scribbles/s1.png: there is a known area of it too" in fault for fault in faults)
    assert any("scribbles/lone.png: a scribble without an image" in fault for fault in faults)


def test_strokes_of_several_classes_are_no_objects(tmp_path):
    root = folder(tmp_path, n=6)
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[2:4, 5:50], drawn[16:18, 14:34], drawn[30:32, 14:34] = 1, 2, 3
    for path in (root / "scribbles").iterdir():
        write_image(path, drawn, overwrite=True)
    data = open_dataset(root)
    assert infer_task(data.survey, data.card).task == "classes"
    with pytest.raises(SettingsError, match="shows no whole objects"):
        evoseg.search(data, task="instances", evaluations=4, workers=0, out=tmp_path / "run")


def test_a_file_of_other_values_is_named(tmp_path):
    write_image(folder(tmp_path) / "scribbles" / "s1.png", np.full(SHAPE, 255, np.uint8), overwrite=True)
    report = check(tmp_path)
    assert not report.ok and "scribbles/s1.png: scribbles hold 0" in report.problems[0]


@pytest.mark.e2e
def test_a_search_learns_from_strokes_and_is_tested_on_full_masks(tmp_path):
    root = folder(tmp_path / "data", n=6)
    data = open_dataset(root)
    found = evoseg.search(data, evaluations=60, workers=0, library="none", out=tmp_path / "run", report=False)
    assert split(data).test == ("s5",)
    assert found.scores["test"] is not None and found.scores["test"] > 0.9


def mixed(root: Path, n_full: int, n_strokes: int, card: str = "") -> Path:
    """Write images of a bright square on noise: f0, f1, ... with full masks, s0, s1, ... with strokes."""
    for i in range(n_full + n_strokes):
        rng = np.random.default_rng(i)
        stem = f"f{i}" if i < n_full else f"s{i - n_full}"
        mask = np.zeros(SHAPE, bool)
        mask[8:26, 10:38] = True
        write_image(root_of(root, "images") / f"{stem}.png", (rng.integers(0, 60, SHAPE) + 90 * mask).astype(np.uint8))
        if i < n_full:
            write_mask(root_of(root, "masks") / f"{stem}.png", mask)
            continue
        drawn = np.zeros(SHAPE, np.uint8)
        drawn[2:4, 5:50], drawn[16:18, 14:34] = 1, 2
        write_image(root_of(root, "scribbles") / f"{stem}.png", drawn)
    (root / "dataset.yaml").write_text(card)
    return root


@pytest.mark.parametrize(("n_full", "n_strokes"), [(1, 9), (4, 20), (12, 12), (30, 3)])
def test_images_with_strokes_never_test_or_select_beside_full_masks(tmp_path, n_full, n_strokes):
    splits = split(open_dataset(mixed(tmp_path, n_full, n_strokes)))
    assert all(stem.startswith("f") for stem in splits.test + splits.selection)
    assert splits.test and len(splits.search) + len(splits.test) + len(splits.selection) == n_full + n_strokes


def test_the_rule_of_early_versions_is_known_for_their_runs(tmp_path):
    data = open_dataset(mixed(tmp_path, 6, 6))
    assert any(stem.startswith("s") for stem in split(data, strokes_apart=False).test)


def test_given_test_images_with_strokes_are_left_out_and_named(tmp_path):
    report = check(mixed(tmp_path, 3, 3, "splits: {test: [f0, s0], selection: [f1, s1], train: [f2, s2]}"))
    assert report.splits is not None
    assert (report.splits.test, report.splits.selection) == (("f0",), ("f1",))
    (warning,) = [w for w in report.warnings if "scribbles" in w]
    assert warning.startswith("images with scribbles are named as test or selection images and are left out")
    assert "s0, s1" in warning


def test_a_given_test_of_strokes_alone_is_refused_beside_full_masks(tmp_path):
    report = check(mixed(tmp_path, 2, 2, "splits: {test: [s0], train: [f0, f1, s1]}"))
    assert not report.ok and "all 1 given test images have scribbles only" in report.problems[0]


def test_a_score_on_strokes_says_so_in_the_first_line(command, tmp_path):
    root = mixed(tmp_path / "data", 0, 8)
    assert "test scores are computed on these" in str(check(root))
    found = evoseg.search(root, evaluations=20, workers=0, library="none", out=tmp_path / "run")
    assert found.scored_on == "strokes" and found.scores["test"] is not None
    first = str(found).partition("\n")[0]
    assert "on 2 held-out test images, scored on scribbles and not on full masks" in first
    assert "scored on scribbles and not on full masks" in (tmp_path / "run" / "report.html").read_text("utf-8")
