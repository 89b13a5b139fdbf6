"""Drawn scenes: exact masks, one picture per seed, and files that open as a dataset."""

import cv2
import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.errors import DatasetError, SettingsError
from evoseg.core.streams import stream
from evoseg.datasets import open_dataset
from evoseg.synthetic import SCENES, draw_dataset
from evoseg.synthetic.scene import camera

SHAPE = (97, 140)  # Non-square on purpose.
EVERY = pytest.mark.parametrize("name", SCENES)


def draw(name, seed=1, shape=SHAPE, **settings):
    return SCENES[name](stream(seed, "test", name), shape, **settings)


@EVERY
@pytest.mark.parametrize("shape", [SHAPE, (16, 16), (300, 41)])
def test_a_scene_has_the_shape_and_type_it_says(name, shape):
    scene = draw(name, shape=shape)
    assert scene.image.shape[:2] == scene.mask.shape == shape
    assert scene.image.shape[2] == (3 if name in ("tissue", "vessels") else 1)
    assert scene.image.dtype == (np.uint16 if name == "spots" else np.uint8)
    assert scene.mask.dtype == bool


@EVERY
def test_a_seed_gives_one_picture_and_another_seed_another(name):
    one, same, other = draw(name), draw(name), draw(name, seed=2)
    assert np.array_equal(one.image, same.image) and np.array_equal(one.mask, same.mask)
    assert not np.array_equal(one.image, other.image)


@EVERY
def test_noise_changes_the_image_and_not_the_mask(name):
    clean, noisy = draw(name, noise=0.0), draw(name, noise=2.0)
    assert np.array_equal(clean.mask, noisy.mask) and not np.array_equal(clean.image, noisy.image)


@EVERY
def test_objects_stand_out_exactly_where_the_mask_is(name):
    """Of the mask and its shifted copies, the mask itself separates the noise-free image best."""
    scene = draw(name, seed=3, shape=(200, 260), noise=0.0, empty=0.0)
    image = scene.image.astype(np.float64).mean(axis=2)
    # A blur wider than the objects: with a narrower one their rims would outdo their insides.
    detail = np.abs(image - cv2.GaussianBlur(image, (0, 0), 12))
    # Borders, and the rim of the round field of a fundus camera, have detail of their own.
    inside = np.zeros(image.shape, np.uint8)
    inside[25:-25, 25:-25] = (image > 12)[25:-25, 25:-25] if name == "vessels" else 1
    inside = cv2.erode(inside, np.ones((21, 21), np.uint8)).astype(bool)

    def contrast(mask):
        ring = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool) & ~mask
        return detail[mask & inside].mean() - detail[ring & inside].mean()

    here = contrast(scene.mask)
    assert here > 0
    for shift in ((3, 0), (-3, 0), (0, 3), (0, -3)):
        assert contrast(np.roll(scene.mask, shift, (0, 1))) < here


@EVERY
def test_empty_scenes_have_no_object_and_others_have_one(name):
    for seed in range(5):
        assert not draw(name, seed, empty=1.0).mask.any()
        assert draw(name, seed, shape=(200, 260), empty=0.0).mask.any()


def test_empties_happen_as_often_as_stated():
    empties = sum(not draw("scratches", seed, shape=(32, 40)).mask.any() for seed in range(200))
    assert 20 <= empties <= 60  # 0.2 of 200.


def test_spots_are_lost_in_an_8_bit_stretch_and_not_in_16_bits():
    scene = draw("spots", seed=4, shape=(128, 160), noise=0.0, empty=0.0)
    values = scene.image[..., 0].astype(np.float64)
    low, high = values.min(), values.max()
    assert high - low > 15000
    step = (high - low) / 255
    ground = cv2.GaussianBlur(values, (0, 0), 5)
    assert 15 < np.abs(values - ground)[scene.mask].mean() < step


def test_a_perfect_camera_adds_nothing_and_a_real_one_shot_noise():
    light = np.full((100, 100), 0.5, np.float32)
    assert np.ptp(camera(default_rng(1), light, noise=0.0)) == 0
    noisy = camera(default_rng(1), light, noise=1.0, well=1000, read=0.0)
    assert noisy.std() == pytest.approx(255 * np.sqrt(0.5 / 1000), rel=0.05)


def test_a_scene_too_small_to_draw_is_refused():
    with pytest.raises(SettingsError, match="too small"):
        draw("nuclei", shape=(8, 100))


@EVERY
def test_a_drawn_dataset_opens_without_fault(tmp_path, name):
    root = draw_dataset(name, tmp_path / name, 4, (64, 90), seed=5, n_labelled=3)
    dataset = open_dataset(root)
    assert len(dataset.stems) == 4 and len(dataset.labelled) == 3
    assert dataset.card.foreground and dataset.card.license == "CC0 1.0"
    assert dataset.load(dataset.stems[0]).mask.any()
    again = open_dataset(draw_dataset(name, tmp_path / "again", 2, (64, 90), seed=5))
    assert np.array_equal(again.load(f"{name}_001").image, dataset.load(f"{name}_001").image)


def test_wrong_requests_are_named(tmp_path):
    with pytest.raises(SettingsError, match="unknown scene 'nucle'; did you mean nuclei"):
        draw_dataset("nucle", tmp_path / "a", 4, SHAPE, seed=1)
    with pytest.raises(SettingsError, match="4 images with 5 masks"):
        draw_dataset("nuclei", tmp_path / "a", 4, SHAPE, seed=1, n_labelled=5)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(DatasetError, match="already contains files"):
        draw_dataset("nuclei", tmp_path, 4, SHAPE, seed=1)
