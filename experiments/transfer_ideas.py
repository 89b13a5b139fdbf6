"""Ways to choose programs that were tried in study (a) and gained nothing sure; kept so that this can be repeated.

All see what `transfer_tables.ours` sees: the rows between tasks that are no relatives of the target. `in_turn` also
sees what the programs that it chose before have scored on the target, as a search does after each evaluation.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from transfer_tables import Study, distinct  # beside this file

from evoseg.library.advice import Candidate, problem_of, related, similarity
from evoseg.library.task import SolvedTask

MOST = 5
NEAR = 0.2
"""Difference in mean similarity by which a target's weight falls to 1 / e."""
OWN = 0.3
"""Share of a program's variance that it shares with no other."""
NOISE = 0.02

Floats = NDArray[np.float64]


def as_a_set(study: Study, target: SolvedTask, candidates: list[Candidate]) -> list[Candidate]:
    """Choose the set whose best is expected to score most: greedily, over the errors that the model makes elsewhere.

    In one scenario for each other target, every program errs from what is expected of it here as it erred there. So two
    programs that fail together are worth less than two that do not.
    """
    adviser = study.adviser(target)
    here = np.array(adviser.expected(problem_of(target), candidates))
    scenarios = []
    for other, scores in _others(study, target, candidates):
        there = np.array(adviser.expected(problem_of(other), candidates))
        error = (scores - there) / max(float(np.nanmean(scores)), 0.01)
        scenarios.append(here / here.mean() + np.where(np.isnan(error), 0, error))
    worth = np.maximum(np.array(scenarios), 0)  # (n_targets, n_candidates)
    best, chosen = np.zeros(len(worth)), []
    for _ in range(MOST):
        gain = np.maximum(worth, best[:, None]).mean(axis=0)
        gain[chosen] = -1
        chosen.append(int(np.argmax(gain)))
        best = np.maximum(best, worth[:, chosen[-1]])
    return [candidates[i] for i in chosen]


def near_shares(study: Study, target: SolvedTask, candidates: list[Candidate]) -> list[Candidate]:
    """Choose by the mean share of the best score on other targets, weighted by how similar these are."""
    means, _ = _moments(study, target, candidates, shares=True)
    return distinct(candidates, means)


def in_turn(study: Study, target: SolvedTask, candidates: list[Candidate]) -> list[Candidate]:
    """Choose one at a time, by expected improvement, given what the programs chosen before have scored here.

    Programs are correlated as their scores on the other targets are (a Gaussian process over programs).
    """
    mean, covariance = _moments(study, target, candidates, shares=False)
    covariance = (1 - OWN) * covariance + OWN * np.diag(np.diag(covariance))
    worth, chosen = mean, []
    while len(chosen) < MOST:
        worth = worth.copy()
        worth[chosen] = -np.inf
        chosen.append(int(np.argmax(worth)))
        seen = np.array([study.of(target.name, candidates[i]) for i in chosen])
        inverse = np.linalg.inv(covariance[np.ix_(chosen, chosen)] + NOISE**2 * np.eye(len(chosen)))
        pull = covariance[:, chosen] @ inverse
        now = mean + pull @ (seen - mean[chosen])
        spread = np.sqrt(np.maximum(np.diag(covariance) - (pull * covariance[:, chosen]).sum(axis=1), 1e-8))
        z = (now - seen.max()) / spread
        worth = (now - seen.max()) * norm.cdf(z) + spread * norm.pdf(z)
    return [candidates[i] for i in chosen]


def _others(study: Study, target: SolvedTask, candidates: list[Candidate]) -> list[tuple[SolvedTask, Floats]]:
    """Return the targets that are no relatives, with the candidates' scores there; NaN where one is a relative."""
    found = []
    for other in study.tasks.values():
        if related(other, target):
            continue
        scores = []
        for c in candidates:
            known = [study.score.get((other.name, c.task.name, c.stored.role, s)) for s in (c.scale != 1.0, False)]
            score = next((s for s in known if s is not None), np.nan)
            scores.append(np.nan if related(c.task, other) else score)
        if not np.isnan(scores).all():
            found.append((other, np.array(scores)))
    return found


def _moments(study: Study, target: SolvedTask, candidates: list[Candidate], *, shares: bool) -> tuple[Floats, Floats]:
    """Return weighted mean and covariance of the candidates' scores on other targets, the near ones counting more."""
    others = _others(study, target, candidates)
    close = [np.mean(list(similarity(target.described, other.described).values())) for other, _ in others]
    weights = np.exp((np.array(close) - max(close)) / NEAR)
    weights /= weights.sum()
    scores = np.array([s for _, s in others])
    scores = np.where(np.isnan(scores), np.nanmean(scores, axis=0), scores)
    scores = scores / scores.max(axis=1, keepdims=True).clip(0.01) if shares else scores
    mean = weights @ scores
    return mean, (scores - mean).T * weights @ (scores - mean)
