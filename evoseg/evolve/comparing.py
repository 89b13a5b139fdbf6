"""Compare finished programs on images that nothing was fitted to, all on the same ones."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from evoseg.evolve.evaluation.evaluator import Evaluator
from evoseg.evolve.ports import Failed, Floats
from evoseg.pipeline import Pipeline

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Comparison:
    """The statistics of finished programs on the images of a split.

    Attributes
    ----------
    images : tuple of int
        Positions in the split of the images that all these programs could be scored on.
    statistics : mapping of Pipeline to statistics of shape (n_images, s)
    reasons : mapping of int to str
        Why the other images could not be scored, by their positions.
    """

    images: tuple[int, ...] = ()
    statistics: Mapping[Pipeline, Floats] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)


def compare_finished(
    programs: Sequence[Pipeline], leaders: Sequence[Pipeline], evaluator: Evaluator, n_images: int, split: str
) -> Comparison:
    """Judge finished programs on the images that one of the leaders could be scored on.

    That is the leader who fails on the fewest, the first of such. Other programs that fail on one of these images are
    left out, as the means of all must be over the same images.

    Parameters
    ----------
    leaders : sequence of Pipeline
        Some of the programs.
    evaluator : Evaluator
        Judges on all images of the split.
    split : str
        Its name, for messages.
    """
    found = evaluator.judge_finished(programs)
    parts = {program: _image_by_image(each, n_images) for program, each in zip(programs, found, strict=True)}
    failures = {p: {k: e.reason for k, e in enumerate(each) if isinstance(e, Failed)} for p, each in parts.items()}
    leader = min(leaders, key=lambda program: len(failures[program]))
    images = tuple(k for k in range(n_images) if k not in failures[leader])
    statistics: dict[Pipeline, Floats] = {}
    for program, each in parts.items():
        rows = [row for k in images if isinstance(row := each[k], np.ndarray)]
        if images and len(rows) == len(images):
            statistics[program] = np.concatenate(rows)
        elif images:
            why = next(reason for k, reason in failures[program].items() if k in images)
            logger.warning("left out of the comparison on the %s images, %s: %s", split, program.digest, why)
    for k, reason in failures[leader].items():
        logger.warning("number %d of the %s images could not be scored: %s", k + 1, split, reason)
    return Comparison(images, statistics, failures[leader])


def _image_by_image(found: Floats | Failed, n_images: int) -> Sequence[Floats | Failed]:
    """Return the statistics, or the failure, on each image."""
    if isinstance(found, Failed):
        return found.parts or [found] * n_images
    return [row[None] for row in found]
