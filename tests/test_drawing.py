"""Contact sheets and strips of pictures are written whole, at sensible sizes, whatever the images are called."""

import sys

import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

from evoseg.drawing import (
    ANSWER,
    TRUTH,
    SheetRow,
    Strip,
    draw_checkers,
    draw_red_cyan,
    draw_strips,
    to_rgb,
    write_contact_sheet,
)


def row(stem: str = "007", shape: tuple[int, ...] = (60, 90), score: float | None = 0.55) -> SheetRow:
    image = default_rng(20260311).integers(0, 200, shape, np.uint8)
    mask = np.zeros(shape[:2], bool)
    mask[: shape[0] // 2, shape[1] // 3 :] = True
    return SheetRow(stem, image, mask, np.roll(mask, shape[0] // 4, axis=0), score)


def opened(path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(picture.astype(int) - np.array(colour)).sum(axis=2) < 30).sum())


def test_more_images_than_columns_make_further_lines(tmp_path):
    write_contact_sheet([row()] * 4, tmp_path / "one.png", title="worst first")
    write_contact_sheet([row()] * 5, tmp_path / "two.png", title="worst first")
    one, two = opened(tmp_path / "one.png"), opened(tmp_path / "two.png")
    assert one.shape[1] == two.shape[1]
    assert two.shape[0] > 1.7 * one.shape[0] - 60


def test_both_outlines_are_visible_in_every_cell(tmp_path):
    write_contact_sheet([row(), row()], tmp_path / "sheet.png", columns=2)
    picture = opened(tmp_path / "sheet.png")[60:]  # below the legend
    for half in (picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]):
        assert count(half, ANSWER) > 200
        assert count(half, TRUTH) > 200


def test_a_thin_line_survives_a_large_reduction(tmp_path):
    truth = np.zeros((1500, 2000), bool)
    truth[700, 100:1900] = True
    write_contact_sheet(
        [SheetRow("thin", np.zeros((1500, 2000), np.uint8), ~truth & False, truth)], tmp_path / "sheet.png"
    )
    assert count(opened(tmp_path / "sheet.png")[60:], TRUTH) > 300


def test_without_truth_the_legend_names_the_answer_only(tmp_path):
    known = row()
    write_contact_sheet([SheetRow("new", known.image, known.answer)], tmp_path / "sheet.png")
    assert count(opened(tmp_path / "sheet.png"), TRUTH) == 0


@pytest.mark.parametrize(
    "stem", ["", "Zürich № 7", "細胞_γ", "a\nb\tc", "\udcff\udc80", "x" * 300, "🔬", "\x00\x1b[31m"]
)
def test_any_name_makes_a_caption(tmp_path, stem):
    write_contact_sheet([row(stem), row(stem, score=None)], tmp_path / "sheet.png", title=stem)
    assert opened(tmp_path / "sheet.png").size


def test_without_fonts_in_the_system_latin_names_are_written_and_others_are_boxes(tmp_path, monkeypatch):
    for name in ("XDG_DATA_HOME", "XDG_DATA_DIRS"):
        monkeypatch.setenv(name, str(tmp_path / "empty"))

    def written(stem: str) -> np.ndarray:
        write_contact_sheet([row(stem, score=None)], tmp_path / "sheet.png")
        return opened(tmp_path / "sheet.png")[-40:]  # the caption

    assert not (written("Zürich é") == written("")).all()
    assert (written("細胞") != written("")).any()
    if sys.platform == "linux":  # elsewhere the fonts of the system are not found by these variables
        np.testing.assert_array_equal(written("Zürich é"), written("Zurich e"))


@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (3, 1000), (1000, 3), (1, 4000), (700, 900, 3), (40, 50, 6)])
def test_any_size_fits_into_a_cell(tmp_path, shape):
    write_contact_sheet([row(shape=shape), row()], tmp_path / "sheet.png")
    assert max(opened(tmp_path / "sheet.png").shape) < 1000


def test_16_bit_images_are_shown(tmp_path):
    image = default_rng(20260311).integers(5000, 5200, (60, 90, 1)).astype(np.uint16)
    known = row()
    write_contact_sheet([SheetRow("deep", image, known.answer, known.truth)], tmp_path / "sheet.png")
    assert opened(tmp_path / "sheet.png")[80:200, 40:200].std() > 30


