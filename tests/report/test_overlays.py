"""Outlines lie where they should, in the colours of the legend, on images of every kind."""

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.drawing import ANSWER, BOTH, TRUTH, draw_outlines, draw_overlay, to_rgb


def square(shape: tuple[int, int], top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def colours(picture: np.ndarray, places: list[tuple[int, int]]) -> list[str]:
    """Name what is nearest to each pixel: a colour of the legend or the image's grey."""
    known = {"truth": TRUTH, "answer": ANSWER, "both": BOTH, "image": (90, 90, 90)}
    return [
        min(known, key=lambda name: np.abs(picture[place].astype(int) - np.array(known[name])).sum())
        for place in places
    ]


def test_outlines_of_two_squares_have_their_colours_and_meet_in_white():
    image = np.full((60, 90, 3), 90, np.uint8)
    answer = square(image.shape[:2], 10, 10, 30)
    truth = square(image.shape[:2], 10, 25, 30)
    picture = draw_outlines(image, answer, truth, answer.shape, 1)
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8
    # Left side of the answer, right side of the truth, the upper side they share, an inside and an outside.
    seen = colours(picture, [(25, 10), (25, 54), (10, 32), (25, 17), (55, 80)])
    assert seen == ["answer", "truth", "both", "image", "image"]


def test_without_truth_only_the_answer_is_drawn():
    image = np.full((60, 90, 3), 90, np.uint8)
    picture = draw_overlay(image, square((60, 90), 10, 10, 30))
    assert colours(picture, [(25, 10), (25, 39), (10, 20)]) == ["answer"] * 3


def test_touching_labels_keep_separate_outlines():
    image = np.full((60, 90, 3), 90, np.uint8)
    labels = np.zeros((60, 90), np.int32)
    labels[10:40, 10:40] = 1
    labels[10:40, 40:70] = 2
    assert colours(draw_overlay(image, labels), [(25, 39), (25, 25)]) == ["answer", "image"]


def test_a_mask_saved_as_0_and_255_is_one_object():
    image = np.full((60, 90, 3), 90, np.uint8)
    mask = square((60, 90), 10, 10, 30)
    assert np.array_equal(draw_overlay(image, mask.astype(np.uint8) * 255), draw_overlay(image, mask))


def test_the_arguments_are_left_untouched():
    image = default_rng(20260311).integers(0, 256, (40, 50, 3), np.uint8)
    mask = square((40, 50), 5, 5, 20)
    before = image.copy(), mask.copy()
    draw_outlines(image, mask, mask, mask.shape, 1)
    assert np.array_equal(image, before[0])
    assert np.array_equal(mask, before[1])


def test_8_bit_colours_are_shown_as_they_are():
    image = default_rng(20260311).integers(100, 120, (40, 50, 3), np.uint8)
    assert np.array_equal(to_rgb(image), image)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_images_fill_the_eight_bits(dtype):
    image = (1000 + 3 * np.arange(40 * 50)).reshape(40, 50, 1).astype(dtype)
    shown = to_rgb(image)
    assert shown.shape == (40, 50, 3)
    assert (shown.min(), shown.max()) == (0, 255)


@pytest.mark.parametrize(
    "image",
    [
        np.full((40, 50), 700, np.uint16),
        np.full((40, 50, 2), 0.25, np.float32),
        np.full((40, 50, 5), np.nan, np.float32),
        np.where(np.eye(40, 50) > 0, np.inf, 1).astype(np.float32),
        np.zeros((5, 7), np.uint8),
        np.zeros((1, 1, 1), np.uint8),
    ],
    ids=["flat", "two channels", "nan", "infinite", "tiny", "one pixel"],
)
def test_odd_images_are_shown_without_complaint(image):
    answer = np.ones(image.shape[:2], bool)
    assert draw_outlines(to_rgb(image), answer, ~answer, answer.shape, 1).shape == (*image.shape[:2], 3)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="does not belong"):
        draw_overlay(np.zeros((40, 50), np.uint8), np.zeros((50, 40), bool))
