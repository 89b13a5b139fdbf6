"""The check: every fault at once, warnings, and the card."""

import json

import cv2
import numpy as np
import pytest
import tifffile
from numpy.random import default_rng
from PIL import Image

from evoseg.core.errors import DatasetError
from evoseg.datasets import check, open_dataset
from tests.datasets.written import put

RNG = default_rng(11)
SHAPE = (23, 31)  # Non-square on purpose.


def square(size=6, top=3):
    mask = np.zeros(SHAPE, np.uint8)
    mask[top : top + size, 4 : 4 + size] = 255
    return mask


def sound(root, n=12):
    for i in range(n):
        put(root / "images" / f"s{i:02d}.png", RNG.integers(0, 256, SHAPE, np.uint8))
        put(root / "masks" / f"s{i:02d}.png", square())
    return root


def test_a_sound_folder_has_no_fault_and_a_full_card(tmp_path):
    (sound(tmp_path) / "dataset.yaml").write_text("title: Squares\nforeground: squares")
    report = check(tmp_path)
    assert report.ok and not report.problems and not report.warnings
    card = report.card
    assert (card["n_images"], card["n_labelled"], card["channels"]) == (12, 12, ["gray"])
    assert card["sizes"] == {"23x31": 12} and card["dtypes"] == {"uint8": 12}
    assert card["foreground"] == "squares"
    assert card["foreground_share"]["mean"] == pytest.approx(36 / (23 * 31))
    assert card["object_area_px"]["median"] == 36 and card["objects_per_image"]["median"] == 1
    assert len(report.splits.test) == 4 and len(report.splits.search) == 8
    assert len(card["digests"]["s00"]["image"]) == 64
    assert "No errors." in str(report) and "8 search, 0 selection, 4 test" in str(report)
    assert json.loads(json.dumps(report.as_json()))["ok"] is True


def test_the_digest_changes_with_any_file(tmp_path):
    before = check(sound(tmp_path)).card["digest"]
    assert check(tmp_path).card["digest"] == before
    put(tmp_path / "masks" / "s03.png", square(7))
    assert check(tmp_path).card["digest"] != before


def test_every_fault_is_listed_at_once(tmp_path):
    sound(tmp_path, 16)
    images, masks = tmp_path / "images", tmp_path / "masks"
    (images / "s00.png").write_bytes((images / "s00.png").read_bytes()[:90])
    (masks / "s00.png").write_bytes(b"")
    put(masks / "s01.png", square()[:, :-1])
    (images / "s03.png").write_bytes(b"no image")
    put(images / "s04.tif", RNG.random(SHAPE, np.float32))
    infinite = RNG.random(SHAPE).astype(np.float32)
    infinite[2, 3] = np.inf
    (images / "s05.png").unlink()
    put(images / "s05.tif", infinite)
    put(images / "S06.png", square())
    put(masks / "lone.png", square())
    (images / "s07.gif").write_bytes(b"GIF89a")
    (images / "s08.png").unlink()
    tifffile.imwrite(images / "s08.tif", np.zeros((3, *SHAPE), np.uint8), photometric="minisblack")
    put(images / "s09.png", np.dstack([RNG.integers(0, 256, SHAPE, np.uint8)] * 4))
    put(tmp_path / "known" / "s10.png", square()[:-1])
    put(tmp_path / "known" / "s11.png", np.zeros(SHAPE, np.uint8))
    (tmp_path / "dataset.yaml").write_text("splits: {train: [s12, nowhere], test: [s12]}\ngroups: {g: [ghost]}")
    faults = "\n".join(check(tmp_path).problems)
    for said in (
        "images/s00.png: the file is damaged",
        "masks/s00.png: the file is empty",
        "masks/s01.png: mask is (23, 30) but s01.png is (23, 31)",
        "images/s03.png: not an image that can be read",
        "images/s04.tif: has the same name as s04.png",
        "images/s05.tif: 0 NaN and 1 infinite",
        "case only from S06.png",
        "masks/lone.png: a mask without an image",
        "images/s07.gif: GIF files are not read",
        "images/s08.tif: several pages",
        "images/s09.png: transparency varies",
        "known/s10.png: known is (22, 31)",
        "known/s11.png: no pixel is known",
        "dataset.yaml: splits: train names nowhere",
        "dataset.yaml: s12 is in the splits train and test",
        "dataset.yaml: groups names ghost",
    ):
        assert said in faults, said


