"""Datasets: pairing by stem, cards, channels, and a sentence for each fault."""

import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import tifffile
from numpy.random import default_rng
from PIL import Image

from evoseg.core.errors import DatasetError
from evoseg.datasets.dataset import Dataset
from tests.datasets.written import put

RNG = default_rng(20260311)
SHAPE = (13, 17)  # Non-square on purpose: swapped axes must fail.


def gray(shape=SHAPE):
    return RNG.integers(0, 256, shape, np.uint8)


def rgb(shape=SHAPE):
    return RNG.integers(0, 256, (*shape, 3), np.uint8)


def folder(root, stems=("a", "b", "c"), image=gray):
    """Write a plain dataset."""
    for stem in stems:
        put(root / "images" / f"{stem}.png", image())
        put(root / "masks" / f"{stem}.png", (gray() > 128) * np.uint8(255))
    return root


def fault(root):
    with pytest.raises(DatasetError) as caught:
        Dataset(root)
    return str(caught.value)


def test_images_and_masks_pair_by_stem_whatever_their_endings(tmp_path):
    pixels, truth = gray(), gray() > 99
    put(tmp_path / "images" / "a.tif", pixels)
    put(tmp_path / "images" / "z.png", gray())
    put(tmp_path / "masks" / "a.png", truth * np.uint8(7))
    dataset = Dataset(tmp_path)
    assert dataset.stems == ("a", "z") and dataset.labelled == ("a",) and len(dataset) == 2
    sample = dataset.load("a")
    assert np.array_equal(sample.image[..., 0], pixels) and np.array_equal(sample.mask, truth)
    assert sample.known is None and set(np.unique(sample.values)) == {0, 7}
    assert dataset.load("z").mask is None
    assert dataset.channels == ("gray",)


@pytest.mark.parametrize("name", ["labels", "gt", "annotations"])
def test_masks_may_lie_under_other_names_but_not_under_two(tmp_path, name):
    folder(tmp_path)
    (tmp_path / "masks").rename(tmp_path / name)
    assert len(Dataset(tmp_path).labelled) == 3
    put(tmp_path / "masks" / "a.png", gray())
    assert f"masks lie in masks/ and in {name}/" in fault(tmp_path)


def test_clutter_is_not_seen(tmp_path):
    folder(tmp_path)
    for name in ("Thumbs.db", ".DS_Store", "._a.png", "desktop.ini", "notes.txt"):
        (tmp_path / "images" / name).write_bytes(b"x")
    assert Dataset(tmp_path).stems == ("a", "b", "c")


def test_ome_tiff_is_one_ending(tmp_path):
    put(tmp_path / "images" / "a.ome.tif", gray())
    put(tmp_path / "masks" / "a.png", gray())
    assert Dataset(tmp_path).labelled == ("a",)


def test_stems_are_compared_in_one_unicode_form(tmp_path):
    put(tmp_path / "images" / (unicodedata.normalize("NFD", "zähler") + ".png"), gray())
    put(tmp_path / "masks" / (unicodedata.normalize("NFC", "zähler") + ".png"), gray())
    assert Dataset(tmp_path).labelled == (unicodedata.normalize("NFC", "zähler"),)


def test_a_missing_folder_is_named(tmp_path):
    assert "no such folder" in fault(tmp_path / "nowhere")
    put(tmp_path / "a.png", gray())
    assert "not a folder" in fault(tmp_path / "a.png")
    assert "there is no images/ folder" in fault(tmp_path)
    folder(tmp_path / "b")
    for path in (tmp_path / "b" / "masks").iterdir():
        path.unlink()
    assert "holds no mask" in fault(tmp_path / "b")
    (tmp_path / "b" / "masks").rmdir()
    assert "there is no masks/ folder" in fault(tmp_path / "b")


def test_an_empty_folder_of_points_is_a_fault_of_its_own(tmp_path):
    put(tmp_path / "images" / "a.png", gray())
    (tmp_path / "points").mkdir()
    assert "points: holds no CSV file" in fault(tmp_path)


