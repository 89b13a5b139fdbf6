"""Stored pipelines on images without masks: thresholds that are set anew, and what is measured without a truth."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.kinds import Kind
from evoseg.library.retrieval import ScaledPipeline
from evoseg.library.unlabelled import (
    DISTURBANCES,
    SCALES,
    Outlines,
    Stability,
    Tried,
    agreement,
    candidates_at_scales,
    disturb,
    is_empty_or_full,
    resize_answer,
    try_pipeline,
)
from tests.library.helpers import task


def spots(n: int = 2) -> list[np.ndarray]:
    """Draw dark discs on a bright ground, each image of another height; columns are more than rows."""
    images = []
    for i in range(n):
        rows, columns = np.mgrid[: 60 + 4 * i, :90]
        disc = (rows - 30) ** 2 + (columns - 40) ** 2 < 15**2
        noise = default_rng(i).normal(0, 4, disc.shape)
        images.append(np.clip(np.where(disc, 60, 180) + noise, 0, 255).astype(np.uint8)[:, :, None])
    return images


def tried(images: list[np.ndarray]) -> dict[str, Tried]:
    """Try a blur with a threshold, by how the threshold was set."""
    source = task(texts=(0,), channels=1)
    found = try_pipeline(ScaledPipeline(source, source.pipelines[0], 1.0), images)
    return {one.candidate.level: one for one in found}


def test_all_scales_are_tried_but_not_channels_that_are_missing():
    grey, colour = task("grey", 1, texts=(0, 1), channels=1), task("colour", 2, texts=(2,), channels=3)
    found = list(candidates_at_scales([grey, colour], 1, Kind.MASK))
    assert [one.scale for one in found[: len(SCALES)]] == list(SCALES)
    assert {one.task.name for one in found} == {"grey", "colour"}  # plane G of a grey image is the image


def test_lengths_follow_the_pixel_size_where_both_are_known():
    known = task(texts=(1,), channels=1)
    known = replace(known, card=replace(known.card, pixel_size="300 nm"))
    for source, pixel_size, more in (
        (known, "0.1 um", {3.0}),  # three times as many pixels for the same length
        (known, "0.32 um", set()),  # nearly the same
        (known, "", set()),
        (known, "0.1 x 0.2 um", set()),
        (task(texts=(1,), channels=1), "0.1 um", set()),
    ):
        found = [one.scale for one in candidates_at_scales([source], 1, Kind.MASK, pixel_size)]
        assert set(found) == {*SCALES} | more and len(found) == len(set(found))


def test_foreground_gets_an_ending_where_objects_or_points_are_wanted():
    source = task(texts=(0,), channels=1)
    for kind in (Kind.LABELS, Kind.POINTS):
        assert {one.program.output for one in candidates_at_scales([source], 1, kind)} == {kind}


def test_a_threshold_is_kept_set_by_otsu_and_set_by_the_share():
    images = spots()
    found = tried(images)
    assert set(found) == {"stored", "otsu", "share"}
    shares = {level: np.mean([answer.mean() for answer in one.answers]) for level, one in found.items()}
    assert shares["stored"] > 0.8 and shares["otsu"] > 0.8  # of what is brighter than the discs
    wanted = task(texts=(0,), channels=1).statistics["masks"]["share"]
    assert shares["share"] == pytest.approx(wanted, abs=0.03)


def test_each_answer_is_what_its_program_gives():
    images = spots()
    for one in tried(images).values():
        for image, answer in zip(images, one.answers, strict=True):
            np.testing.assert_array_equal(one.candidate.program(image), answer)


def test_answers_agree_by_their_kind():
    left, right = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    left[:, :4], right[:, 2:] = True, True
    assert agreement(left, right) == pytest.approx(8 / 24)
    one, two = np.zeros((4, 9), np.int32), np.zeros((4, 9), np.int32)
    one[:, :3], one[:, 5:7], two[:, :3] = 1, 2, 7
    assert agreement(one, two) == pytest.approx(2 / 3)  # one of two objects, and nothing else
    points = np.array([[3.0, 3.0], [30.0, 50.0]])
    assert agreement(points, points[:1] + 2) == pytest.approx(2 / 3)
    assert agreement(np.zeros_like(one), np.zeros_like(one)) == 1.0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("name", DISTURBANCES)
def test_disturbances_keep_the_type_and_change_little(name, dtype):
    images = [image.astype(dtype) for image in spots()]
    changed = disturb(images, DISTURBANCES[name])
    for image, other in zip(images, changed, strict=True):
        assert other.dtype == dtype and other.shape[2] == 1
        assert abs(float(other.mean()) - float(image.mean())) < 12
        assert name == "zoom" or (other.shape == image.shape and (other != image).any())
    np.testing.assert_array_equal(changed[0], disturb(images, DISTURBANCES[name])[0])


def test_answers_for_small_images_are_brought_back_to_size():
    mask = np.zeros((30, 45), bool)
    mask[10:20, 9:27] = True
    assert agreement(resize_answer(mask, (30, 45, 1), (60, 90, 1)), mask.repeat(2, 0).repeat(2, 1)) == 1.0
    np.testing.assert_allclose(resize_answer(np.array([[9.5, 19.5]]), (30, 45), (60, 90)), [[19.5, 39.5]])


def test_a_clear_answer_is_stable_and_one_in_the_noise_is_not():
    images = spots()
    ground = [default_rng(i).normal(128, 4, (60, 90, 1)).astype(np.uint8) for i in range(2)]
    clear, in_noise = (tried(some)["otsu"].candidate.program for some in (images, ground))
    assert Stability(images).of(clear) > 0.9 > 0.8 > Stability(ground).of(in_noise)


def test_outlines_along_edges_are_steeper_than_others():
    images = spots(1)
    rows, columns = np.mgrid[:60, :90]
    there, elsewhere = ((rows - 30) ** 2 + (columns - c) ** 2 < 15**2 for c in (40, 70))
    outlines = Outlines(images)
    assert outlines.of([there]) > 3 > 1.5 > outlines.of([elsewhere])


def test_empty_and_full_answers_are_told_from_others():
    mask = np.zeros((100, 100), bool)
    assert is_empty_or_full([mask]) and is_empty_or_full([~mask])
    mask[:10, :10] = True
    assert not is_empty_or_full([mask, np.zeros_like(mask)])