def test_points_on_an_image_of_which_nothing_is_known_are_a_fault(tmp_path):
    for name in ("images", "points"):
        (tmp_path / name).mkdir()
    for i in range(3):
        image = RNG.random(SHAPE).astype(np.float32)
        put(tmp_path / "images" / f"s{i}.tif", image if i else np.full_like(image, np.nan))
        (tmp_path / "points" / f"s{i}.csv").write_text("row,col\n3,4\n")
    faults = "\n".join(check(tmp_path).problems)
    assert "images/s0.tif: " in faults and "s1" not in faults


def test_opening_a_folder_with_faults_raises_the_first_few(tmp_path):
    assert open_dataset(sound(tmp_path)).survey.channels == ("gray",)
    for i in range(7):
        (tmp_path / "masks" / f"s0{i}.png").write_bytes(b"")
    with pytest.raises(DatasetError) as caught:
        open_dataset(tmp_path)
    said = str(caught.value)
    assert "masks/s00.png, masks/s01.png, masks/s02.png and 4 more (7 in all): the file is empty" in said
    put(tmp_path / "known" / "ghost.png", square())
    with pytest.raises(DatasetError, match="known/ghost.png: a known area without an image"):
        open_dataset(tmp_path)


def test_what_is_wrong_with_many_files_is_one_line_with_their_number_and_three_names(tmp_path):
    sound(tmp_path, 30)
    for i in range(20):
        image = np.dstack([RNG.integers(0, 256, SHAPE, np.uint8), np.full(SHAPE, 9, np.uint8)])
        put(tmp_path / "images" / f"s{i:02d}.png", image)
    for i in range(5, 12):
        put(tmp_path / "masks" / f"s{i:02d}.png", square()[i:])
    (tmp_path / "images" / "a.txt").touch()
    report = check(tmp_path)
    (fault,) = report.problems
    names = "masks/s05.png, masks/s06.png, masks/s07.png and 4 more (7 in all)"
    assert fault.startswith(f"{names}; the first: mask is (18, 31)")
    assert [line for line in report.warnings if "alpha" in line] == [
        "images/s00.png, images/s01.png, images/s02.png and 10 more (13 in all): constant alpha channel dropped."
    ]
    assert any(line.startswith("images/a.txt: not read") for line in report.warnings)
    assert report.as_json()["faults"] == [fault] and f"error: {fault}" in str(report).splitlines()


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        check(tmp_path / "nowhere")
    put(tmp_path / "a.png", square())
    with pytest.raises(DatasetError, match="not a folder"):
        check(tmp_path / "a.png")


