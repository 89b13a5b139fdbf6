"""Whether a pipeline is significantly better than the baselines, by a paired comparison over the test images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evoseg.evolve.finalists import LEAST_DEVIATION, STUDENT

Word = Literal["better", "not surely better", "worse", "too few test images to tell"]
BETTER: Word = "better"
NOT_BETTER: Word = "not surely better"
WORSE: Word = "worse"
TOO_FEW: Word = "too few test images to tell"

STROKES, FULL, MIXED = "strokes", "full masks", "strokes and full masks"
"""What scores rest on."""

LEAST_IMAGES = 3
"""Fewest test images for a verdict: with two, the 95 % interval reaches beyond any score."""


@dataclass(frozen=True)
class Comparison:
    """How much higher a pipeline scores than a baseline on the same images.

    Attributes
    ----------
    mean : float
        Of the differences, one per image; above 0 where the pipeline scores higher.
    low, high : float
        95 % interval of that mean over further images of the same kind.
    """

    mean: float
    low: float
    high: float


def compare(scores: Mapping[str, float], baseline: Mapping[str, float]) -> Comparison | None:
    """Compare a pipeline with a baseline image by image; None for fewer than `LEAST_IMAGES` common images.

    The interval is Student's t interval of the mean difference, two-sided, 95 %. The standard deviation of the
    differences is taken as sqrt(s**2 + LEAST_DEVIATION**2), since a few images may agree by chance
    (docs/decisions/0021).

    Parameters
    ----------
    scores, baseline : mapping of str to float
        Scores by stem, higher is better. Images that only one of them has are left out.
    """
    common = sorted(scores.keys() & baseline.keys())
    n = len(common)
    if n < LEAST_IMAGES:
        return None
    differences = np.array([scores[stem] - baseline[stem] for stem in common])
    deviation = float(np.hypot(differences.std(ddof=1), LEAST_DEVIATION))
    mean = float(differences.mean())
    reach = (STUDENT[n - 2] if n < len(STUDENT) + 2 else 2.0) * deviation / n**0.5
    return Comparison(mean, mean - reach, mean + reach)


def word_for(comparisons: Sequence[Comparison | None]) -> Word:
    """Return the verdict that follows from the comparisons with all baselines; nothing else decides it.

    A pipeline is better if it is significantly better than every baseline, and worse if it is significantly worse than
    one of them.
    """
    known = [c for c in comparisons if c is not None]
    if not known or len(known) < len(comparisons):
        return TOO_FEW
    if any(c.high < 0 for c in known):
        return WORSE
    return BETTER if all(c.low > 0 for c in known) else NOT_BETTER
