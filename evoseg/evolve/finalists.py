"""Choose the champion among a few finalists, on evidence that the search has used as little as possible."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from evoseg.evolve.evaluator import AnyEvaluator
from evoseg.evolve.planes import Planes, sums_in
from evoseg.evolve.ports import Floats, Scored
from evoseg.evolve.selection import assured, price
from evoseg.evolve.skeletons import Skeleton, skeleton

MOST = 8
FEWEST, FOLDS = 3, 10
"""Parts of the images that curves are fitted without, one after the other: at least, if at all, and at most."""


@dataclass(frozen=True, eq=False)
class Finalist:
    """A candidate with the score that the choice rests on.

    Attributes
    ----------
    scored : Scored
    selection : float64 array
        Per image of the selection split that the finalists could be scored on, or, where there is none, per search
        image with the structure's numbers, but for the curves of sums, found on other images (`leave_one_out`).
    role : str
        "evolved", "classic" or "constant".
    """

    scored: Scored
    selection: Floats
    role: str

    @property
    def merit(self) -> float:
        """The assured selection score, less what length and cost must be worth."""
        return assured(self.selection) - price(self.scored.pipeline)


OPTIMISM = 1.0
"""Standard errors by which images that a search has seen promise too much."""
DISAPPOINTMENT = 1.75
"""How much farther what a search has found may fall short of what is expected than it may exceed it."""
LEAST_DEVIATION = 0.05
"""Standard deviation between images that is reckoned with at least: a few seen images may agree by chance."""
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10)
"""97.5 % points of Student's t distribution with 1, 2, ... degrees of freedom; beyond, 2."""


@dataclass(frozen=True)
class Promise:
    """What a pipeline is expected to score on new images: the mean, and a 95 % interval for the mean over some."""

    score: float
    low: float
    high: float


def promise(scores: Floats, n_new: int, *, searched: bool) -> Promise:
    """Say what scores on seen images promise for the mean over `n_new` new ones (docs/decisions/0008).

    Parameters
    ----------
    scores : float64 array of shape (n_images,)
    searched : bool
        Whether the search has seen these images, so that what it found suits them better than others.
    """
    n = len(scores)
    deviation = float(np.hypot(scores.std(ddof=1) if n > 1 else 0.0, LEAST_DEVIATION))
    expected = float(scores.mean()) - (OPTIMISM * deviation / n**0.5 if searched else 0.0)
    factor = STUDENT[n - 2] if 2 <= n < len(STUDENT) + 2 else 2.0 if n > 1 else STUDENT[0]
    reach = factor * deviation * (1 / n + 1 / max(n_new, 1)) ** 0.5
    short = DISAPPOINTMENT * reach if searched else reach
    return Promise(*(float(np.clip(v, 0, 1)) for v in (expected, expected - short, expected + reach)))


def nominate(best: Sequence[Scored], constants: Sequence[Scored], classic: Scored | None) -> list[tuple[Scored, str]]:
    """Return at most `MOST` candidates with their roles: baselines always, the rest best first.

    Evolved ones of one structure differ in numbers only, so one of them stands for all.
    """
    chosen = [(s, "constant") for s in constants] + ([(classic, "classic")] if classic else [])
    structures: set[Skeleton] = set()
    answers = {s.answer for s, _ in chosen}
    for scored in best:
        structure = skeleton(scored.pipeline)
        if scored.proposer == "classic":
            continue  # the best of them is in already
        if len(chosen) < MOST and structure not in structures and scored.answer not in answers:
            chosen.append((scored, "evolved"))
            structures.add(structure)
            answers.add(scored.answer)
    return chosen


def leave_one_out(scored: Scored, variants: Mapping[Skeleton, Sequence[tuple[Floats, Floats]]]) -> Floats:
    """Return each image's score with fitted and tuned numbers taken from the other images only.

    The tuned numbers are those of the variant, among all that were tried of this structure, whose robust scores are
    best on the other images, as the search prefers it; its level was compared on the other images, too.
    """
    tried = [*variants.get(skeleton(scored.pipeline), ()), (scored.robust, scored.left_out)]
    robust = np.stack([r for r, _ in tried])
    left_out = np.stack([left for _, left in tried])
    if robust.shape[1] == 1:
        return scored.left_out
    others = robust.sum(axis=1, keepdims=True) - robust
    return cast(Floats, np.take_along_axis(left_out, others.argmax(axis=0)[None], axis=0)[0])


def crossed(
    candidate: Scored, left_out: Floats, evaluator: AnyEvaluator, pixels: int, seconds: float = float("inf")
) -> Floats:
    """Return each image's score with the curves of sums, and levels, fitted without it.

    Curves can learn a few images by heart, and then fail on any other (docs/decisions/0018). Many images are left out
    in groups; where there is time for too few groups, where nothing is summed, and for a group without which the
    candidate cannot be scored, the scores are those that are given.

    Parameters
    ----------
    left_out : float64 array of shape (n_images,)
        The images' scores with other numbers found without them.
    evaluator : AnyEvaluator
        Judges on the images that the candidate was scored on.
    pixels : int
        Of all these images.
    seconds : float
        That this may take by the cost model.
    """
    if not sums_in(candidate.pipeline):
        return left_out
    n = len(left_out)
    folds = int(min(n, FOLDS, seconds / (candidate.pipeline.cost * pixels * 1e-9)))
    if folds < FEWEST:
        return left_out
    scores = left_out.copy()
    planes = Planes(evaluator.probe)
    for fold in range(folds):
        images = np.arange(fold, n, folds)
        (verdict,) = evaluator.evaluate(planes.refitted([candidate.pipeline], images))
        if isinstance(verdict, Scored):
            scores[images] = verdict.left_out[images]
    return scores


def champion(finalists: Sequence[Finalist]) -> Finalist:
    """Return the finalist with the greatest merit, the first of equals."""
    return max(finalists, key=lambda finalist: finalist.merit)
