"""Choose the best pipeline among a few finalists, by scores that the search has used as little as possible."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.random import Generator

from evoseg.core.folds import Units, count_folds, each_alone, fold_of
from evoseg.evolve.evaluation.evaluator import Evaluator
from evoseg.evolve.ports import Floats, Scored
from evoseg.evolve.proposers.curve_sums import FeatureBank, find_sums
from evoseg.evolve.selection import lower_confidence, penalty
from evoseg.pipeline.structure import Structure, structure_of

Variants = Mapping[Structure, Sequence[tuple[Floats, Floats]]]
"""Robust and left-out scores of all that was tried of a structure."""

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
        image with the structure's numbers, but for the curves of sums, found on other images (`leave_out`).
    role : str
        "evolved", "classic", "constant" or, with a network in it, "network".
    plain : bool
        Whether it takes a network at its word, with numbers that nobody has chosen.
    """

    scored: Scored
    selection: Floats
    role: str
    plain: bool = False

    @property
    def merit(self) -> float:
        """The lower confidence bound of the selection score, less what length and cost must be worth."""
        return lower_confidence(self.selection) - penalty(self.scored.pipeline)


OPTIMISM = 1.0
"""Standard errors by which scores on the search images are too optimistic."""
DISAPPOINTMENT = 1.75
"""How much longer the interval is below the expected score than above it, for images that the search has seen."""
LEAST_DEVIATION = 0.05
"""Least standard deviation between images that is assumed: a few images may agree by chance."""
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10)
"""97.5 % points of Student's t distribution with 1, 2, ... degrees of freedom; beyond, 2."""


@dataclass(frozen=True)
class Prediction:
    """The score expected on new images, and a 95 % prediction interval for the mean over them."""

    score: float
    low: float
    high: float


