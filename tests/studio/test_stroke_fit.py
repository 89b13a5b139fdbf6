"""The fit to strokes: what each pixel counts for, which planes are chosen, and where the class begins."""

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step
from evoseg.studio.stroke_fit import count_resembling, fit_sum, rank_planes


def fit(planes, wanted, around):
    """Fit to planes that are the channels of an image."""
    channels = [Pipeline([step("channel", IMAGE, index=k)]) for k in range(len(planes))]
    return fit_sum(channels, planes, wanted, around)


def marked(planes, found) -> np.ndarray:
    """Return which pixels a sum marks, for planes of shape (n_planes, n)."""
    return found.plane(np.ascontiguousarray(planes.T[None])).ravel() > found.level


def test_pixels_count_for_those_that_resemble_them():
    painted = np.array([[10, 100, 200]], np.uint8)
    around = np.array([[0, 20, 90, 100, 110, 120, 140, 180]], np.uint8)
    np.testing.assert_allclose(count_resembling(painted, around), [2 / 8, 5 / 8, 1 / 8])


def test_planes_of_low_contrast_count_as_others_do():
    rng = default_rng(3)
    # The second plane tells the two painted pixels apart, and has a tenth of the contrast of the first.
    around = np.stack([rng.integers(0, 256, 400), np.repeat([20, 60], 200)]).astype(np.uint8)
    painted = np.array([[128, 130], [20, 60]], np.uint8)
    assert count_resembling(painted, around) == pytest.approx([0.5, 0.5], abs=0.02)


def test_planes_are_ranked_by_what_each_tells_alone():
    wanted = np.arange(200) < 60
    rng = default_rng(5)
    noise, clear = rng.integers(0, 256, 200), np.where(wanted, 180, 70)
    blurred = np.clip(clear + rng.normal(0, 60, 200), 0, 255)
    assert rank_planes(np.stack([noise, blurred, clear]).astype(np.uint8), wanted) == [2, 1, 0]


def test_what_strokes_tell_apart_is_told_apart_everywhere():
    rng = default_rng(7)
    truth = rng.random(2000) < 0.2
    planes = np.stack([
        rng.integers(0, 256, 2000),
        np.clip(np.where(truth, 160, 90) + rng.normal(0, 10, 2000), 0, 255),
        rng.integers(100, 140, 2000),
    ]).astype(np.uint8)  # fmt: skip
    drawn = np.concatenate([np.flatnonzero(truth)[:30], np.flatnonzero(~truth)[:30]])
    found = fit(planes[:, drawn], truth[drawn], planes)
    assert (marked(planes, found) == truth).mean() > 0.98


def test_many_corrections_of_what_is_rare_leave_the_rest_as_it_was():
    # Nearly all of the image is dark background, but most strokes are on the few bright artefacts. Were labels only
    # made to count alike, dark pixels would count for nothing, and stiff curves would mark them with the objects.
    rng = default_rng(11)
    dark, objects, artefacts = rng.normal(60, 8, 1700), rng.normal(110, 8, 260), rng.normal(200, 8, 40)
    around = np.clip(np.concatenate([dark, objects, artefacts]), 0, 255).astype(np.uint8)[None]
    drawn = np.concatenate([np.arange(20), np.arange(1700, 1740), np.tile(np.arange(1960, 2000), 10)])
    found = marked(around, fit(around[:, drawn], np.isin(drawn, np.arange(1700, 1960)), around))
    assert found[:1700].mean() < 0.02 and found[1700:1960].mean() > 0.8 and found[1960:].mean() < 0.02


@pytest.mark.parametrize("bright", [7, 8, 255])
def test_flat_planes_give_an_answer(bright):
    wanted = np.arange(10) < 5
    planes = np.tile(np.where(wanted, bright, 7), (3, 1)).astype(np.uint8)
    found = fit(planes, wanted, planes)
    assert 0 <= found.level <= 254
    assert bright < 255 or (marked(planes, found) == wanted).all()
