"""The contact sheet and the curve are written whole, at sensible sizes, whatever the images are called."""

import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

from evoseg.report.curve import curve
from evoseg.report.overlays import ANSWER, TRUTH
from evoseg.report.sheet import Row, contact_sheet


def row(stem: str = "007", shape: tuple[int, ...] = (60, 90), score: float | None = 0.55) -> Row:
    image = default_rng(20260311).integers(0, 200, shape, np.uint8)
    mask = np.zeros(shape[:2], bool)
    mask[: shape[0] // 2, shape[1] // 3 :] = True
    return Row(stem, image, mask, np.roll(mask, shape[0] // 4, axis=0), score)


def opened(path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(picture.astype(int) - np.array(colour)).sum(axis=2) < 30).sum())


def test_more_images_than_columns_make_further_lines(tmp_path):
    contact_sheet([row()] * 4, tmp_path / "one.png", title="worst first")
    contact_sheet([row()] * 5, tmp_path / "two.png", title="worst first")
    one, two = opened(tmp_path / "one.png"), opened(tmp_path / "two.png")
    assert one.shape[1] == two.shape[1]
    assert two.shape[0] > 1.7 * one.shape[0] - 60


def test_both_outlines_are_visible_in_every_cell(tmp_path):
    contact_sheet([row(), row()], tmp_path / "sheet.png", columns=2)
    picture = opened(tmp_path / "sheet.png")[60:]  # below the legend
    for half in (picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]):
        assert count(half, ANSWER) > 200
        assert count(half, TRUTH) > 200


def test_a_thin_line_survives_a_large_reduction(tmp_path):
    truth = np.zeros((1500, 2000), bool)
    truth[700, 100:1900] = True
    contact_sheet([Row("thin", np.zeros((1500, 2000), np.uint8), ~truth & False, truth)], tmp_path / "sheet.png")
    assert count(opened(tmp_path / "sheet.png")[60:], TRUTH) > 300


def test_without_truth_the_legend_names_the_answer_only(tmp_path):
    known = row()
    contact_sheet([Row("new", known.image, known.answer)], tmp_path / "sheet.png")
    assert count(opened(tmp_path / "sheet.png"), TRUTH) == 0


@pytest.mark.parametrize(
    "stem", ["", "Zürich № 7", "細胞_γ", "a\nb\tc", "\udcff\udc80", "x" * 300, "🔬", "\x00\x1b[31m"]
)
def test_any_name_makes_a_caption(tmp_path, stem):
    contact_sheet([row(stem), row(stem, score=None)], tmp_path / "sheet.png", title=stem)
    assert opened(tmp_path / "sheet.png").size


@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (3, 1000), (1000, 3), (1, 4000), (700, 900, 3), (40, 50, 6)])
def test_any_size_fits_into_a_cell(tmp_path, shape):
    contact_sheet([row(shape=shape), row()], tmp_path / "sheet.png")
    assert max(opened(tmp_path / "sheet.png").shape) < 1000


def test_16_bit_images_are_shown(tmp_path):
    image = default_rng(20260311).integers(5000, 5200, (60, 90, 1)).astype(np.uint16)
    known = row()
    contact_sheet([Row("deep", image, known.answer, known.truth)], tmp_path / "sheet.png")
    assert opened(tmp_path / "sheet.png")[80:200, 40:200].std() > 30


def test_no_images_make_an_empty_sheet(tmp_path):
    contact_sheet([], tmp_path / "sheet.png", title="nothing to show")
    assert opened(tmp_path / "sheet.png").size


def test_a_failed_sheet_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "sheet.png"
    contact_sheet([row()], path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="does not belong"):
        contact_sheet([Row("wrong", np.zeros((9, 9), np.uint8), np.zeros((8, 9), bool))], path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_forty_images_stay_a_few_megabytes(tmp_path):
    contact_sheet([row(str(k), (300, 400, 3)) for k in range(40)], tmp_path / "sheet.png")
    # Noise is the worst case for PNG; photographs take about a third.
    assert (tmp_path / "sheet.png").stat().st_size < 12e6


@pytest.mark.parametrize("history", [[], [[1, 0.1, 0.2]], [[5, 0.1, 0.2], [60, 1.0, 0.4], [2210, 60.0, 0.61]]])
def test_the_curve_is_drawn_from_any_history(tmp_path, history):
    curve(history, tmp_path / "new" / "curve.png")
    assert opened(tmp_path / "new" / "curve.png").shape[1] > 800
    assert len(list((tmp_path / "new").iterdir())) == 1
