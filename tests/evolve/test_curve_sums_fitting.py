"""Sums of curves, fitted to drawn pixels whose best answer is known."""

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.evolve.proposers.curve_sums import (
    choose,
    encode,
    fit_curves,
    levels_of,
    pixels_of,
    sum_levels,
    to_levels,
    without,
)
from evoseg.operators.arithmetic import KNOTS


def probe(n_images: int = 3, n: int = 400) -> np.ndarray:
    """Return levels of shape (n_images, 2, n): foreground about 170, background about 90."""
    rng = default_rng(4)
    return np.clip(rng.normal([[[170.0], [90.0]]], 20, (n_images, 2, n)), 0, 255).round()


def test_every_image_counts_alike_and_the_foreground_has_its_weight():
    values = probe()
    values[0, 0, 100:] = np.nan  # fewer pixels there were not
    pixels = pixels_of(values)
    weights = pixels.weights.reshape(values.shape)
    assert weights.sum() == pytest.approx(1)
    assert weights[:, 0].sum(axis=1) == pytest.approx([0.1, 0.1, 0.1])
    assert weights[:, 1].sum(axis=1) == pytest.approx([0.7 / 3] * 3)
    assert (weights[0, 0, 100:] == 0).all()
    assert (pixels.foreground.reshape(values.shape)[:, 0]).all()
    assert not (pixels.foreground.reshape(values.shape)[:, 1]).any()


@pytest.mark.parametrize("values", [np.empty((3, 2, 0)), np.full((3, 2, 5), np.nan)])
def test_without_pixels_of_both_classes_there_is_nothing_to_fit(values):
    assert pixels_of(values) is None


def test_an_image_without_foreground_gives_background_only():
    values = probe()
    values[1, 0] = np.nan
    pixels = pixels_of(values)
    weights = pixels.weights.reshape(values.shape)
    assert weights[1, 0].sum() == 0
    assert weights[:, 0].sum() == pytest.approx(0.3)


def test_images_that_are_left_out_count_for_nothing_and_the_classes_for_the_same():
    values = probe()
    values[0, 0, 100:] = np.nan
    left = without(pixels_of(values), 3, [1])
    weights = left.weights.reshape(values.shape)
    assert (weights[1] == 0).all()
    assert weights[:, 0].sum(axis=1) == pytest.approx([0.15, 0, 0.15])
    assert weights[:, 1].sum(axis=1) == pytest.approx([0.35, 0, 0.35])
    values[:2, 0] = np.nan
    assert without(pixels_of(values), 3, [2]) is None  # the only one with foreground


def test_a_curve_alone_follows_the_share_of_foreground():
    values = probe()
    pixels = pixels_of(values)
    shares = encode(levels_of(values), pixels)
    foreground = pixels.foreground
    assert shares[foreground].mean() > shares[~foreground].mean() + 0.7
    # Neither below 60 nor above 200 is there any doubt.
    levels = levels_of(values)
    assert abs(shares[levels > 200] - shares[levels > 200].mean()).max() < 0.15


def test_curves_find_objects_that_are_neither_bright_nor_dark():
    rng = default_rng(1)
    # Foreground lies between two grounds: no threshold of the plane could tell them apart.
    grounds = np.where(rng.random((2, 1, 500)) < 0.5, 40.0, 210.0)
    values = np.concatenate([np.full((2, 1, 500), 125.0), grounds], axis=1) + rng.normal(0, 8, (2, 2, 500))
    values = values.clip(0, 255).round()
    pixels, levels = pixels_of(values), levels_of(values)[None]
    numbers, _, _ = to_levels(fit_curves(levels, pixels), levels)
    answer = sum_levels(levels, numbers) > 127
    assert (answer == pixels.foreground).mean() > 0.98


def test_the_sum_fills_the_levels_and_is_what_the_scale_says():
    rng = default_rng(2)
    levels = rng.integers(0, 256, (3, 5000)).astype(np.uint8)
    curves = rng.normal(0, 1, (3, KNOTS)).cumsum(axis=1)
    numbers, low, span = to_levels(curves, levels)
    total = sum_levels(levels, numbers).astype(float)
    knots = np.linspace(0, 255, KNOTS)
    exact = sum(np.interp(plane, knots, curve) for plane, curve in zip(levels, curves, strict=True))
    inside = (total > 0) & (total < 255)
    assert inside.mean() > 0.98
    assert abs(low + span * total[inside] / 255 - exact[inside]).max() < 0.01 * span


def test_planes_are_chosen_that_complement_each_other():
    rng = default_rng(3)
    values = probe()
    pixels = pixels_of(values)
    wanted = pixels.foreground.astype(np.float32)
    half = wanted * (rng.random(wanted.size) < 0.5)  # sees one half of the objects
    other = wanted - half
    noise = rng.normal(0, 0.3, (20, wanted.size))
    columns = np.stack([*noise, half, half + rng.normal(0, 0.05, wanted.size), other]).astype(np.float32)
    chosen = choose(columns, pixels, 2)
    assert set(chosen) in ({20, 22}, {21, 22})
    assert choose(columns, pixels, 2, first=5)[0] == 5
    assert len(set(choose(columns, pixels, 10))) == 10


def test_a_copy_of_a_chosen_plane_adds_nothing():
    values = probe()
    pixels = pixels_of(values)
    column = encode(levels_of(values), pixels)
    assert len(choose(np.stack([column, column, column]), pixels, 3)) == 1
    assert choose(np.zeros((2, column.size), np.float32), pixels, 1, first=1) == [1]
