"""Missed objects and false alarms, counted by hand."""

import numpy as np

from evoseg.metrics.detections import Detections, describe_detections, detect_objects, worst_image


def boxes(*corners, shape=(20, 33), side=4):
    mask = np.zeros(shape, bool)
    for row, col in corners:
        mask[row : row + side, col : col + side] = True
    return mask


def test_what_shares_no_pixel_is_missed_or_a_false_alarm():
    truth = boxes((1, 1), (1, 10), (10, 20))
    # A corner of the first is met, the second is met twice, the third is missed; two marks are of nothing.
    answer = boxes((4, 3), (0, 8), (4, 13), (15, 1), (15, 28))
    assert detect_objects(answer, truth) == Detections(3, 1, 2)
    assert detect_objects(truth, answer) == Detections(5, 2, 1)


def test_diagonal_neighbours_are_one_object():
    truth = np.zeros((6, 7), bool)
    truth[2, 2] = truth[3, 3] = True
    assert detect_objects(np.zeros_like(truth), truth) == Detections(1, 1, 0)


def test_unknown_pixels_count_nowhere():
    truth, answer = boxes((1, 1), (1, 10)), boxes((10, 20))
    known = np.ones_like(truth)
    known[:, 9:] = False
    assert detect_objects(answer, truth, known) == Detections(1, 1, 0)


def test_empty_images_have_nothing_to_miss():
    nothing = np.zeros((5, 6), bool)
    assert detect_objects(nothing, nothing) == Detections(0, 0, 0)
    assert detect_objects(~nothing, nothing) == Detections(0, 0, 1)


def test_the_worst_image_misses_most_and_then_has_most_false_alarms():
    counts = {"a": Detections(4, 1, 0), "b": Detections(4, 2, 0), "c": Detections(9, 2, 3), "d": Detections(9, 0, 9)}
    assert worst_image(counts) == "c"
    assert worst_image({"a": Detections(4, 0, 0)}) is None and worst_image({}) is None
    assert describe_detections(counts, "4 test images") == (
        "On the 4 test images: 5 of 26 objects missed, 12 false alarms; most in c (2 of 9 objects missed, 3 false "
        "alarms)."
    )
    assert describe_detections({"a": Detections(1, 0, 1)}, "1 test image") == (
        "On the 1 test image: 0 of 1 object missed, 1 false alarm."
    )