def test_two_files_of_one_stem_are_refused_with_both_names(tmp_path):
    put(folder(tmp_path) / "images" / "a.tif", gray())
    assert "a.tif: has the same name as a.png" in fault(tmp_path)


def test_names_that_differ_in_case_only_are_refused_with_both(tmp_path):
    put(folder(tmp_path) / "images" / "A.png", gray())
    if len(list((tmp_path / "images").iterdir())) == 3:
        pytest.skip("this file system does not tell them apart")
    said = fault(tmp_path)
    assert "case only" in said and "A.png" in said and "a.png" in said


def test_a_mask_without_image_is_refused_with_the_nearest_name(tmp_path):
    put(folder(tmp_path, ["plate_01", "plate_02"]) / "masks" / "plate_01_mask.png", gray())
    assert "plate_01_mask.png: a mask without an image; " in fault(tmp_path)
    assert "does it belong to plate_01.png?" in fault(tmp_path)


def test_links_out_of_the_dataset_are_refused(tmp_path):
    folder(tmp_path / "set")
    put(tmp_path / "secret.png", gray())
    (tmp_path / "set" / "images" / "d.png").symlink_to(tmp_path / "secret.png")
    assert "d.png: a link out of the dataset's folder" in fault(tmp_path / "set")


def test_links_within_the_dataset_are_followed_and_dead_ones_named(tmp_path):
    folder(tmp_path)
    (tmp_path / "images" / "d.png").symlink_to("a.png")
    assert "d" in Dataset(tmp_path).stems
    (tmp_path / "images" / "e.png").symlink_to("nowhere.png")
    assert "e.png: a link to a file that is not there" in fault(tmp_path)


def test_other_image_formats_are_refused_by_name(tmp_path):
    (folder(tmp_path) / "images" / "d.webp").write_bytes(b"RIFF")
    assert "d.webp: WEBP files are not read; PNG, JPEG, BMP, TIFF, " in fault(tmp_path)


def test_a_mask_of_another_size_is_refused_as_the_manual_says(tmp_path):
    put(folder(tmp_path) / "masks" / "b.png", np.eye(17, 13, dtype=np.uint8) * 255)
    with pytest.raises(DatasetError, match=r"b\.png: mask is \(17, 13\) but b\.png is \(13, 17\); a mask must match"):
        Dataset(tmp_path).load("b")


def test_an_unknown_stem_names_the_nearest(tmp_path):
    with pytest.raises(DatasetError, match="unknown image 'plate_1'; did you mean plate_01"):
        Dataset(folder(tmp_path, ["plate_01", "other"])).load("plate_1")


def test_greys_among_colours_get_three_equal_channels(tmp_path):
    pixels = gray()
    put(folder(tmp_path, image=rgb) / "images" / "b.png", pixels)
    dataset = Dataset(tmp_path)
    assert dataset.channels == ("R", "G", "B")
    assert np.array_equal(dataset.load("b").image, np.dstack([pixels] * 3))


def test_other_channel_counts_do_not_mix(tmp_path):
    folder(tmp_path)
    (tmp_path / "images" / "b.png").unlink()
    tifffile.imwrite(tmp_path / "images" / "b.tif", RNG.random((4, *SHAPE), np.float32), photometric="minisblack",
                     metadata={"axes": "CYX"})  # fmt: skip
    with pytest.raises(DatasetError, match=r"b\.tif: has the channels C1 C2 C3 C4, but a\.png has gray"):
        Dataset(tmp_path).load("a")


def test_sizes_may_differ(tmp_path):
    folder(tmp_path)
    put(tmp_path / "images" / "d.png", gray((20, 9)))
    assert Dataset(tmp_path).load("d").image.shape == (20, 9, 1)


