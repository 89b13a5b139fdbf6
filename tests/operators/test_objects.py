"""What operators to labels do with drawn objects."""

import cv2
import numpy as np
import pytest

from evoseg.operators.label_filters import (
    expand_labels,
    keep_area_labels,
    keep_bright_labels,
    keep_round_labels,
    merge_labels,
    open_labels,
)
from evoseg.operators.watershed import (
    bright_watershed,
    components,
    depth_watershed,
    distance_watershed,
    marker_watershed,
    nearest_marker,
)

SHAPE = (61, 97)


def discs(*places: tuple[int, int, int]) -> np.ndarray:
    """Return a mask of discs at (row, col) with a radius each."""
    mask = np.zeros(SHAPE, np.uint8)
    for row, col, radius in places:
        cv2.circle(mask, (col, row), radius, 1, -1)
    return mask.astype(bool)


PAIR = discs((30, 30, 12), (30, 50, 12))
"""Two discs that overlap: the neck is 13 px wide, the discs 25 px."""


def is_parted(labels: np.ndarray) -> bool:
    """Return whether the two centres of PAIR have numbers of their own, and every pixel of it has one of these."""
    a, b = labels[30, 30], labels[30, 50]
    return bool(a and b and a != b and np.array_equal(np.isin(labels, (a, b)), PAIR))


def test_touching_discs_are_one_component():
    labels = components(PAIR)
    assert labels.max() == 1 and np.array_equal(labels > 0, PAIR)


@pytest.mark.parametrize(
    "part",
    [lambda m: distance_watershed(m, distance=10.0), lambda m: depth_watershed(m, depth=2.0)],
    ids=["distance", "depth"],
)
def test_touching_discs_are_parted_at_their_neck(part):
    labels = part(PAIR)
    assert labels.max() == 2 and is_parted(labels)
    border = [col for col in range(30, 50) if labels[30, col] != labels[30, col + 1]]
    assert border == pytest.approx([40], abs=1.5)


def test_less_is_parted_the_more_is_asked_for():
    assert distance_watershed(PAIR, distance=25.0).max() == 1
    assert depth_watershed(PAIR, depth=12.0).max() == 1


def test_a_long_bar_stays_whole_by_depth():
    mask = np.zeros(SHAPE, bool)
    mask[20:30, 5:90] = True
    assert depth_watershed(mask, depth=1.0).max() == 1


def test_bright_tops_part_what_shape_cannot():
    mask = np.zeros(SHAPE, bool)
    mask[20:40, 10:80] = True
    plane = np.full(SHAPE, 60, np.uint8)
    for col in (25, 65):
        cv2.circle(plane, (col, 30), 6, 200, -1)
    labels = bright_watershed(plane, mask, sigma=3.0, depth=20)
    assert labels.max() == 2 and np.array_equal(labels > 0, mask)
    assert labels[30, 25] != labels[30, 65]
    assert bright_watershed(plane, mask, sigma=3.0, depth=128).max() == 1
    dark = bright_watershed(255 - plane, mask, sigma=3.0, depth=20, polarity="dark")
    assert dark[30, 25] != dark[30, 65]


def test_every_marker_gets_the_land_up_to_the_valley():
    plane = np.full(SHAPE, 200, np.uint8)
    plane[:, 60:63] = 40
    mask, markers = np.ones(SHAPE, bool), discs((10, 10, 2), (50, 90, 2))
    labels = marker_watershed(plane, markers, mask, sigma=1.5)
    assert labels.max() == 2
    # The valley, not the middle between the markers, is where they meet.
    assert set(labels[30, :58]) == {labels[10, 10]} and set(labels[30, 66:]) == {labels[50, 90]}


def test_what_has_no_marker_goes():
    mask = discs((20, 20, 8), (40, 70, 8))
    labels = marker_watershed(np.full(SHAPE, 99, np.uint8), discs((20, 20, 2)), mask)
    assert np.array_equal(labels > 0, discs((20, 20, 8)))
    assert marker_watershed(np.full(SHAPE, 99, np.uint8), discs((5, 90, 2)), mask).max() == 0


def test_pixels_go_to_the_nearest_marker():
    labels = nearest_marker(discs((30, 10, 3), (30, 80, 3)), np.ones(SHAPE, bool))
    assert set(labels[:, :44].ravel()) == {labels[30, 10]} and set(labels[:, 47:].ravel()) == {labels[30, 80]}


def test_expanding_keeps_objects_apart():
    labels = components(discs((30, 30, 8), (30, 52, 8)))
    grown = expand_labels(labels, distance=20.0)
    assert np.array_equal(grown[labels > 0], labels[labels > 0])
    assert grown[30, 40] == labels[30, 30] and grown[30, 43] == labels[30, 52]
    assert (
        0.9 < np.count_nonzero(expand_labels(components(discs((30, 40, 10))), distance=5.0)) / (np.pi * 15.5**2) < 1.1
    )


def test_opening_takes_off_hairs_and_leaves_neighbours_alone():
    labels = np.zeros(SHAPE, np.int32)
    labels[10:40, 10:40], labels[10:40, 40:70], labels[50, 5:90] = 1, 2, 3
    labels[25, 70:95] = 2
    opened = open_labels(labels, radius=2)
    assert opened.max() == 2 and not opened[50].any() and not opened[25, 75:].any()
    assert opened[25, 30] == 1 and opened[25, 60] == 2 and opened[25, 38] == 1 and opened[25, 41] == 2


def test_parts_that_share_much_of_their_outline_are_joined():
    labels = np.zeros(SHAPE, np.int32)
    labels[10:40, 10:30], labels[10:40, 30:45], labels[38:60, 44:90] = 1, 2, 3
    # 1 and 2 share 30 of 90 edges of the smaller; 2 and 3 share a corner of a few.
    assert merge_labels(labels, share=0.3).max() == 2
    joined = merge_labels(labels, share=0.3)
    assert joined[20, 15] == joined[20, 40] != joined[55, 80]
    assert merge_labels(labels, share=0.5).max() == 3


def test_objects_are_kept_by_area_roundness_and_brightness():
    labels = np.zeros(SHAPE, np.int32)
    labels[discs((20, 20, 10))], labels[50:52, 10:90], labels[5:8, 80:83] = 1, 2, 3
    assert set(np.unique(keep_area_labels(labels, low=100, high=1000)[labels == 1])) == {1}
    assert keep_area_labels(labels, low=100, high=200).max() == 1
    assert np.array_equal(keep_round_labels(labels, roundness=0.8) > 0, (labels == 1) | (labels == 3))
    plane = np.where(labels == 2, 200, 50).astype(np.uint8)
    assert np.array_equal(keep_bright_labels(labels, plane, level=100) > 0, labels == 2)
    assert np.array_equal(
        keep_bright_labels(labels, plane, level=100, polarity="dark") > 0, (labels == 1) | (labels == 3)
    )
