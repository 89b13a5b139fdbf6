"""What networks are to give, and at which resolution they work."""

import numpy as np
import pytest

from evoseg.networks import scenes
from evoseg.networks.scenes import (
    draw_blobs,
    make_scenes,
    measure_standard,
    object_radius,
    rim_distance,
    usual_reduction,
)
from evoseg.networks.values import Example
from tests.networks.drawn import discs, masks_of


def test_each_object_rises_to_one_in_its_middle_even_where_it_touches_another():
    labels = np.zeros((9, 15), np.int32)
    labels[1:8, 1:8], labels[1:8, 8:13] = 1, 2
    found = rim_distance(labels)
    assert found[4, 4] == 1 and found[4, 10] == 1
    assert found[4, 7] == pytest.approx(0.25) and found[4, 8] == pytest.approx(1 / 3, abs=0.01)
    assert not found[labels == 0].any()


def test_an_object_goes_on_beyond_the_border_of_the_image():
    labels = np.zeros((10, 20), np.int32)
    labels[:, :6] = 1
    assert rim_distance(labels)[5].tolist() == pytest.approx([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6] + [0] * 14)
    assert (rim_distance(np.ones((5, 7), np.int32)) == 1).all()


def test_points_become_blobs_that_do_not_add_up():
    plane = draw_blobs(np.array([[5.0, 5.0], [5.0, 7.0], [0.0, 19.0]]), (12, 20), 2.0)
    assert plane[5, 5] == plane[5, 7] == plane[0, 19] == 1
    assert plane[5, 6] == pytest.approx(np.exp(-1 / 8))
    assert plane.max() == 1 and plane[11, 19] == 0
    assert not draw_blobs(np.array([[-30.0, 5.0], [50.0, 5.0]]), (12, 20), 2.0).any()


@pytest.mark.parametrize(("radius", "reduction"), [(6, 1), (20, 2), (60, 4)])
def test_thick_objects_are_seen_from_farther_away(radius, reduction):
    examples = discs(2, (600, 640), radius)
    assert usual_reduction(masks_of(examples), "mask") == reduction


def test_small_images_are_not_reduced_below_100_px():
    assert usual_reduction(masks_of(discs(2, (190, 640), 60)), "mask") == 1


def test_the_radius_of_a_disc_is_about_its_own():
    mask = np.hypot(*np.ogrid[-60:61, -60:61]) <= 40
    assert object_radius([Example(mask[:, :, None].astype(np.uint8), mask)], "mask") == pytest.approx(
        0.88 * 40, rel=0.05
    )


def test_scenes_are_standardised_and_know_what_counts():
    examples = [
        Example(example.image, example.truth, np.arange(144) >= np.full((112, 1), 40))
        for example in discs(3, channels=2)
    ]
    standard = measure_standard(examples, 2)
    scenes = list(make_scenes(examples, "objects", standard, 2, np.random.default_rng(0)))
    assert all(scene.image.shape == (2, 64, 80) and scene.truth.shape == (2, 64, 80) for scene in scenes)
    together = np.concatenate([scene.image.reshape(2, -1) for scene in scenes], axis=1)
    assert np.abs(together.mean(axis=1)).max() < 0.2 and np.abs(together.std(axis=1) - 1).max() < 0.35
    assert not scenes[0].known[0, :, :20].any() and scenes[0].known[0, :56, 20:].all()


@pytest.mark.parametrize(("channels", "side"), [(2, 64), (6, 48)])
def test_of_many_channels_a_smaller_part_is_kept(channels, side, monkeypatch):
    monkeypatch.setattr(scenes, "_MAX_PX", 2 * 64**2)
    monkeypatch.setattr(scenes, "_MAX_VALUES", 2 * 48**2 * 8)  # of 6 channels, the truth and what is known
    examples = masks_of(discs(2, channels=channels))
    made = make_scenes(examples, "mask", measure_standard(examples, channels), 1, np.random.default_rng(0))
    assert [scene.image.shape for scene in made] == [(channels, side, side)] * 2


def test_an_image_without_contrast_stays_without():
    flat = [Example(np.full((40, 40, 1), 7, np.uint8), np.zeros((40, 40), bool)) for _ in range(2)]
    scene = next(make_scenes(flat, "mask", measure_standard(flat, 1), 1, np.random.default_rng(0)))
    assert (scene.image == 0).all()
