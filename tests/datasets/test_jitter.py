"""Jittered copies: another gain, noise and scale, the same scene and the same truth."""

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.datasets.jitter import GAIN, SCALE, jitter


def scene(dtype: str, channels: int = 3) -> dict[str, np.ndarray]:
    """Draw a bright disc on a dark ground; rows and columns differ on purpose."""
    rows, cols = np.ogrid[:60, :83]
    mask = (rows - 25) ** 2 + (cols - 50) ** 2 < 15**2
    top = {"uint8": 200, "uint16": 30000, "float32": 0.7}[dtype]
    image = np.where(mask, top, top / 4)[:, :, None] * np.ones(channels)
    return {"image": image.astype(dtype), "mask": mask, "known": rows + 0 * cols < 55}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_a_copy_keeps_kinds_and_channels_and_changes_values(dtype, channels):
    before = scene(dtype, channels)
    copy = jitter(before, default_rng(3))
    assert set(copy) == set(before)
    assert copy["image"].dtype == np.dtype(dtype)
    assert copy["image"].shape[2] == channels
    assert copy["mask"].dtype == copy["known"].dtype == bool
    assert copy["mask"].shape == copy["known"].shape == copy["image"].shape[:2]
    assert not np.array_equal(copy["image"][:50, :70], before["image"][:50, :70])


def test_the_truth_moves_with_the_picture():
    for seed in range(8):
        copy = jitter(scene("uint8"), default_rng(seed))
        gray = copy["image"].mean(axis=2)
        bright = gray > (gray.max() + gray.min()) / 2
        both, either = (bright & copy["mask"]).sum(), (bright | copy["mask"]).sum()
        assert both / either > 0.9


def test_the_truth_moves_by_no_part_of_a_pixel():
    mask = np.zeros((201, 301), bool)
    mask[40:161, 80:221] = True
    arrays = {"image": mask[:, :, None].astype(np.uint8), "mask": mask, "labels": mask.astype(np.int32)}
    for seed in range(8):
        copy = jitter(arrays, default_rng(seed))
        rows, cols = copy["mask"].shape
        centre = np.argwhere(copy["mask"]).mean(axis=0)
        assert abs(centre - (np.array([100.5, 150.5]) * (rows / 201, cols / 301) - 0.5)).max() < 0.1
        np.testing.assert_array_equal(copy["labels"] > 0, copy["mask"])
        early = jitter(arrays, default_rng(seed), exact=False)
        np.testing.assert_array_equal(early["image"], copy["image"])


def test_copies_stay_within_what_is_promised():
    sizes, gains = [], []
    for seed in range(60):
        copy = jitter(scene("float32", 1), default_rng(seed))
        sizes.append(copy["image"].shape[0] / 60)
        inside, outside = copy["image"][copy["mask"]].mean(), copy["image"][~copy["mask"]].mean()
        gains.append(np.log((inside - outside) / (0.7 * 0.75)))
    assert 1 - SCALE - 0.02 < min(sizes) < 0.95
    assert 1.05 < max(sizes) < 1 + SCALE + 0.02
    assert 0.5 * GAIN < np.std(gains) < 2 * GAIN


def test_a_copy_depends_on_the_generator_only():
    first, second = (jitter(scene("uint16"), default_rng(5)) for _ in range(2))
    other = jitter(scene("uint16"), default_rng(6))
    assert np.array_equal(first["image"], second["image"])
    assert first["image"].shape != other["image"].shape or not np.array_equal(first["image"], other["image"])


def test_a_flat_image_and_a_single_pixel_can_be_copied():
    for shape in [(1, 1, 1), (3, 2, 4), (40, 30, 1)]:
        black = np.zeros(shape, np.uint8)
        copy = jitter({"image": black, "mask": np.zeros(shape[:2], bool)}, default_rng(0))
        assert copy["image"].shape[2] == shape[2]
        assert not copy["mask"].any()
