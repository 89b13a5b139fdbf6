"""Large images are measured and mapped strip by strip: the same pixels, whatever the strips are."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoseg.core.kinds import Kind
from evoseg.operators import registry
from evoseg.operators.components import remove_small
from evoseg.operators.gray import equalising_table, otsu_level, triangle_level
from evoseg.operators.registry import WHOLE, Operator
from evoseg.operators.strips import count_levels, join_roots
from tests.pipeline.programs import values

TWO_PASS = [op for op in registry.operators() if op.two_pass is not None]


def blots(seed: int, shape: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random(shape).astype(np.float32), (0, 0), float(rng.uniform(0.3, 2)))
    return noise > rng.uniform(0.4, 0.55)


def shape_of(seed: int) -> tuple[int, int]:
    rows, cols = np.random.default_rng([seed, 1]).integers((20, 1), (120, 90))
    return int(rows), int(cols)


def value(kind: Kind, seed: int, slot: int) -> np.ndarray:
    rng, shape = np.random.default_rng([seed, slot]), shape_of(seed)
    mask = blots(seed + slot, shape)
    if kind is Kind.MASK:
        return mask
    plane = np.clip(rng.normal(40 + 120 * mask, rng.uniform(1, 30)), 0, 255).astype(np.uint8)
    if kind is Kind.GRAY:
        return plane
    image = np.dstack([plane, np.roll(plane, 3)])
    return [image, image.astype(np.uint16) * 251, image.astype(np.float32) / 97][seed % 3]


@pytest.mark.parametrize("op", TWO_PASS, ids=lambda op: op.name)
@settings(max_examples=40)
@given(data=st.data(), seed=st.integers(0, 200), height=st.sampled_from([2, 4, 8, 16, 64]))
def test_strips_of_any_height_give_what_the_whole_gives(op: Operator, data, seed: int, height: int) -> None:
    arrays = tuple(value(kind, seed, slot) for slot, kind in enumerate(op.inputs))
    params = op.named(tuple(data.draw(values(p)) for p in op.parameters))
    if "area" in params:
        params["area"] = data.draw(st.sampled_from([params["area"], 12]))
    found = op.two_pass.run(arrays, params, height)
    expected = op.function(*arrays, **params)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("op", TWO_PASS, ids=lambda op: op.name)
def test_only_what_looks_at_the_whole_image_is_measured(op: Operator) -> None:
    assert op.reach(tuple(p.default for p in op.parameters)) == WHOLE


def test_a_spiral_through_every_seam_is_one_object():
    mask = np.zeros((60, 60), bool)
    for i in range(0, 28, 4):
        mask[i, i : 60 - i] = mask[59 - i, i : 60 - i] = mask[i : 60 - i, 59 - i] = True
        mask[i + 4 : 60 - i, i] = True
        mask[i + 4, i : i + 5] = True
    assert cv2.connectedComponents(mask.view(np.uint8))[0] == 2
    form = registry.get("remove_small").two_pass
    for area in (mask.sum(), mask.sum() + 1):
        np.testing.assert_array_equal(form.run((mask,), {"area": area}, 2), remove_small(mask, area=area))


def test_numbers_that_pairs_join_get_their_lowest():
    pairs = np.array([[5, 4], [3, 2], [4, 3], [7, 8], [8, 9], [9, 7]])
    assert join_roots(10, pairs).tolist() == [0, 1, 2, 2, 2, 2, 6, 7, 7, 7]
    assert join_roots(3, np.zeros((0, 2), np.int64)).tolist() == [0, 1, 2]


def test_histograms_tell_what_opencv_makes_of_the_plane() -> None:
    for seed in range(300):
        check_histogram(seed)


def check_histogram(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = sorted(rng.integers(0, 257, 2))
    levels = rng.choice(np.arange(256), rng.integers(1, 257), replace=False)
    plane = rng.choice(levels, (rng.integers(1, 60), rng.integers(1, 60)))
    if seed % 2:
        plane = np.clip(plane, low, max(low, high - 1))
    plane = plane.astype(np.uint8)
    counts = count_levels(plane)
    assert counts.sum() == plane.size
    assert otsu_level(counts) == cv2.threshold(plane, 0, 255, cv2.THRESH_OTSU)[0], seed
    assert triangle_level(counts) == cv2.threshold(plane, 0, 255, cv2.THRESH_TRIANGLE)[0], seed
    equalised = cv2.LUT(plane, equalising_table(counts))
    np.testing.assert_array_equal(equalised, cv2.equalizeHist(plane), err_msg=f"seed {seed}")


def test_the_page_about_large_images_tells_the_operators_apart() -> None:
    page = (Path(__file__).parents[2] / "docs" / "apply.md").read_text("utf-8")
    in_strips, whole = page.split("## Steps that look at the whole image")[1].split("- **Still run whole**")
    whole = whole.split("\n\n")[0]
    looking = [
        op for op in registry.operators(retired=True) if op.reach(tuple(p.default for p in op.parameters)) == WHOLE
    ]
    assert {op.name for op in looking if op.two_pass is None} == set(re.findall(r"`(\w+)`", whole))
    assert {op.name for op in looking if op.two_pass is not None} == set(re.findall(r"`(\w+)`", in_strips))