def predict_score(scores: Floats, n_new: int, *, searched: bool) -> Prediction:
    """Predict the mean score on `n_new` new images from the scores on seen ones (docs/decisions/0008).

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
    least = 0.0 if scores.min() >= 0 else -np.inf  # correlations, and scores of a user's own task, may lie below 0
    return Prediction(*(float(np.clip(v, least, 1)) for v in (expected, expected - short, expected + reach)))


def nominate(best: Sequence[Scored], constants: Sequence[Scored], classic: Scored | None) -> list[tuple[Scored, str]]:
    """Return at most `MOST` candidates with their roles: baselines always, the rest best first.

    Evolved ones of one structure differ in numbers only, so one of them stands for all.
    """
    chosen = [(s, "constant") for s in constants] + ([(classic, "classic")] if classic else [])
    structures: set[Structure] = set()
    answers = {s.answer for s, _ in chosen}
    for scored in best:
        structure = structure_of(scored.pipeline)
        if scored.proposer == "classic":
            continue  # the best of them is in already
        if len(chosen) < MOST and structure not in structures and scored.answer not in answers:
            chosen.append((scored, "evolved"))
            structures.add(structure)
            answers.add(scored.answer)
    return chosen


def nominate_networks(best: Sequence[Scored], plain: Sequence[Scored]) -> list[Scored]:
    """Return pipelines with a network in them, at most `MOST` with the plain ones: the best, best first."""
    chosen = list(plain)
    structures = {structure_of(s.pipeline) for s in chosen}
    answers = {s.answer for s in chosen}
    for scored in best:
        structure = structure_of(scored.pipeline)
        if len(chosen) < MOST and scored.pipeline.has_network and structure not in structures:
            if scored.answer not in answers:
                chosen.append(scored)
            structures.add(structure)
            answers.add(scored.answer)
    return chosen[len(plain) :]


def leave_out(
    scored: Scored,
    variants: Variants,
    units: Units | None = None,
    folds: int = 0,
) -> Floats:
    """Return each image's score with fitted and tuned numbers taken from other images only.

    The tuned numbers are those of the variant, among all that were tried of this structure, whose robust scores are
    best on the other images, as the search prefers it. Levels were found on all other images, those of the same unit
    included.

    Parameters
    ----------
    units : intp array of shape (n_images,), optional
        Which unit each image is of; by default, each is its own.
    folds : int
        In how many folds units are left out, as `fold_of` forms them; 0 for one by one.
    """
    tried = [*variants.get(structure_of(scored.pipeline), ()), (scored.robust, scored.left_out)]
    robust = np.stack([r for r, _ in tried])
    left_out = np.stack([left for _, left in tried])
    n = robust.shape[1]
    if n == 1:
        return scored.left_out
    fold = fold_of(each_alone(n) if units is None else units, folds or n)
    others = robust.sum(axis=1, keepdims=True) - robust @ (fold[:, None] == fold).astype(np.float64)
    return cast(Floats, np.take_along_axis(left_out, others.argmax(axis=0)[None], axis=0)[0])


def cross_fit(
    candidate: Scored,
    left_out: Floats,
    evaluator: Evaluator,
    pixels: int,
    seconds: float = float("inf"),
    most: int = FOLDS,
    units: Units | None = None,
) -> Floats:
    """Return each image's score with the curves of sums, and levels, fitted without it.

    Curves can overfit a few images and then fail on all others (docs/decisions/0018). Many images are left out
    in folds; where there is time for too few folds, where nothing is summed, and for a fold without which the
    candidate cannot be scored, the scores are those that are given.

    Parameters
    ----------
    left_out : float64 array of shape (n_images,)
        The images' scores with other numbers found without them.
    evaluator : Evaluator
        Judges on the images that the candidate was scored on.
    pixels : int
        Of all these images.
    seconds : float
        That this may take by the cost model.
    most : int
        Folds, at most.
    units : intp array of shape (n_images,), optional
        Which unit each image is of; by default, each is its own.
    """
    if not find_sums(candidate.pipeline):
        return left_out
    units = each_alone(len(left_out)) if units is None else units
    possible = count_folds(units, most)
    folds = int(min(possible, seconds / (candidate.pipeline.filter_cost * pixels * 1e-9)))
    if len(units) < FEWEST or folds < min(FEWEST, possible):
        return left_out
    scores = left_out.copy()
    planes = FeatureBank(evaluator.sample_pixels)
    for fold in range(folds):
        images = np.flatnonzero(fold_of(units, folds) == fold)
        (evaluation,) = evaluator.evaluate(planes.refit([candidate.pipeline], images))
        if isinstance(evaluation, Scored):
            scores[images] = evaluation.left_out[images]
    return scores


def champion(finalists: Sequence[Finalist]) -> Finalist:
    """Return the finalist with the greatest merit, the first of equals."""
    return max(finalists, key=lambda finalist: finalist.merit)


def network_champion(finalists: Sequence[Finalist]) -> Finalist | None:
    """Return the best of the pipelines with a network: a plain one, unless another is significantly better.

    Whatever is fitted to a few images around a network mostly fits these images only (docs/decisions/0029). Without a
    plain one to compare with, there is none.
    """
    plain = [f for f in finalists if f.plain]
    if not plain:
        return None
    best = champion(plain)
    better = [f for f in finalists if not f.plain and is_significantly_better(f.selection, best.selection)]
    return champion(better) if better else best


def is_significantly_better(scores: Floats, others: Floats) -> bool:
    """Return whether the mean of paired differences has a 95 % interval (Student's t) above zero.

    At least `LEAST_DEVIATION` is assumed between images, as in the verdict about baselines (docs/decisions/0021).
    """
    difference = scores - others
    n = len(difference)
    if n < 2:
        return False
    factor = STUDENT[n - 2] if n < len(STUDENT) + 2 else 2.0
    return bool(difference.mean() > factor * np.hypot(difference.std(ddof=1), LEAST_DEVIATION) / n**0.5)


def prefers_network(readable: Floats, accurate: Floats) -> bool:
    """Return whether the pipeline with a network is recommended, by cross-fitted scores on the same images.

    It is unless filters are significantly better: the scores of the best of hundreds of programs are biased upwards by
    the choice, and there is no choice among networks (docs/decisions/0029).
    """
    return not is_significantly_better(readable, accurate)


DRAWS = 200
"""Subsets of each size."""
MOST_SIZES = 8


@dataclass(frozen=True)
class Learned:
    """The score, on the other images, of a choice made by few images.

    Attributes
    ----------
    n_images : int
        How many the choice was made by.
    score : float
        Mean over subsets, of the chosen candidate's score on the other images.
    """

    n_images: int
    score: float


def learning_curve(scores: Floats, rng: Generator) -> list[Learned]:
    """Return what candidates score on images that they were not chosen by, for choices by 1 to n - 1 images.

    Candidates are given: those bred with fewer images would differ more, so the true curve is steeper, if anything.

    Parameters
    ----------
    scores : float64 array of shape (n_candidates, n_images)

    Returns
    -------
    list of Learned
        By growing number of images; empty for fewer than three images.
    """
    n = scores.shape[1] if scores.size else 0
    if n < 3:
        return []
    sizes = np.unique(np.linspace(1, n - 1, min(n - 1, MOST_SIZES)).round().astype(int))
    found = []
    for size in sizes:
        inside = np.argsort(rng.random((DRAWS, n)), axis=1) < size
        chosen = (scores @ inside.T).argmax(axis=0)
        others = np.where(inside, 0.0, scores[chosen]).sum(axis=1) / (n - size)
        found.append(Learned(int(size), float(others.mean())))
    return found
