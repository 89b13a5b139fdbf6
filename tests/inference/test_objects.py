"""Objects of answers, their outlines and properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.measure import label, regionprops_table

from evoseg.datasets.outlines.areas import draw_region
from evoseg.inference.objects import REGION_COLUMNS, AnswerObjects, Layer
from evoseg.inference.outlines import column_runs, pack_runs, trace_polygons

MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8)))


def drawn(polygon, shape):
    """Return the pixels of a polygon with holes, by the reader of COCO files."""
    found = np.zeros(shape, bool)
    for ring in polygon:
        one = draw_region([ring[:, ::-1].ravel().tolist()], shape)
        rows, cols = one.inside.shape
        found[one.top : one.top + rows, one.left : one.left + cols] ^= one.inside
    return found


@given(mask=MASKS)
def test_outlines_give_the_same_pixels_and_do_not_touch_themselves(mask):
    polygons = trace_polygons(mask)
    parts = label(mask, connectivity=1)
    assert len(polygons) == parts.max()
    seen = set()
    for polygon in polygons:
        inside = drawn(polygon, mask.shape)
        (number,) = set(parts[inside].tolist())
        np.testing.assert_array_equal(inside, parts == number)
        seen.add(number)
        assert all(len({*map(tuple, ring.tolist())}) == len(ring) for ring in polygon)
    assert len(seen) == parts.max()


def test_the_outline_of_a_ring_of_pixels_by_hand():
    mask = np.ones((3, 4), bool)
    mask[1, 1:3] = False
    ((outer, hole),) = trace_polygons(mask)
    assert outer.tolist() == [[0, 0], [0, 4], [3, 4], [3, 0]]
    # Against the clock, so that the object lies to the right.
    assert hole.tolist() == [[1, 1], [2, 1], [2, 3], [1, 3]]


@given(mask=MASKS, top=st.integers(0, 2), left=st.integers(0, 2), more=st.integers(0, 2))
def test_run_lengths_are_read_back(mask, top, left, more):
    rows, cols = mask.shape[0] + top + more, mask.shape[1] + left + more
    whole = np.zeros((rows, cols), bool)
    whole[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    runs = column_runs(mask, top, left, rows, rows * cols)
    for counts in (runs, pack_runs(runs)):
        region = draw_region({"size": [rows, cols], "counts": counts}, (rows, cols))
        found = np.zeros((rows, cols), bool)
        found[region.top : region.top + region.inside.shape[0], region.left : region.left + region.inside.shape[1]] = (
            region.inside
        )
        np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("strip", [2 * 70, 8 * 70, 10**6])
@pytest.mark.parametrize("kind", ["mask", "labels"])
def test_objects_and_their_labels_are_the_same_in_strips(strip, kind, monkeypatch):
    monkeypatch.setattr("evoseg.inference.objects.TWO_PASS_STRIP", strip)
    mask = np.random.default_rng(5).random((51, 70)) < 0.35
    numbers = label(mask, connectivity=2).astype(np.int32)
    # Numbers with gaps, as after objects were removed.
    found = AnswerObjects([Layer(mask if kind == "mask" else numbers * 3)], strip=strip)
    painted = np.zeros(mask.shape, np.int32)
    for one in found:
        assert one.area == one.inside.sum()
        painted[one.top : one.top + one.inside.shape[0], one.left : one.left + one.inside.shape[1]][one.inside] = (
            one.number
        )
    np.testing.assert_array_equal(np.concatenate(list(found.labels())), painted)
    assert len(found) == numbers.max() == painted.max()
    pairs = set(zip(painted.ravel().tolist(), numbers.ravel().tolist(), strict=True))
    assert len(pairs) == len(found) + 1  # one number each


def test_classes_are_numbered_one_after_the_other():
    classes = np.zeros((9, 12), np.uint8)
    classes[1:3, 1:3] = classes[1:3, 8:10] = 7
    classes[5:8, 5:8] = 2
    found = AnswerObjects([Layer(classes == 2, 2, "two"), Layer(classes == 7, 7, "seven")])
    assert [(one.number, one.class_value, one.class_name) for one in found] == [
        *[(1, 2, "two"), (2, 7, "seven"), (3, 7, "seven")]
    ]
    (strip,) = found.labels()
    assert (strip[6, 6], strip[1, 1], strip[1, 9], strip.max()) == (1, 2, 3, 3)


def test_properties_are_those_of_scikit_image(monkeypatch):
    mask = np.random.default_rng(7).random((40, 60)) < 0.3
    numbers = label(mask, connectivity=2)
    expected = regionprops_table(numbers, properties=[n.partition("-")[0] for n in REGION_COLUMNS])
    rows = {tuple(one.measures[:3].round(6)): one.properties() for one in AnswerObjects([Layer(mask)])}
    for index in range(numbers.max()):
        area, row, col = (expected[name][index] for name in ("area", "centroid-0", "centroid-1"))
        found = rows[area, round(row, 6), round(col, 6)]
        for name in (*REGION_COLUMNS[1:],):
            assert found[name] == pytest.approx(expected[name][index], abs=1e-9), name
    monkeypatch.setattr("evoseg.inference.objects.LARGEST_BOX", 3)
    known = next(iter(AnswerObjects([Layer(np.ones((2, 4), bool))]))).properties()
    assert known["area"] == 8 and known["extent"] == 1.0 and "solidity" not in known
