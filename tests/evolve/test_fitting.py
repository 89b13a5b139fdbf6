"""Thresholds are fitted, not guessed: compared with trying every level."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.evolve.evaluation.evaluator import JobEvaluator
from evoseg.evolve.evaluation.jobs import InProcess
from evoseg.evolve.ports import Failed, Item, Scored
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.metrics.mask_scores import MASK_METRICS
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step
from tests.evolve.helpers import discs, sizes

PIXELWISE = [name for name, m in MASK_METRICS.items() if m.pixelwise]
EVERY = [(polarity, level) for polarity in ("bright", "dark") for level in range(256)]


def evaluator(items: Sequence[Item], metric: str = "iou", without: int | None = None) -> JobEvaluator:
    pixels = {i: n for i, n in sizes(list(items)).items() if i != without}
    return JobEvaluator(BinaryTask(metric), InProcess(BinaryTask(metric), items, 1 << 28), pixels)


def fitted(items: Sequence[Item], program: Pipeline, metric: str = "iou") -> Scored:
    (evaluation,) = evaluator(items, metric).evaluate([program])
    assert isinstance(evaluation, Scored), evaluation
    return evaluation


def brute_force(items: Sequence[Item], program: Pipeline, metric: str) -> np.ndarray:
    """Return scores of shape (512, n_images): the last threshold at each polarity and level, run and judged."""
    before = program.steps[:-1]
    variants = [
        Pipeline([*before, step("threshold", program.steps[-1].inputs[0], level=level, polarity=polarity)])
        for polarity, level in EVERY
    ]
    measure, score = MASK_METRICS[metric].measure, MASK_METRICS[metric].score
    plane = {i: program.until(len(program) - 2)(item["image"]) for i, item in enumerate(items)}
    counts = []
    for variant in variants:
        level, polarity = variant.steps[-1].params
        masks = [plane[i] > level if polarity == "bright" else plane[i] <= level for i in range(len(items))]
        counts.append([measure(m, i["mask"], i.get("known")) for m, i in zip(masks, items, strict=True)])
    return score(np.array(counts))


def coarse(items: Sequence[Item], step_size: int) -> list[Item]:
    """Return the items with few grey values, so that many levels tie."""
    return [item | {"image": item["image"] // step_size * step_size} for item in items]


def halves() -> list[Item]:
    """Return items of which nearly half is foreground."""
    return [item | {"mask": item["image"][..., 1] > np.median(item["image"][..., 1])} for item in discs()]


def scenes() -> dict[str, list[Item]]:
    inverted = [item | {"image": 255 - item["image"]} for item in discs()]
    empty = [item | {"mask": np.zeros_like(item["mask"])} if i == 1 else item for i, item in enumerate(discs())]
    flat = [{"image": np.full((9, 13, 3), 100, np.uint8), "mask": np.eye(9, 13, dtype=bool)} for _ in range(2)]
    known = discs(known=True)
    unknown = [i | {"known": np.zeros_like(i["mask"])} if k == 0 else i for k, i in enumerate(known)]
    return {
        "bright": discs(),
        "dark": inverted,
        "known": known,
        "nothing known in one": unknown,
        "ties": coarse(discs(), 40),
        "ties, known": coarse(known, 64),
        "one image": discs(1),
        "one without objects": empty,
        "flat": flat,
        "half foreground": halves(),
        "half foreground, known": [h | {"known": k["known"]} for h, k in zip(halves(), known, strict=True)],
        "all foreground": [item | {"mask": np.ones_like(item["mask"])} for item in discs(2)],
    }


@pytest.mark.parametrize("metric", PIXELWISE)
@pytest.mark.parametrize("scene", scenes())
def test_a_final_threshold_is_the_best_of_all_512(scene, metric):
    items = scenes()[scene]
    program = Pipeline([step("channel", IMAGE, index=1), step("gaussian", 0, sigma=1.0), step("threshold", 1)])
    found = fitted(items, program, metric)
    every = brute_force(items, program, metric)
    assert found.score == pytest.approx(every.mean(axis=1).max(), abs=1e-12)
    level, polarity = found.pipeline.steps[-1].params
    at = EVERY.index((polarity, level))
    assert found.scores.tolist() == every[at].tolist()
    assert found.pipeline.form == program.form


def test_statistics_are_those_of_the_fitted_program():
    items = discs(known=True)
    program = Pipeline([step("channel", IMAGE), step("threshold", 0)])
    found = fitted(items, program)
    (judged,) = evaluator(items).judge([found.pipeline])
    assert judged.tolist() == found.statistics.tolist()


def test_among_levels_that_tie_the_middle_is_taken():
    image = np.zeros((10, 14, 1), np.uint8)
    image[2:5, 3:9] = 200
    items = [{"image": image, "mask": image[:, :, 0] > 0}]
    found = fitted(items, Pipeline([step("channel", IMAGE), step("threshold", 0)]))
    assert found.score == 1.0
    assert found.pipeline.steps[-1].params == (99, "bright")  # every level from 0 to 199 is right


@pytest.mark.parametrize("scene", ["bright", "dark", "known", "ties", "ties, known", "one without objects"])
def test_left_out_scores_are_those_of_refitting_without_the_image(scene):
    items = scenes()[scene]
    program = Pipeline([step("channel", IMAGE, index=1), step("threshold", 0)])
    found = fitted(items, program)
    for i in range(len(items)):
        (refitted,) = evaluator(items, without=i).evaluate([program])
        assert isinstance(refitted, Scored)
        alone = JobEvaluator(BinaryTask(), InProcess(BinaryTask(), items, 0), {i: 1})
        (judged,) = alone.judge([refitted.pipeline])
        assert not isinstance(judged, Failed)
        assert found.left_out[i] == pytest.approx(MASK_METRICS["iou"].score(judged)[0], abs=1e-12)


def test_left_out_scores_do_not_suffer_from_levels_that_tie():
    # On the first image every level from 50 on is right. Its lowest would be wrong on the second; its middle is not.
    items = []
    for ground in (50, 100):
        image = np.full((10, 14, 1), ground, np.uint8)
        image[2:5, 3:9] = 200
        items.append({"image": image, "mask": image[:, :, 0] == 200})
    found = fitted(items, Pipeline([step("channel", IMAGE), step("threshold", 0)]))
    assert found.left_out.tolist() == [1.0, 1.0]


def with_tail(level: int = 128, polarity: str = "bright") -> Pipeline:
    return Pipeline(
        [
            step("channel", IMAGE, index=0),
            step("gaussian", 0, sigma=1.5),
            step("threshold", 1, level=level, polarity=polarity),
            step("remove_small", 2, area=12),
            step("fill_holes", 3),
        ]
    )


def run_all(items: Sequence[Item], programs: Sequence[Pipeline], metric: str = "iou") -> np.ndarray:
    judged = evaluator(items, metric).judge(programs)
    return MASK_METRICS[metric].score(np.stack([j for j in judged if not isinstance(j, Failed)])).mean(axis=1)


@pytest.mark.parametrize("metric", MASK_METRICS)
def test_with_a_tail_an_easy_scene_is_solved_as_well_as_by_trying_every_level(metric):
    items = discs(3)
    every = run_all(items, [with_tail(level, polarity) for polarity, level in EVERY], metric)
    assert fitted(items, with_tail(), metric).score >= every.max() - 0.01


def test_with_a_tail_the_result_is_what_the_fitted_program_gives():
    items = discs(3, known=True)
    found = fitted(items, with_tail())
    assert found.score == pytest.approx(run_all(items, [found.pipeline])[0], abs=1e-12)
    assert found.pipeline.form == with_tail().form


def test_with_a_tail_the_result_is_at_least_as_good_as_what_it_started_from():
    items = discs(3)
    alone = fitted(items, with_tail().until(2))
    level, polarity = alone.pipeline.steps[-1].params
    for start in [(10, "bright"), (90, "bright"), (128, "dark"), (250, "bright")]:
        found = fitted(items, with_tail(*start)).score
        assert found >= run_all(items, [with_tail(*start), with_tail(level, polarity)]).max() - 1e-12


def test_a_tail_that_turns_the_mask_over_turns_the_polarity_over():
    items = discs(3)
    plain = Pipeline([step("channel", IMAGE), step("gaussian", 0), step("threshold", 1)])
    turned = Pipeline([*plain.steps, step("invert_mask", 2)])
    assert fitted(items, turned).score == pytest.approx(fitted(items, plain).score, abs=0.02)


def two_lights(n: int = 2) -> list[Item]:
    """Draw discs that are bright in one channel, among distractors that are dark in another."""
    items: list[Item] = []
    for i in range(n):
        rng = default_rng([7, i])
        good, bad = np.zeros((50, 63), np.uint8), np.zeros((50, 63), np.uint8)
        for mask in (good, bad):
            for _ in range(4):
                cv2.circle(mask, (int(rng.integers(5, 58)), int(rng.integers(5, 45))), 5, 1, -1)
        image = np.stack([60 + 120 * (good | bad), 180 - 120 * bad, 0 * good], axis=2)
        noisy = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
        items.append({"image": noisy, "mask": (good > bad)})
    return items


def test_two_thresholds_are_found_together():
    items = two_lights()
    program = Pipeline(
        [
            step("channel", IMAGE, index=0),
            step("channel", IMAGE, index=1),
            step("threshold", 0),
            step("threshold", 1),
            step("mask_and", 2, 3),
        ]
    )
    found = fitted(items, program)
    assert found.score > 0.97
    assert found.score == pytest.approx(run_all(items, [found.pipeline])[0], abs=1e-12)
    single = [fitted(items, Pipeline([step("channel", IMAGE, index=i), step("threshold", 0)])).score for i in (0, 1)]
    assert found.score > max(single) + 0.1


def test_equal_thresholds_of_one_plane_are_fitted_without_harm():
    program = Pipeline(
        [
            step("channel", IMAGE),
            step("threshold", 0, level=90),
            step("threshold", 0, level=160),
            step("mask_xor", 1, 2),
        ]
    )
    found = fitted(discs(2), program)
    assert found.score == pytest.approx(run_all(discs(2), [found.pipeline])[0], abs=1e-12)


def test_a_program_without_fitted_numbers_is_judged_as_it_is():
    items = discs(2)
    program = Pipeline([step("channel", IMAGE), step("otsu", 0)])
    found = fitted(items, program)
    assert found.pipeline == program
    assert found.left_out.tolist() == found.scores.tolist()


@pytest.mark.parametrize("metric", [n for n in MASK_METRICS if n not in PIXELWISE])
def test_a_final_threshold_is_near_the_best_for_scores_of_shapes_too(metric):
    items = discs(3)
    program = Pipeline([step("channel", IMAGE), step("gaussian", 0, sigma=2.0), step("threshold", 1)])
    every = brute_force(items, program, metric)
    found = fitted(items, program, metric)
    assert found.score >= every.mean(axis=1).max() - 0.02
    assert found.score == pytest.approx(run_all(items, [found.pipeline], metric)[0], abs=1e-12)


@pytest.mark.parametrize("scene", ["bright", "known", "nothing known in one", "half foreground", "all foreground"])
def test_the_truths_that_a_worker_holds_are_small(scene):
    for item in scenes()[scene]:
        truth = BinaryTask().target(item)
        assert np.shares_memory(truth.mask, item["mask"])
        assert max(truth.counted.nbytes, truth.unknown.nbytes) <= truth.mask.size
