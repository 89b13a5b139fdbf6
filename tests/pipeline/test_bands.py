"""Band by band gives the same pixels as the whole image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoseg.operators import registry
from evoseg.pipeline import Pipeline, read_text
from evoseg.pipeline.bands import ArrayRows, run_in_bands
from tests.pipeline.programs import programs


def picture(rows: int, cols: int, seed: int) -> np.ndarray:
    """Draw blobs of several sizes with noise, in three channels."""
    rng = np.random.default_rng(seed)
    small = rng.random((rows // 9 + 1, cols // 9 + 1, 3)).repeat(9, axis=0).repeat(9, axis=1)[:rows, :cols]
    return ((small > 0.6) * 140 + rng.integers(0, 60, (rows, cols, 3))).astype(np.uint8)


@settings(max_examples=60)
@given(pipeline=programs(6), seed=st.integers(0, 5), band=st.sampled_from([1, 4000]))
def test_any_program_gives_the_same_in_bands(pipeline: Pipeline, seed: int, band: int) -> None:
    if any(registry.get(s.operator).needs for s in pipeline.steps):
        return
    image = picture(900, 37, seed)
    np.testing.assert_array_equal(run_in_bands(pipeline, ArrayRows(image), band=band), pipeline(image))


class Counted(ArrayRows):
    """Notes how many rows are asked for at a time."""

    def rows(self, first: int, last: int) -> np.ndarray:
        seen.append(last - first)
        return super().rows(first, last)


seen: list[int] = []


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("def pipeline(image):\n    return remove_small(threshold(gaussian(channel(image), sigma=2.0)))\n", 0.2),
        ("def pipeline(image):\n    return mask_or(otsu(channel(image)), threshold(box(channel(image))))\n", 0.2),
        ("def pipeline(image):\n    return threshold(window_percentile(image))\n", 1.0),
    ],
)
def test_only_as_many_rows_are_read_at_a_time_as_the_program_needs(text: str, share: float) -> None:
    pipeline, image = read_text(text), picture(900, 37, 1)
    shares: list[float] = []
    seen.clear()
    result = run_in_bands(pipeline, Counted(image), shares.append, band=37 * 60)
    np.testing.assert_array_equal(result, pipeline(image))
    assert max(seen) <= share * 900
    assert shares == sorted(shares)
    assert share == 1.0 or shares[-1] == 1.0