def test_no_images_make_an_empty_sheet(tmp_path):
    write_contact_sheet([], tmp_path / "sheet.png", title="nothing to show")
    assert opened(tmp_path / "sheet.png").size


def test_a_failed_sheet_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "sheet.png"
    write_contact_sheet([row()], path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="does not belong"):
        write_contact_sheet([SheetRow("wrong", np.zeros((9, 9), np.uint8), np.zeros((8, 9), bool))], path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_forty_images_stay_a_few_megabytes(tmp_path):
    write_contact_sheet([row(str(k), (300, 400, 3)) for k in range(40)], tmp_path / "sheet.png")
    # Noise is the worst case for PNG; photographs take about a third.
    assert (tmp_path / "sheet.png").stat().st_size < 12e6


def strip(image: np.ndarray, mask: np.ndarray | None, **words: str) -> np.ndarray:
    return draw_strips([Strip([(image, mask)], "plates", **words)])


def test_a_strip_has_a_line_of_pictures_and_strips_lie_below_each_other():
    image = np.full((60, 90, 3), 120, np.uint8)
    one = draw_strips([Strip([(image, None)] * 3, "plates")])
    two = draw_strips([Strip([(image, None)] * 3, "plates"), Strip([(image, None)], "cells")], title="two")
    assert one.shape[1] == two.shape[1] == 1220 and two.shape[0] - one.shape[0] > 384
    assert count(two[56 : one.shape[0]], (120, 120, 120)) > 2.9 * count(two[one.shape[0] :], (120, 120, 120)) > 1e5


def test_an_object_that_the_picture_cuts_has_no_outline_along_the_cut():
    image, mask = np.full((100, 100, 3), 120, np.uint8), np.zeros((100, 100), bool)
    mask[:50] = True  # one edge across the picture, 384 px wide and two or three lines of pixels thick
    assert 384 < count(strip(image, mask)[56:], TRUTH) < 4 * 384


def test_very_dark_pictures_are_brightened_and_others_are_not():
    ramp = np.broadcast_to(np.linspace(0, 40, 100).astype(np.uint8)[None, :, None], (100, 100, 3))
    assert 170 < strip(ramp, None)[200:300, 20:404].max() < 190
    assert count(strip(ramp + 80, None)[60:436, 20:404], (120, 120, 120)) > 1000


def test_a_badge_is_printed_in_the_corner_of_each_picture():
    image = np.full((100, 100, 3), 120, np.uint8)
    plain, marked = strip(image, None), strip(image, None, badge="drawn")
    changed = np.nonzero((plain != marked).any(axis=2))
    assert len(changed[0]) > 500 and changed[0].max() < 56 + 40 and changed[1].max() < 20 + 80


def test_a_checkerboard_has_the_contrast_of_the_whole_images():
    fixed, moving = np.full((60, 80), 500, np.uint16), np.full((60, 80), 400, np.uint16)
    fixed[:, ::2], moving[:, ::2] = 600, 700
    shift = np.array([[1.0, 0.0, 6.0], [0.0, 1.0, 4.0]])
    shown = draw_checkers(fixed, moving, shift, n=2)
    np.testing.assert_array_equal(shown[:40, :40], to_rgb(fixed)[:40, :40])
    np.testing.assert_array_equal(shown[:40, 40:76], to_rgb(moving)[6:46, 44:])
    assert not shown[:40, 76:].any(), "outside of the moving image"


def test_red_and_cyan_are_grey_where_planes_are_alike_or_negatives_of_each_other():
    plane = np.zeros((60, 80), np.uint8)
    plane[10:30, 20:50] = 120
    still = np.eye(2, 3)
    for moving in (plane, plane // 2, 200 - plane):
        shown = draw_red_cyan(plane, moving, still)
        np.testing.assert_array_equal(shown[..., 0], shown[..., 1])
        assert shown[20, 30, 0] == 255 and shown[50, 70, 0] == 0
    off = draw_red_cyan(plane, plane, np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 15.0]]))
    assert off[20, 40].tolist() == [255, 0, 0] and off[20, 10].tolist() == [0, 255, 255]