def test_planes_add_named_channels_of_the_widest_type(tmp_path):
    folder(tmp_path, ["a"], image=rgb)
    deep = RNG.integers(0, 65536, SHAPE, np.uint16)
    put(tmp_path / "planes" / "depth" / "a.tif", deep)
    put(tmp_path / "planes" / "net" / "a.png", rgb())
    dataset = Dataset(tmp_path)
    assert dataset.channels == ("R", "G", "B", "depth", "net.R", "net.G", "net.B")
    image = dataset.load("a").image
    assert image.dtype == np.uint16 and np.array_equal(image[..., 3], deep)
    assert np.array_equal(image[..., 0], np.asarray(Image.open(tmp_path / "images" / "a.png"))[..., 0])


def test_planes_must_be_there_for_every_image_and_of_its_size(tmp_path):
    put(folder(tmp_path) / "planes" / "depth" / "a.png", gray((9, 9)))
    assert "b.png and images/c.png: has no plane in planes/depth/" in fault(tmp_path)
    for stem in ("b", "c"):
        put(tmp_path / "planes" / "depth" / f"{stem}.png", gray())
    with pytest.raises(DatasetError, match=r"plane depth is \(9, 9\) but a\.png is \(13, 17\)"):
        Dataset(tmp_path).load("a")


def test_known_areas_are_read(tmp_path):
    known = gray() > 128
    put(folder(tmp_path) / "known" / "a.png", known * np.uint8(255))
    assert np.array_equal(Dataset(tmp_path).load("a").known, known)
    put(tmp_path / "known" / "x.png", gray())
    assert "x.png: a known area without an image" in fault(tmp_path)


CARD = """
title: Plates
pixel_size: 4 nm
licence: CC0
groups:
  day 1: [011, '054']
  2024-01-02: [1e3]
splits:
  train: [011, 038]
  test: ['054', 1e3]
"""


def test_stems_in_the_card_stay_text(tmp_path):
    folder(tmp_path, ["011", "038", "054", "1e3"])
    (tmp_path / "dataset.yaml").write_text(CARD)
    card = Dataset(tmp_path).card
    assert card.splits == {"train": ("011", "038"), "test": ("054", "1e3")}
    assert card.groups == {"011": "day 1", "054": "day 1", "1e3": "2024-01-02"}
    assert card.title == "Plates" and card.pixel_size == "4 nm" and card.other_keys == ("licence",)


def test_groups_may_be_given_by_stem(tmp_path):
    (folder(tmp_path) / "dataset.yaml").write_text("groups: {a: p1, b: p1, c: 2}")
    assert Dataset(tmp_path).card.groups == {"a": "p1", "b": "p1", "c": "2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title: [a]", "line 1: title must be text, not a list"),
        ("title: x\nsplits: a", "line 2: splits must be `key: value` lines, not a single value"),
        ("splits:\n  test: a", "line 2: splits: test must be a list"),
        ("splits:\n  test: [[a]]", "line 2: splits: test must be a list of file names without ending, not of a list"),
        ("splits: {train: [a]}", "splits names no test images"),
        ("splits: {tset: [a]}", "unknown split 'tset'; did you mean test"),
        ("splits: {test: [a, a]}", "names a twice"),
        ("splits: {test: [x]}", "splits: test names x, which is not among the images"),
        ("splits: {test: [d]}", "names d, which has no mask"),
        ("splits: {test: [a], train: [a]}", "a is in the splits"),
        ("groups: {g: [x]}", "groups names x, which is not among the images"),
        ("groups: {g: [a], h: [a]}", "a is in the groups g and h"),
        ("title: x\ntitle: y", "line 2: title is given twice"),
        ("- a", "the file must be `key: value` lines, not a list"),
        ("title: {", "is not YAML"),
        ("title: a\n\tb: c", "line 2 is not YAML"),
        ("[" * 3000, "line 1 is nested"),
    ],
)
def test_a_wrong_card_is_named_with_key_and_line(tmp_path, text, said):
    put(folder(tmp_path) / "images" / "d.png", gray())
    (tmp_path / "dataset.yaml").write_text(text)
    assert said in fault(tmp_path) and "dataset.yaml" in fault(tmp_path)


