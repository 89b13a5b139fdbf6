"""What a result means, in sentences for people who have never heard of it."""

from collections import Counter
from collections.abc import Mapping, Sequence

from evoseg.app.found import Found
from evoseg.app.scoring import Judged
from evoseg.app.summary import headline, not_scored, reused, verdict
from evoseg.app.words import METRIC_WORDS
from evoseg.metrics.shifts import error_px

_RISING = 0.01
"""Gain from half of the masks to nearly all from which more are expected to help."""
_GAP = 0.05
"""Distance of the search images' score from the test's that says: the images at hand are too few or too alike."""


def in_short(found: Found, worst: Sequence[Judged]) -> list[str]:
    """Return a few sentences: how good, what it is, where it fails, would more masks help, and what was reused."""
    told = [
        f"{headline(found)}.",
        verdict(found),
        *not_scored(found),
        _what(found),
        _failures(found, worst),
        _more_masks(found),
    ]
    return [*told, *reused(found)]


def why_shown(stem: str, scores: Mapping[str, float]) -> str:
    """Say which place an image has among all."""
    ordered = sorted(scores, key=lambda one: scores[one])
    place = ordered.index(stem) + 1
    if place == 1:
        return f"the worst of {len(ordered)}"
    return f"number {place} of {len(ordered)} from the worst" if place <= len(ordered) / 3 else "in the middle"


def _what(found: Found) -> str:
    used = Counter(s.operator for s in found.pipeline.steps)
    names = ", ".join(name if n == 1 else f"{name} ({n} times)" for name, n in used.items())
    n = len(found.pipeline)
    filters = "one filter" if n == 1 else f"{n} filters"
    return f"It is made of {filters}: {names}. It takes about {found.pipeline.cost:.1f} ms per megapixel on one core."


def _failures(found: Found, worst: Sequence[Judged]) -> str:
    """Say on which images it does worst, and whether it misses or marks too much there."""
    names = ", ".join(one.sample.stem for one in worst)
    word = METRIC_WORDS[found.metric]
    scores = [one.scores[found.metric] for one in worst]
    errors = [one.errors for one in worst if one.errors is not None]
    if worst and not errors:
        off = f", up to {error_px(min(scores)):.2f} px off" if found.metric == "closeness" else ""
        return f"It does worst on {names} ({word} {min(scores):.2f} to {max(scores):.2f}{off})."
    missed, extra = sum(missed for missed, _ in errors), sum(extra for _, extra in errors)
    fault = "it marks too little rather than too much"
    if extra > 2 * missed:
        fault = "it mostly marks what is not there"
    elif missed > 2 * extra:
        fault = "it mostly misses what is there"
    elif extra > missed:
        fault = "it marks too much rather than too little"
    if max(missed, extra) == 0:
        return f"It is right on the images shown below ({names})."
    return f"It does worst on {names} ({word} {min(scores):.2f} to {max(scores):.2f}): there {fault}."


def _more_masks(found: Found) -> str:
    """Judge by the learning curve, and by how much the search images promised too much."""
    curve, n = found.result.get("learning", []), found.result["n_images"]["search"]
    word, test, search = METRIC_WORDS[found.metric], found.scores["test"], found.scores["search"]
    if not curve:
        return f"Whether more masks would help cannot be said from {n} search images; they rarely harm."
    half = min(curve, key=lambda point: abs(point[0] - n / 2))
    gain = curve[-1][1] - half[1]
    if gain >= _RISING:
        return (
            f"More masks would probably help: choosing by {curve[-1][0]:g} instead of {half[0]:g} of the search images "
            f"raised {word} by {gain:.3f} on the others."
        )
    if test is not None and search is not None and search - test >= _GAP:
        return (
            f"More masks may help if they show other kinds of images: the search images score {search - test:.2f} "
            "higher than the new ones."
        )
    return (
        f"More masks like these would hardly help: choosing by {curve[-1][0]:g} instead of {half[0]:g} of the search "
        f"images changed {word} by {gain:+.3f} on the others."
    )
