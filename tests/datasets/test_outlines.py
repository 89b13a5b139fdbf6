"""Outlines of objects into pixels, by hand and by what must hold."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evoseg.datasets.outlines.areas import draw_region
from tests.datasets.drawn_layouts import packed, runs


def whole(segmentation, shape):
    found = draw_region(segmentation, shape)
    inside = np.zeros(shape, bool)
    rows, cols = found.inside.shape
    inside[found.top : found.top + rows, found.left : found.left + cols] = found.inside
    return inside


def test_run_lengths_go_down_the_columns():
    inside = whole({"size": [3, 4], "counts": [2, 3, 7]}, (3, 4))
    assert inside.astype(int).tolist() == [[0, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]]


def test_text_of_run_lengths_by_hand():
    # 4 5 10 as they are; then 2, which is 3 less than the last but one: -3 is 29 in five bits, and 48 + 29 is M.
    assert packed([4, 5, 10, 2]) == "45:M"
    # 20 needs a sixth bit for its sign: 20 + 32 + 48 is d, then 0.
    assert packed([20, 1]) == "d01"
    expected = whole({"size": [3, 7], "counts": [4, 5, 10, 2]}, (3, 7))
    assert np.array_equal(whole({"size": [3, 7], "counts": "45:M"}, (3, 7)), expected) and expected.sum() == 7
    assert whole({"size": [3, 7], "counts": "d01"}, (3, 7)).sum() == 1


@given(inside=arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 11))))
def test_masks_survive_run_lengths(inside):
    for counts in (runs(inside), packed(runs(inside))):
        assert np.array_equal(whole({"size": list(inside.shape), "counts": counts}, inside.shape), inside)


def test_a_rectangle_covers_the_pixels_whose_centres_it_holds():
    inside = whole([[2, 1, 5, 1, 5, 4, 2, 4]], (6, 8))
    assert inside.sum() == 9 and inside[1:4, 2:5].all()
    assert np.array_equal(whole([[2.4, 1.4, 5.4, 1.4, 5.4, 4.4, 2.4, 4.4]], (6, 8)), inside)
    assert not whole([[2.6, 1, 3.4, 1, 3.4, 4, 2.6, 4]], (6, 8)).any()


def test_a_triangle_by_hand():
    assert whole([[0, 0, 4, 0, 0, 4]], (4, 4)).astype(int).tolist() == [
        [1, 1, 1, 0],
        [1, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_parts_of_an_object_are_joined_and_what_lies_outside_is_cut():
    inside = whole([[-5, -5, 2, -5, 2, 2, -5, 2], [6, 4, 99, 4, 99, 99, 6, 99]], (6, 8))
    assert inside[:2, :2].all() and inside[4:, 6:].all() and inside.sum() == 8
    assert not whole([[-9, -9, -5, -9, -5, -5]], (6, 8)).any()
    assert whole([[-1e300, -1e300, 1e300, -1e300, 1e300, 1e300, -1e300, 1e300]], (6, 8)).all()


@given(
    corners=st.lists(st.tuples(st.floats(-3, 15), st.floats(-3, 12)), min_size=3, max_size=8),
    move=st.tuples(st.integers(0, 6), st.integers(0, 6)),
)
def test_an_outline_moved_by_whole_pixels_moves_its_pixels(corners, move):
    rows, cols = move
    there = whole([[v + d for x, y in corners for v, d in ((x, 8 + cols), (y, 8 + rows))]], (40, 40))
    here = whole([[v + 8 for corner in corners for v in corner]], (40, 40))
    # Rounding may shift a crossing that falls on a pixel's centre.
    assert (np.roll(here, (rows, cols), (0, 1)) != there).sum() <= len(corners)