def test_a_card_that_is_no_text_is_named(tmp_path):
    (folder(tmp_path) / "dataset.yaml").write_bytes(b"title: \xff\xfe")
    assert "not YAML in UTF-8" in fault(tmp_path)


def test_several_faults_come_as_one_error_that_names_the_check(tmp_path):
    folder(tmp_path)
    for name in ("masks/lone.png", "known/lone.png", "images/a.gif", "images/A.png", "planes/p/lone.png"):
        put(tmp_path / name, gray())
    (tmp_path / "dataset.yaml").write_text("splits: {test: [nowhere]}\ngroups: {g: [ghost]}")
    said = fault(tmp_path)
    assert "9 kinds of errors" in said and "and 4 more" in said and f"`evoseg check {tmp_path}` shows all" in said


def test_arrays_make_the_same_dataset_as_files(tmp_path):
    images = {"a": rgb(), "b": gray((20, 9))}
    masks = {"a": gray() > 128}
    dataset = Dataset.from_arrays(images, masks, known={"a": gray() > 9}, title="mine")
    assert dataset.stems == ("a", "b") and dataset.labelled == ("a",) and dataset.title == "mine"
    assert dataset.channels == ("R", "G", "B") and dataset.root is None
    assert np.array_equal(dataset.load("a").mask, masks["a"])
    assert np.array_equal(dataset.load("b").image, np.dstack([images["b"]] * 3))


def test_lists_of_arrays_are_numbered_or_named():
    images = [gray(), gray()]
    assert Dataset.from_arrays(images, [None, images[1] > 3]).labelled == ("001",)
    assert Dataset.from_arrays(images, names=["x", "y"]).stems == ("x", "y")


def test_float64_arrays_become_float32_and_nan_is_not_known():
    values = RNG.random(SHAPE)
    assert Dataset.from_arrays([values]).load("000").image.dtype == np.float32
    mask = values > 0.5
    values[0, 0] = np.nan
    sample = Dataset.from_arrays([values], [mask]).load("000")
    assert np.isfinite(sample.image).all() and np.argwhere(~sample.known).tolist() == [[0, 0]]
    values[0, 1] = np.inf
    with pytest.raises(DatasetError, match="image '000': 0 NaN and 1 infinite"):
        Dataset.from_arrays([values])


@pytest.mark.parametrize(
    ("images", "masks", "said"),
    [
        ([], None, "no images"),
        ([gray()], [gray(), gray()], "2 masks for 1"),
        ([gray()], [gray((17, 13)) > 9], r"mask is \(17, 13\)"),
        ({"a": gray()}, {"b": gray()}, "mask 'b' has no image"),
        ([np.zeros((2, 3, 4, 5))], None, "image '000': float64 of shape"),
        ([gray()], [rgb()], "mask '000': uint8 of shape"),
        ([np.zeros((0, 4), np.uint8)], None, "non-empty"),
        ([rgb(), RNG.random((*SHAPE, 4))], None, "channels"),
        ([np.array([["a", "b"]])], None, "image '000'"),
    ],
)
def test_wrong_arrays_are_named(images, masks, said):
    with pytest.raises(DatasetError, match=said):
        Dataset.from_arrays(images, masks)


def test_importing_the_package_is_cheap():
    heavy = ("cv2", "PIL", "tifffile", "pydantic", "yaml")
    code = f"import sys, evoseg.datasets; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_masks_from_arrays_are_finite(value):
    mask = np.eye(20, 24, dtype=np.float32)
    mask[3, 4] = value
    with pytest.raises(DatasetError, match="mask '000': has NaN or infinite values. Give -1"):
        Dataset.from_arrays([np.zeros((20, 24), np.uint8)], [mask])
