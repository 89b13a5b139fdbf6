"""Drawn pairs are shifted as they say, and drawn spots are where they are said to be."""

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.errors import DatasetError, SettingsError
from evoseg.metrics.shift_scores import shift_between
from evoseg.synthetic import diffraction, draw_frames, draw_pairs, element_maps


def test_the_shift_of_element_maps_is_the_one_that_correlates_best():
    errors = []
    for seed in range(6):
        pair = element_maps(default_rng(seed), (70, 96), noise=0.3)
        errors.append(shift_between(pair.fixed[:, :, 2], pair.moving[:, :, 2]) - pair.shift)
    # A stray count in one of them may pull a raw correlation off; axes or signs that are swapped would pull them all.
    assert np.median(np.hypot(*np.transpose(errors))) < 0.05


def test_noise_takes_counts_away():
    quiet, noisy = (element_maps(default_rng(4), (60, 70), noise=noise).fixed for noise in (1.0, 4.0))
    assert quiet.shape == (60, 70, 4)
    assert quiet.dtype == np.uint16
    assert noisy.mean() < quiet.mean() / 8


def test_spots_stand_out_from_their_surroundings_over_a_wide_range():
    frame = diffraction(default_rng(8), (160, 190))
    values = frame.image[:, :, 0].astype(np.float64)
    assert len(frame.points) > 15
    heights = []
    for row, col in np.rint(frame.points).astype(int):
        around = values[max(0, row - 6) : row + 7, max(0, col - 6) : col + 7]
        heights.append(values[row - 1 : row + 2, col - 1 : col + 2].max() / np.median(around))
    assert min(heights) > 1
    assert max(heights) > 20 * min(heights)


def test_a_folder_is_never_drawn_over(tmp_path):
    folder = draw_frames(tmp_path / "frames", 1, (40, 50), seed=1)
    with pytest.raises(DatasetError, match="already contains files"):
        draw_pairs(folder, 1, (40, 50), seed=1)
    with pytest.raises(SettingsError, match="0 images cannot be drawn"):
        draw_pairs(tmp_path / "none", 0, (40, 50), seed=1)