def test_an_empty_folder_and_one_of_junk_are_listed_not_raised(tmp_path):
    assert not check(tmp_path).ok
    for folder in ("images", "masks", "known", "planes"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    (tmp_path / "dataset.yaml").mkdir()
    report = check(tmp_path)
    assert len(report.problems) >= 2 and report.splits is None and str(report)


def test_empty_masks_are_a_fault_only_if_all_are(tmp_path):
    sound(tmp_path)
    for i in range(11):
        put(tmp_path / "masks" / f"s{i:02d}.png", square(0))
    report = check(tmp_path)
    assert report.ok and report.card["n_empty_masks"] == 11
    assert "s11" in report.splits.search  # The only one with foreground cannot test.
    put(tmp_path / "masks" / "s11.png", square(0))
    assert "all 12 masks are empty" in check(tmp_path).problems[0]


def test_warnings_say_what_a_person_should_know(tmp_path):
    sound(tmp_path, 5)
    put(tmp_path / "masks" / "s01.png", np.full(SHAPE, 255, np.uint8))
    put(tmp_path / "masks" / "s02.png", cv2.GaussianBlur(square(9), (0, 0), 1.0))
    put(tmp_path / "images" / "s03.png", np.dstack([np.asarray(Image.open(tmp_path / "images" / "s03.png"))] * 2 * 2))
    put(
        tmp_path / "images" / "s03.png", np.dstack([RNG.integers(0, 256, SHAPE, np.uint8), np.full(SHAPE, 9, np.uint8)])
    )
    put(tmp_path / "images" / "extra.tif", RNG.integers(0, 65536, SHAPE, np.uint16))
    (tmp_path / "images" / "notes.txt").write_text("x")
    (tmp_path / "images" / "more").mkdir()
    report = check(tmp_path)
    assert report.ok
    warnings = "\n".join(report.warnings)
    for said in (
        "masks/s01.png: 100 % is foreground",
        "such as masks/s02.png; they are taken for soft edges",
        "images/s03.png: constant alpha channel dropped",
        "1 image has no mask, so nothing is scored on it: extra",
        "pixel types are mixed",
        "images/notes.txt: not read",
        "images/more: a folder inside",
        "there will be no test score",
    ):
        assert said in warnings, said


def test_given_splits_that_part_near_duplicates_are_warned_about(tmp_path):
    sound(tmp_path, 4)
    (tmp_path / "images" / "s01.png").write_bytes((tmp_path / "images" / "s00.png").read_bytes())
    (tmp_path / "dataset.yaml").write_text("splits: {train: [s00, s02], test: [s01]}")
    warnings = "\n".join(check(tmp_path).warnings)
    assert "s00 and s01: nearly the same picture" in warnings
    assert "1 labelled images are in no split and are not used: s03" in warnings


def test_objects_are_labels_where_values_number_them_unless_the_card_says_otherwise(tmp_path):
    sound(tmp_path, 4)
    labels = np.zeros(SHAPE, np.uint16)
    labels[2:6, 2:6], labels[2:6, 6:9] = 1, 2
    for i in range(4):
        put(tmp_path / "masks" / f"s0{i}.png", labels)
    assert check(tmp_path).card["objects_per_image"]["median"] == 2
    (tmp_path / "dataset.yaml").write_text("task: binary")
    assert check(tmp_path).card["objects_per_image"]["median"] == 1
    (tmp_path / "dataset.yaml").write_text("task: instances")
    card = check(tmp_path).card
    assert card["objects_per_image"]["median"] == 2 and card["object_area_px"]["median"] == 14


def test_only_known_pixels_count(tmp_path):
    sound(tmp_path, 1)
    put(tmp_path / "known" / "s00.png", square(12))
    assert check(tmp_path).card["foreground_share"]["mean"] == 36 / 144


def test_grey_images_that_were_saved_as_colour_are_told(tmp_path):
    for i in range(3):
        gray = RNG.integers(0, 256, SHAPE, np.uint8)
        put(tmp_path / "images" / f"{i}.png", gray if i == 2 else np.repeat(gray[:, :, None], 3, axis=2))
        put(tmp_path / "masks" / f"{i}.png", square())
    report = check(tmp_path)
    assert report.ok and "\n  R, G, B are equal in all images and are read as one\n" in str(report)
    assert report.card["equal_channels"] == [["R", "G", "B"]]
    put(tmp_path / "images" / "1.png", RNG.integers(0, 256, (*SHAPE, 3), np.uint8))
    assert "equal in all images" not in str(check(tmp_path))


def test_channels_are_called_as_all_files_call_them(tmp_path):
    def write(name, *labels):
        (tmp_path / "images").mkdir(exist_ok=True)
        metadata = {"axes": "CYX", "Channel": {"Name": list(labels)}}
        image = np.repeat(RNG.integers(0, 256, (1, *SHAPE), np.uint8), 2, axis=0)
        tifffile.imwrite(tmp_path / "images" / name, image, photometric="minisblack", ome=True, metadata=metadata)
        put(tmp_path / "masks" / name.replace("ome.tif", "png"), square())

    write("a.ome.tif", "DAPI", "Alexa 488")
    put(tmp_path / "planes" / "actin" / "a.png", square())
    report = check(tmp_path)
    assert report.card["channels"] == ["DAPI", "Alexa 488", "actin"]
    assert "; channels DAPI, Alexa 488, actin\n  DAPI, Alexa 488 are equal in all images" in str(report)
    write("b.ome.tif", "DAPI", "GFP")
    put(tmp_path / "planes" / "actin" / "b.png", square())
    assert check(tmp_path).card["channels"] == ["C1", "C2", "actin"]
