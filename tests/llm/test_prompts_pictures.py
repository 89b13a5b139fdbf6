"""Pictures in prompts: a panel for each window, one with outlines and one with the errors."""

import base64

import cv2
import numpy as np
import pytest

from evoseg.drawing import ANSWER, TRUTH
from evoseg.llm.prompts import SIDE_PX, data_url, panels

TRUTH_MASK = np.zeros((40, 60), bool)
TRUTH_MASK[10:20, 10:30] = True
ANSWER_MASK = np.roll(TRUTH_MASK, 10, axis=1)


@pytest.mark.parametrize(("dtype", "n"), [(np.uint8, 3), (np.uint16, 4), (np.float32, 4)])
def test_there_is_a_panel_per_window_one_with_outlines_and_one_with_errors(dtype, n):
    image = (np.arange(40 * 60 * 3).reshape(40, 60, 3) % 251).astype(dtype)
    picture = panels(image, TRUTH_MASK, ANSWER_MASK)
    assert picture.shape == (40 + 22, n * 60 + (n - 1) * 6, 3) and picture.dtype == np.uint8
    errors = picture[:40, -60:]
    assert tuple(errors[15, 12]) == TRUTH and tuple(errors[15, 35]) == ANSWER
    assert tuple(errors[15, 25]) == (90, 90, 90) and tuple(errors[0, 0]) == (0, 0, 0)


def test_without_an_answer_the_truth_is_outlined_and_large_images_shrink():
    picture = panels(np.zeros((1000, 2000, 1), np.uint8), np.zeros((1000, 2000), bool), None)
    assert picture.shape == (SIDE_PX // 2 + 22, 2 * SIDE_PX + 6, 3)
    bar = picture[SIDE_PX // 2 + 8]
    # 1000 of 2000 pixels: the longest round length within half a panel.
    assert (bar == 0).all(axis=1)[: SIDE_PX - 150].sum() == SIDE_PX // 2 + 1


def test_not_a_number_is_no_hindrance():
    image = np.full((20, 20, 1), np.nan, np.float32)
    assert panels(image, None, None).shape[2] == 3


def test_a_data_url_is_the_picture():
    picture = panels((np.arange(300).reshape(10, 10, 3) % 256).astype(np.uint8), None, None)
    data = base64.b64decode(data_url(picture).removeprefix("data:image/jpeg;base64,"))
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert shown.shape == picture.shape
    assert np.abs(shown.astype(int) - picture).mean() < 12


def test_an_image_that_was_shown_before_is_left_out():
    image = np.zeros((40, 60, 3), np.uint8)
    assert panels(image, TRUTH_MASK, ANSWER_MASK, image_too=False).shape == (40 + 22, 2 * 60 + 6, 3)
