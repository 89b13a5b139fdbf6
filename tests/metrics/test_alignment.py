"""Rotations and affine maps are found to fractions of a pixel, in planes of either contrast; errors by hand."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng

from evoseg.core.transforms import as_transform, fit_transform, is_rigid, move_points, resample
from evoseg.metrics.alignment import grid_error, transform_between
from evoseg.metrics.shift_scores import shift_between
from evoseg.synthetic import two_modalities

SHAPE = (90, 130)  # non-square on purpose: swapped axes must fail


def about_the_middle(linear, shift):
    middle = (np.array(SHAPE) - 1) / 2
    return np.column_stack([linear, middle + shift - linear @ middle])


def rotation(degrees):
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def views(transform, seed=3, sigma=2.5, noise=0.0):
    """Return two views of one smooth scene, the second as the transform moves it."""
    rng, margin = default_rng(seed), 100
    scene = rng.standard_normal((SHAPE[0] + 2 * margin, SHAPE[1] + 2 * margin))
    scene = cv2.GaussianBlur(scene.astype(np.float32), (0, 0), sigma)
    scene /= scene.std()
    back = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))[:2] + [[0, 0, margin], [0, 0, margin]]
    seen = []
    for places in (np.column_stack([np.eye(2), [margin, margin]]), back):
        view = cv2.warpAffine(scene, places[::-1, [1, 0, 2]], SHAPE[::-1], flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        seen.append(np.clip(40 * (view + noise * rng.standard_normal(SHAPE)) + 128, 0, 255).astype(np.uint8))
    return seen


@settings(max_examples=12, deadline=None)
@given(degrees=st.floats(-44, 44), dy=st.floats(-20, 20), dx=st.floats(-30, 30))
def test_a_rotation_is_found_to_a_few_hundredths_of_a_pixel(degrees, dy, dx):
    truth = about_the_middle(rotation(degrees), (dy, dx))
    found = transform_between(*views(truth), "rigid")
    assert is_rigid(found)
    assert grid_error(found, truth, SHAPE) < 0.15


@settings(max_examples=12, deadline=None)
@given(st.floats(-40, 40), st.floats(0.85, 1.2), st.floats(0.85, 1.2), st.floats(-0.1, 0.1))
def test_an_affine_map_is_found_to_a_few_hundredths_of_a_pixel(degrees, tall, wide, shear):
    truth = about_the_middle(rotation(degrees) @ [[tall, shear], [0, wide]], (-5.5, 8.25))
    assert grid_error(transform_between(*views(truth), "affine"), truth, SHAPE) < 0.15


def test_a_negative_is_found_as_well():
    truth = about_the_middle(rotation(12), (3.5, -8.25))
    first, second = views(truth)
    np.testing.assert_allclose(
        transform_between(first, 255 - second, "rigid"), transform_between(first, second, "rigid"), atol=0.02
    )


def test_noise_as_strong_as_the_scene_moves_it_by_less_than_half_a_pixel():
    truth = about_the_middle(rotation(-17), (3.5, -8.25))
    assert grid_error(transform_between(*views(truth, noise=1.0), "rigid"), truth, SHAPE) < 0.5


def test_swapping_the_images_inverts_the_transform():
    first, second = views(about_the_middle(rotation(9), (2.5, 6)))
    there, back = transform_between(first, second, "rigid"), transform_between(second, first, "rigid")
    points = np.array([[10.0, 20.0], [70.0, 100.0]])
    np.testing.assert_allclose(move_points(back, move_points(there, points)), points, atol=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (40, 50), (200, 3)])
@pytest.mark.parametrize("kind", ["rigid", "affine"])
def test_flat_planes_of_any_size_are_not_moved(shape, kind):
    flat = np.full(shape, 77, np.uint8)
    np.testing.assert_allclose(transform_between(flat, flat, kind), np.eye(2, 3), atol=1e-12)
    assert np.isfinite(transform_between(flat, np.arange(flat.size).reshape(shape).astype(np.uint8), kind)).all()
    noise = default_rng(3).integers(0, 255, (2, *shape)).astype(np.uint8)
    assert np.isfinite(transform_between(*noise, kind)).all()


def test_a_shift_is_that_of_the_shift_task():
    first, second = views(as_transform(np.array([3.25, -8.5])))
    np.testing.assert_array_equal(transform_between(first, second, "shift"), as_transform(shift_between(first, second)))


def test_errors_by_hand():
    truth = np.eye(2, 3)
    assert grid_error(as_transform(np.array([3.0, 4.0])), truth, (50, 60)) == pytest.approx(5)
    # Rows stretched by a tenth: the middle row of a grid of 9 is at 40 of 81, and is moved by 4 px.
    assert grid_error(np.array([[1.1, 0, 0], [0, 1, 0]]), truth, (81, 21)) == pytest.approx(4)


def test_drawn_modalities_differ_in_contrast_and_agree_in_place():
    pair = two_modalities(default_rng(4), (96, 112), "affine", noise=0.2)
    back = resample(pair.moving, pair.transform)[24:-24, 24:-24, 0].astype(float)
    fixed = pair.fixed[24:-24, 24:-24, 0].astype(float)
    high = [one - cv2.GaussianBlur(one, (0, 0), 8) for one in (fixed, back)]
    assert np.corrcoef(high[0].ravel(), high[1].ravel())[0, 1] < -0.5
    again = two_modalities(default_rng(4), (96, 112), "affine", noise=0.2)
    np.testing.assert_array_equal(again.moving, pair.moving)


@given(st.integers(0, 1000), st.sampled_from(["shift", "rigid", "affine"]))
def test_a_transform_is_fitted_to_the_points_that_it_moves(seed, kind):
    rng = default_rng(seed)
    linear = {"shift": np.eye(2), "rigid": rotation(rng.uniform(-180, 180)), "affine": rng.normal(0, 1, (2, 2))}[kind]
    truth = np.column_stack([linear, rng.normal(0, 20, 2)])
    points = rng.uniform(0, 100, (5, 2))
    np.testing.assert_allclose(fit_transform(points, move_points(truth, points), kind), truth, atol=1e-8)


def test_points_in_a_line_do_not_determine_an_affine_map():
    line = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])
    assert fit_transform(line, line, "affine") is None
    np.testing.assert_allclose(fit_transform(line, line, "rigid"), np.eye(2, 3), atol=1e-12)
