"""Fit a pipeline's numbers to masks: the curves of its sums, then its levels."""

from collections.abc import Sequence
from math import prod

import cv2

from evoseg.core.errors import PipelineError
from evoseg.datasets.dataset import Dataset
from evoseg.evolve.evaluation.evaluator import JobEvaluator
from evoseg.evolve.evaluation.jobs import InProcess
from evoseg.evolve.ports import Scored, inputs_of
from evoseg.evolve.proposers.curve_sums import FeatureBank
from evoseg.evolve.tasks.task_kinds import choose_radius
from evoseg.inference.score import find_task_kind
from evoseg.pipeline import Pipeline, Step

_CACHE_BYTES = 2**27


def refit(pipeline: Pipeline, dataset: Dataset, stems: Sequence[str]) -> Pipeline:
    """Return a pipeline with its fitted numbers found anew from some labelled images, as a search does it.

    Parameters
    ----------
    pipeline : Pipeline
    dataset : Dataset
    stems : sequence of str
        Images to fit to.

    Raises
    ------
    PipelineError
        If no task has such pipelines, or it fails on these images.
    """
    free = Pipeline([_freed(step) for step in pipeline.steps])
    kind = find_task_kind(pipeline)
    task = kind.task(kind.metrics[0], choose_radius(kind, None, dataset))
    items = [task.arrays(dataset.load(stem)) for stem in stems]
    sizes = {i: prod(inputs_of(task, item)[0].shape[:2]) for i, item in enumerate(items)}
    threads = cv2.getNumThreads()  # an executor sets them to 1
    try:
        evaluator = JobEvaluator(task, InProcess(task, items, _CACHE_BYTES), sizes)
        (evaluation,) = evaluator.evaluate(FeatureBank(evaluator.sample_pixels).refit([free]))
    finally:
        cv2.setNumThreads(threads)
    if not isinstance(evaluation, Scored):
        reason = getattr(evaluation, "reason", "the images hold nothing to fit to")
        raise PipelineError(f"the pipeline cannot be fitted to these images: {reason}.")
    return evaluation.pipeline.for_images(pipeline.made_for)


def _freed(step: Step) -> Step:
    """Return a step whose level is fitted, too: curves that change take the values elsewhere."""
    return Step("threshold", step.inputs, step.params) if step.operator == "level" else step
