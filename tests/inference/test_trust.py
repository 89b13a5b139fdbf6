"""How far answers can be trusted, on answers that were drawn."""

import numpy as np
import pytest

from evoseg.core.kinds import Kind
from evoseg.datasets.figures import UNFAMILIAR
from evoseg.inference.trust import Opinions, agreement, network_step, run_keeping
from evoseg.pipeline import read_text

SHAPE = (12, 17)


def square(row, col, side=4):
    mask = np.zeros(SHAPE, bool)
    mask[row : row + side, col : col + side] = True
    return mask


def opinions(answer, others, kind=Kind.MASK):
    found = Opinions(kind, answer, SHAPE, radius=2.0)
    for other in others:
        found.add(other)
    return found


def test_agreement_is_the_score_of_one_answer_by_the_other():
    assert agreement(Kind.MASK, square(2, 2), square(2, 4), 0) == pytest.approx(8 / 24)
    labels = square(2, 2).astype(np.int32) + 2 * square(2, 10).astype(np.int32)
    assert agreement(Kind.LABELS, labels, square(2, 2).astype(np.int32), 0) == pytest.approx(1 / 2)
    points = np.array([[2.0, 2.0], [9.0, 9.0]])
    assert agreement(Kind.POINTS, points, points[:1] + 1, 2.0) == pytest.approx(2 / 3)


def test_trust_is_the_mean_agreement():
    found = opinions(square(2, 2), [square(2, 2), square(2, 4)])
    assert found.trust(None) == found.trust(UNFAMILIAR) == pytest.approx((1 + 8 / 24) / 2)


def test_an_unfamiliar_image_is_trusted_less_even_if_all_agree_that_it_is_empty():
    found = opinions(np.zeros(SHAPE, bool), [np.zeros(SHAPE, bool)])
    assert found.trust(0.5) == 1 and found.trust(2 * UNFAMILIAR) == pytest.approx(0.5)


def test_without_anything_to_compare_with_trust_is_unknown():
    assert opinions(square(2, 2), []).trust(1.0) is None


def test_the_picture_shows_how_many_others_differ():
    picture = opinions(square(2, 2), [square(2, 2), square(2, 4)]).picture()
    assert picture.dtype == np.uint8
    assert picture[3, 2] == picture[3, 7] == 127 and picture[3, 4] == picture[10, 10] == 0


def test_points_that_only_some_find_are_shown():
    points = np.array([[5.0, 5.0]])
    picture = opinions(points, [points, np.zeros((0, 2))], Kind.POINTS).picture()
    assert picture[5, 5] == 127 and picture[11, 16] == 0


def test_a_network_that_is_certain_is_trusted_and_one_that_hesitates_is_not():
    sure = np.where(square(2, 2), 250, 3).astype(np.uint8)
    found = opinions(square(2, 2), [])
    found.add_plane(sure)
    assert found.trust(None) == 1 and found.picture().max() <= 10
    # Half of what is called foreground is hardly more than that: lost at 0.65 and 0.8.
    hesitant = np.where(square(2, 2, 8), 140, 3).astype(np.uint8)
    hesitant[square(2, 2)] = 250
    found = opinions(hesitant >= 128, [])
    found.add_plane(hesitant)
    assert found.trust(None) == pytest.approx((1 + 1 + 16 / 64 + 16 / 64) / 4)
    assert found.picture()[9, 9] > 220 > 10 >= found.picture()[3, 3]


def test_the_plane_of_a_network_is_kept_on_the_way():
    text = "def pipeline(image):\n    return remove_small(threshold(network(image), level=128), area=2)\n"
    pipeline = read_text(text)
    image = (np.arange(12 * 17).reshape(*SHAPE, 1)).astype(np.uint8)
    place = network_step(pipeline)
    answer, plane = run_keeping(pipeline, image, place)
    # What the example network gives, within the level by which versions of OpenCV differ.
    np.testing.assert_allclose(plane.astype(int), image[:, :, 0], atol=1)
    assert np.array_equal(answer, pipeline(image))


def test_a_pipeline_of_filters_has_no_plane():
    assert network_step(read_text("def pipeline(image):\n    return threshold(channel(image), level=9)\n")) is None
