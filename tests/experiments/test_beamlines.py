"""The hands that a search is compared with are steady ones."""

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.datasets.dataset import Dataset
from evoseg.synthetic import draw_pairs, element_maps

pytestmark = pytest.mark.e2e


@pytest.fixture
def beamlines(script):
    return script("beamlines")


def test_phase_correlation_has_the_sign_of_the_task(beamlines):
    pair = element_maps(default_rng(5), (80, 100), noise=0.1)
    errors = [beamlines.phase_shift(pair.fixed[:, :, k], pair.moving[:, :, k]) - pair.shift for k in range(3)]
    assert np.hypot(*np.transpose(errors)).min() < 0.6


def test_the_channel_is_chosen_on_the_training_pairs_and_the_others_are_reported(beamlines, tmp_path, monkeypatch):
    monkeypatch.setattr(beamlines, "TRAIN", 3)
    data = Dataset(draw_pairs(tmp_path / "maps", 5, (40, 50), 3))
    shifts = {stem: data.load(stem).shift for stem in data.stems}
    off = [(0, 0) if k == 2 else (9, 9) for _ in range(3) for k in range(5)] + [(0, 1)] * 10
    answers = iter([shifts[stem] + off[5 * i + k] for i, stem in enumerate(data.stems) for k in range(5)])
    found = beamlines.by_hand(data, lambda fixed, moving: next(answers))
    assert (found["setting"], found["median_px"], found["test"]) == ("2", pytest.approx(1.0), pytest.approx(0.5))


def test_a_top_hat_finds_spots(beamlines):
    image = np.full((40, 50, 1), 20, np.uint16)
    for row, col in ((10, 12), (30, 33)):
        image[row - 1 : row + 2, col - 1 : col + 2] = 900
    places = dict(beamlines.tophat_answers(image))[("counts", 0.0, 5, 99.0, 2)]
    assert sorted(places.tolist()) == [[10, 12], [30, 33]]


def test_figures_by_hand(beamlines):
    assert beamlines.figures([0.0, 1.0, 3.0]) == {
        "median_px": 1.0,
        "p90_px": pytest.approx(2.6),
        "max_px": 3.0,
        "test": pytest.approx(1.75 / 3),
    }


def test_rows_become_a_table(beamlines):
    row = {"task": "diffraction", "arm": "white top-hat", "test": 0.75, "wall_s": 3.0, "load_per_core": 0.5}
    assert beamlines.table([row]).splitlines()[-1] == "| diffraction | white top-hat | 0.750 |  |  | 3 | 0.5 |"
