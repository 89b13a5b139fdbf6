"""Drawn images whose answer takes a sum of planes, and sums that were fitted to some."""

import cv2
import numpy as np
from numpy.random import default_rng

from evoseg.evolve.evaluation.evaluator import JobEvaluator
from evoseg.evolve.evaluation.jobs import InProcess
from evoseg.evolve.ports import Item, Scored
from evoseg.evolve.proposers.curve_sums import FeatureBank
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step
from tests.evolve.helpers import sizes

START = Pipeline([step("channel", IMAGE, index=0), step("gaussian", 0, sigma=1.5), step("threshold", 1)])


def either_colour(n: int = 4) -> list[Item]:
    """Draw discs that are bright in red or in green, never in both, among rings that are bright in blue too."""
    items: list[Item] = []
    for i in range(n):
        rng = default_rng([77, i])
        mask = np.zeros((70, 91), np.uint8)
        light = np.full((70, 91, 3), 90.0)
        for k in range(8):
            drawn = np.zeros_like(mask)
            cv2.circle(drawn, (10 + int(rng.integers(70)), 8 + int(rng.integers(54))), 5, 1, -1)
            light[drawn > 0, k % 2] += 60
            if k < 4:
                mask |= drawn
            else:
                light[drawn > 0, 2] += 60
                mask[drawn > 0] = 0
        image = np.clip(light + rng.normal(0, 12, light.shape), 0, 255).astype(np.uint8)
        items.append({"image": image, "mask": mask.astype(bool)})
    return items


def evaluator_of(items: list[Item]) -> JobEvaluator:
    task = BinaryTask()
    return JobEvaluator(task, InProcess(task, items, 1 << 26), sizes(items))


def score(evaluator: JobEvaluator, program: Pipeline) -> float:
    (evaluation,) = evaluator.evaluate([program])
    assert isinstance(evaluation, Scored)
    return evaluation.score


def operators(program: Pipeline) -> list[str]:
    return [s.operator for s in program.steps]


def blurred(channel: str) -> Pipeline:
    return Pipeline([step("plane", IMAGE, channel=channel), step("gaussian", 0, sigma=1.5)])


def inverted(items: list[Item]) -> list[Item]:
    return [item | {"image": 255 - item["image"]} for item in items]


def summed_on(items: list[Item], *channels: str) -> Pipeline:
    """Return a program that sums channels along curves fitted to these images, and cuts the sum."""
    planes, leaves = FeatureBank(evaluator_of(items).sample_pixels), [blurred(c) for c in channels]
    planes.add(leaves)
    total = planes.sum_of(leaves)
    assert total is not None
    return Pipeline([*total.steps, step("threshold", len(total) - 1, level=128)])
