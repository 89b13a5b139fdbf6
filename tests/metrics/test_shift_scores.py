"""Shifts are found to parts of a pixel; closeness by hand."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng

from evoseg.core.errors import SettingsError
from evoseg.metrics import find_metric
from evoseg.metrics.shift_scores import SHIFT_METRICS, closeness, error_px, shift_between

FINE = 4


def views(shift, shape=(90, 130), seed=3, sigma=2.0, noise=0.0):
    """Return two views of one smooth scene, the second shifted; non-square on purpose: swapped axes must fail."""
    rng = default_rng(seed)
    scene = cv2.GaussianBlur(rng.standard_normal((700, 900)).astype(np.float32), (0, 0), FINE * sigma)
    scene /= scene.std()
    seen = []
    for dy, dx in ((0.0, 0.0), shift):
        places = np.array([[FINE, 0, 150 - FINE * dx], [0, FINE, 150 - FINE * dy]], np.float64)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        view = cv2.warpAffine(scene, places, shape[::-1], flags=flags)
        seen.append(np.clip(40 * (view + noise * rng.standard_normal(shape)) + 128, 0, 255).astype(np.uint8))
    return seen


@settings(max_examples=15, deadline=None)
@given(dy=st.floats(-20, 20), dx=st.floats(-30, 30))
def test_a_shift_is_found_to_a_few_hundredths_of_a_pixel(dy, dx):
    assert np.hypot(*(shift_between(*views((dy, dx))) - (dy, dx))) < 0.1


def test_noise_ten_times_the_scene_s_own_does_not_hide_it():
    first, second = (cv2.GaussianBlur(view, (0, 0), 3) for view in views((-7.4, 11.3), noise=2.0, sigma=3.0))
    assert np.hypot(*(shift_between(first, second) - (-7.4, 11.3))) < 1


def test_a_plane_is_not_shifted_against_itself_and_swapping_turns_the_sign():
    first, second = views((3.25, -8.5))
    assert np.abs(shift_between(first, first)).max() < 1e-9
    np.testing.assert_allclose(shift_between(second, first), -shift_between(first, second), atol=0.03)


def test_brightness_and_contrast_do_not_matter():
    first, second = views((3.25, -8.5))
    np.testing.assert_allclose(shift_between(first, second // 2 + 60), (3.25, -8.5), atol=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (40, 50)])
def test_flat_planes_of_any_size_are_not_shifted(shape):
    flat = np.full(shape, 77, np.uint8)
    assert shift_between(flat, flat).tolist() == [0, 0]
    assert np.isfinite(shift_between(flat, np.arange(flat.size, dtype=np.uint8).reshape(shape))).all()


def test_closeness_by_hand_and_back():
    assert closeness(np.array([0.0, 1.0, 3.0])).tolist() == [1.0, 0.5, 0.25]
    assert error_px(0.25) == 3.0


def test_an_unknown_metric_is_refused():
    assert find_metric("closeness", SHIFT_METRICS).score(np.array([[3.0]])).tolist() == [0.25]
    with pytest.raises(SettingsError, match="unknown metric 'close'; did you mean closeness"):
        find_metric("close", SHIFT_METRICS)
