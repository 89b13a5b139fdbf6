"""Band by band gives the same pixels as the whole image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoseg.pipeline import Pipeline, read_text
from evoseg.pipeline.running import ArrayRows, run_in_bands, values_in_bands
from tests.pipeline.programs import programs


def picture(rows: int, cols: int, seed: int) -> np.ndarray:
    """Draw blobs of several sizes with noise, in three channels."""
    rng = np.random.default_rng(seed)
    small = rng.random((rows // 9 + 1, cols // 9 + 1, 3)).repeat(9, axis=0).repeat(9, axis=1)[:rows, :cols]
    return ((small > 0.6) * 140 + rng.integers(0, 60, (rows, cols, 3))).astype(np.uint8)


@settings(max_examples=60)
@given(
    pipeline=programs(9), seed=st.integers(0, 5), band=st.sampled_from([1, 4000]), held=st.sampled_from([0, 1 << 20])
)
def test_any_program_gives_the_same_in_bands(pipeline: Pipeline, seed: int, band: int, held: int) -> None:
    image = picture(900, 37, seed)
    np.testing.assert_array_equal(run_in_bands(pipeline, ArrayRows(image), band=band, held=held), pipeline(image))


class Counted(ArrayRows):
    """Notes how many rows are asked for at a time."""

    def rows(self, first: int, last: int) -> np.ndarray:
        seen.append(last - first)
        return super().rows(first, last)


seen: list[int] = []

TEXTS = {
    "objects": ("remove_small(threshold(gaussian(channel(image), sigma=2.0)))", 1),
    "a level": ("otsu(gaussian(channel(image), sigma=2.0))", 2),
    "a level of the image itself": ("threshold(gaussian(window_percentile(image)))", 2),
    "a level after a level": ("otsu(box(equalise(window_percentile(image))))", 4),
    "bands after objects": ("dilate_mask(fill_holes(threshold(channel(image))))", 2),
    "bands and objects": ("mask_or(otsu(channel(image)), keep_round(threshold(box(channel(image)))))", 2),
    "a level of objects": ("otsu(component_mean(box(channel(image)), threshold(channel(image))))", 3),
    "numbered objects": ("keep_area_labels(components(dilate_mask(otsu(channel(image)))))", 2),
    "points": ("centroids(otsu(channel(image)))", 2),
}


@pytest.mark.parametrize("name", TEXTS)
def test_only_as_many_rows_are_read_at_a_time_as_the_program_needs(name: str) -> None:
    (body, passes), image = TEXTS[name], picture(900, 37, 1)
    pipeline = read_text(f"def pipeline(image):\n    return {body}\n")
    for held in (0, 1 << 20):
        shares: list[float] = []
        seen.clear()
        result = run_in_bands(pipeline, Counted(image), shares.append, band=37 * 60, held=held)
        np.testing.assert_array_equal(result, pipeline(image))
        assert max(seen) <= 180
        assert sum(seen) <= (passes if held == 0 else 2) * 3 * 900  # margins on both sides
        assert shares == sorted(shares)
        assert shares[-1] == 1.0


@pytest.mark.parametrize("held", [0, 1 << 20])
@pytest.mark.parametrize("name", TEXTS)
def test_values_on_the_way_are_had_from_the_same_run(name: str, held: int) -> None:
    (body, passes), image = TEXTS[name], picture(900, 37, 1)
    pipeline = read_text(f"def pipeline(image):\n    return {body}\n")
    seen.clear()
    places = range(len(pipeline))
    found = values_in_bands(pipeline, Counted(image), places, band=37 * 60, held=held)
    for place, value in zip(places, found, strict=True):
        np.testing.assert_array_equal(value, pipeline.until(place)(image))
    assert sum(seen) <= passes * 3 * 900
