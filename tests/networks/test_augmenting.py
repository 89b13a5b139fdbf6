"""Augmented windows show the scene, its truth and what is known, all moved alike."""

import numpy as np
from numpy.random import default_rng

from evoseg.networks.augmenting import Cutter, shade
from evoseg.networks.scenes import Scene


def scene(shape: tuple[int, int] = (90, 130), channels: int = 3) -> Scene:
    """Return a scene whose truth and known pixels can be told from its image."""
    image = default_rng(5).standard_normal((channels, *shape)).astype(np.float32)
    image = np.repeat(np.repeat(image[:, ::6, ::6], 6, axis=1), 6, axis=2)[:, : shape[0], : shape[1]]
    truth = (image[:1] > 0.5).astype(np.float32)
    return Scene(image, truth, (image[1:2] > -1.5).astype(np.float32))


def test_the_window_in_the_middle_is_the_scene():
    whole = scene()
    window = Cutter(whole).plain((90, 130))
    np.testing.assert_allclose(window.image, whole.image, atol=1e-5)
    np.testing.assert_allclose(window.truth, whole.truth, atol=1e-5)
    assert (window.known == whole.known).all()


def test_truth_stays_with_its_pixels():
    cutter = Cutter(scene(channels=5))
    for i in range(10):
        window = cutter.cut((64, 48), default_rng(i))
        sure = (window.truth == 0) | (window.truth == 1)
        values = window.image[:1]
        above, below = values[sure & (window.truth == 1)], values[sure & (window.truth == 0)]
        assert window.image.shape == (5, 64, 48)
        assert sure.mean() > 0.5 and np.median(above) > np.median(below) + 0.3


def test_equal_streams_give_equal_windows():
    one, two = (Cutter(scene()).cut((32, 64), default_rng(7)) for _ in range(2))
    assert (one.image == two.image).all() and (one.truth == two.truth).all()


def test_most_windows_hold_foreground_where_it_is_rare():
    truth = np.zeros((1, 400, 400), np.float32)
    truth[0, 40:60, 300:320] = 1
    cutter = Cutter(Scene(np.zeros_like(truth), truth, np.ones_like(truth)))
    share = np.mean([cutter.cut((96, 96), default_rng(i)).truth.max() > 0.5 for i in range(60)])
    assert share > 0.45


def test_noise_and_light_differ_from_window_to_window():
    image = np.zeros((2, 50, 60), np.float32)
    assert len({float(shade(image, default_rng(i)).mean()) for i in range(5)}) == 5
