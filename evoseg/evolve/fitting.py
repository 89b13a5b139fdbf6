"""Find the fitted numbers of a pipeline: thresholds, exactly where possible.

A fit is a conversation: it asks for planes to be surveyed and variants to be judged, and is told the results. It
never runs anything itself, so the caller may ask for many fits at once and spread the work as it likes.
"""

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from evoseg.evolve.ports import Floats, Scored, Task
from evoseg.operators import registry
from evoseg.pipeline import Pipeline, Step

POLARITIES = ("bright", "dark")
VARIANTS = 8
"""Levels that run through the steps after a threshold, where the sweep alone cannot tell the best."""
ROUNDS = 2
"""Rounds of coordinate ascent over several thresholds."""

Conversation = Generator[list[Pipeline], list[Floats], Scored]


def fit(pipeline: Pipeline, task: Task) -> Conversation:
    """Yield programs to be measured, receive a result for each, and return the fitted candidate."""
    places = [i for i, s in enumerate(pipeline.steps) if registry.get(s.operator).fitted]
    if not places:
        (statistics,) = yield [pipeline]
        return _scored(pipeline, statistics[None], task)
    surveys = yield [pipeline.until(pipeline.steps[i].inputs[0]) for i in places]
    sweeps = [task.sweep(survey) for survey in surveys]
    if places == [len(pipeline) - 1]:
        scores, statistics_at = sweeps[0]
        if statistics_at is not None:
            return _from_sweep(pipeline, scores, statistics_at, task)
    return (yield from _ascend(pipeline, places, [scores.mean(axis=2) for scores, _ in sweeps], task))


def _ascend(pipeline: Pipeline, places: list[int], ranks: list[Floats], task: Task) -> Conversation:
    """Run the most promising levels of one threshold after the other through the whole program."""
    best: Scored | None = None
    # Sorting may move steps, so variants are always made from this one value, with levels by place.
    chosen = [pipeline.steps[i] for i in places]
    for _ in range(ROUNDS if len(places) > 1 else 1):
        for k, rank in enumerate(ranks):
            steps = [_at(chosen[k], polarity, level) for polarity, level in _promising(rank)]
            steps += [chosen[k]] if best is not None and chosen[k] not in steps else []
            variants = [_with(pipeline, places, [*chosen[:k], s, *chosen[k + 1 :]]) for s in steps]
            statistics = np.stack((yield variants))
            scored = _scored_among(variants, statistics, task)
            if best is None or scored.score > best.score:
                best = scored
                chosen[k] = steps[variants.index(scored.pipeline)]
    assert best is not None
    return best


def _promising(rank: Floats) -> list[tuple[int, int]]:
    """Return up to `VARIANTS` (polarity, level) pairs, best first, spaced so that answers differ."""
    polarity = int(rank.max(axis=1).argmax())
    line = rank[polarity]
    spacing = max(1, int((line >= 0.7 * line.max()).sum()) // VARIANTS)
    free = np.ones(256, bool)
    found: list[tuple[int, int]] = []
    for level in np.argsort(-line, kind="stable"):
        if free[level]:
            found.append((polarity, int(level)))
            free[max(0, level - spacing + 1) : level + spacing] = False
        if len(found) == VARIANTS:
            break
    return found


def _at(step: Step, polarity: int, level: int) -> Step:
    values = {"level": level, "polarity": POLARITIES[polarity]}
    parameters = registry.get(step.operator).parameters
    return replace(step, params=tuple(values.get(p.name, v) for p, v in zip(parameters, step.params, strict=True)))


def _with(pipeline: Pipeline, places: list[int], steps: list[Step]) -> Pipeline:
    changed = list(pipeline.steps)
    for i, s in zip(places, steps, strict=True):
        changed[i] = s
    return Pipeline(changed)


def _from_sweep(pipeline: Pipeline, scores: Floats, statistics: Floats, task: Task) -> Scored:
    flat = scores.reshape(-1, scores.shape[2])
    best = _middle_of_best(scores.mean(axis=2))
    step = _at(pipeline.steps[-1], *divmod(best, 256))
    found = statistics.reshape(len(flat), *statistics.shape[2:])[best]
    return Scored(_with(pipeline, [len(pipeline) - 1], [step]), found, flat[best], _left_out(flat))


def _middle_of_best(rank: Floats) -> int:
    """Return the flat index in the middle of the run of equally good levels around the first best one."""
    polarity, first = divmod(int(rank.argmax()), 256)
    line = rank[polarity]
    last = first
    while last < 255 and line[last + 1] == line[first]:
        last += 1
    return polarity * 256 + (first + last) // 2


def _scored(pipeline: Pipeline, statistics: Floats, task: Task) -> Scored:
    return _scored_among([pipeline], statistics, task)


def _scored_among(variants: list[Pipeline], statistics: Floats, task: Task) -> Scored:
    """Return the best of the variants; statistics have shape (n_variants, n_images, s)."""
    scores = task.score(statistics)
    best = int(scores.mean(axis=1).argmax())
    return Scored(variants[best], statistics[best], scores[best], _left_out(scores))


def _left_out(scores: Floats) -> Floats:
    """Return each image's score at the variant that is best on the others; scores: (n_variants, n_images)."""
    if scores.shape[1] == 1:
        return scores[scores.sum(axis=1).argmax()]
    others = scores.sum(axis=1, keepdims=True) - scores
    return np.take_along_axis(scores, others.argmax(axis=0)[None], axis=0)[0]
