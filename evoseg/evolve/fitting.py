"""Find the fitted numbers of a pipeline: thresholds, exactly where possible.

A fit is a conversation: it asks for planes to be surveyed and variants to be judged, and is told the results. It
never runs anything itself, so the caller may ask for many fits at once and spread the work as it likes.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from evoseg.evolve.jobs import Measure, Part, Request
from evoseg.evolve.ports import Floats, Scored, Task, TurnedAway
from evoseg.operators import registry
from evoseg.operators.parameters import Value
from evoseg.pipeline import Pipeline, Step

POLARITIES = ("bright", "dark")
PARTS = 6
"""Levels that do well by the sweep are looked at in so many strides."""
MOST_STRIDES = 2
FINALISTS = 2
"""Levels that are compared on all images, after more of them were on a few."""
ROUNDS = 2
"""Rounds of coordinate ascent over several thresholds."""

Conversation = Generator[list[Request], list[Floats], Scored | TurnedAway]
Measuring = Generator[list[Request], list[Floats], list[Floats]]


@dataclass(frozen=True)
class Effort:
    """How much a candidate must score to deserve more work.

    Attributes
    ----------
    floor : float
        A candidate that stays below this on the few images is turned away.
    climb : float
        Levels are moved to where they are best only for one that reaches this on the few images.
    compare : float
        The two best levels are compared on all images only for one that reaches this on all.
    """

    floor: float = -np.inf
    climb: float = -np.inf
    compare: float = -np.inf


EVERYTHING = Effort()
"""Spare no effort."""


def fit(pipeline: Pipeline, task: Task, *, few_are_all: bool, effort: Effort = EVERYTHING) -> Conversation:
    """Yield what is to be measured, receive a result for each, and return the fitted candidate.

    Numbers are fitted on a few images first. A candidate that is not worth more ends there; else the exact best
    level, or the best of those few, is found on all.

    Parameters
    ----------
    few_are_all : bool
        True if there are no further images.
    effort : Effort

    Returns
    -------
    Scored, with the few images first in every array, or TurnedAway
    """
    places = [i for i, s in enumerate(pipeline.steps) if registry.get(s.operator).fitted]
    surveys: list[Floats] = []
    if places:
        surveys = yield [Request(pipeline.until(i), Measure.SURVEY, Part.FEW) for i in places]
    sweeps = [task.sweep(survey) for survey in surveys]
    if places == [len(pipeline) - 1] and sweeps[0][1] is not None:
        expected = float(sweeps[0][0].mean(axis=2).max())
        if expected < effort.floor:
            return TurnedAway(pipeline, expected)
        (survey,) = yield from _on_all([Request(pipeline, Measure.SURVEY, Part.FEW)], surveys, few_are_all)
        return _from_sweep(pipeline, task.sweep(survey), task)
    ranks = [scores.mean(axis=2) for scores, _ in sweeps]
    variants, found = yield from _Ascent(pipeline, places, ranks, task, effort).climb()
    expected = float(task.score(found[0]).mean())
    if expected < effort.floor:
        return TurnedAway(pipeline, expected)
    requests = [Request(v, Measure.JUDGE, Part.FEW) for v in variants]
    on_all = yield from _on_all(requests[:1], found[:1], few_are_all)
    if float(task.score(on_all[0]).mean()) >= effort.compare:
        on_all += yield from _on_all(requests[1:], found[1:], few_are_all)
    return _scored_among(variants[: len(on_all)], np.stack(on_all), task)


def _on_all(requests: list[Request], few: list[Floats], few_are_all: bool) -> Measuring:
    """Complete what is known of the few images by the rest."""
    if few_are_all or not requests:
        return few
    rest = yield [replace(request, part=Part.REST) for request in requests]
    return [np.concatenate(pair) for pair in zip(few, rest, strict=True)]


class _Ascent:
    """Coordinate ascent over the thresholds of a program whose later steps hide the best levels from a sweep."""

    def __init__(self, pipeline: Pipeline, places: list[int], ranks: list[Floats], task: Task, effort: Effort) -> None:
        self._pipeline = pipeline
        self._places = places
        self._task = task
        self._effort = effort
        # Canonical order may move steps, so variants are always made from this one value, with levels by place.
        self._chosen = [_present(pipeline.steps[i]) for i in places]
        self._guesses = [int(rank.argmax()) for rank in ranks]
        self._strides = [_stride(rank) for rank in ranks]
        self._tried: dict[tuple[int, ...], tuple[Pipeline, Floats]] = {}
        self._means: dict[tuple[int, ...], float] = {}

    def climb(self) -> Generator[list[Request], list[Floats], tuple[list[Pipeline], list[Floats]]]:
        """Return the best few variants, best first, and their statistics on the few images.

        It starts from the levels at hand, which a parent's fit has left, or, where these are no good, from those
        that look best without the later steps.
        """
        openings = [tuple(self._chosen), tuple(self._guesses)]
        # A later step may take the mask away or invert it. A level that no fit has set yet may lie on either side.
        for k, step in enumerate(self._pipeline.steps[i] for i in self._places):
            if step.params == tuple(p.default for p in registry.get(step.operator).parameters):
                openings += [(*o[:k], (o[k] + 256) % 512, *o[k + 1 :]) for o in openings[1:]]
        yield from self._judge(openings[:1])
        promising = max(self._means.values()) >= self._effort.climb > -np.inf
        if not promising or len(openings) > 2:
            yield from self._judge(openings[1:])
        for _ in range(ROUNDS if len(self._places) > 1 else 1):
            for k, stride in enumerate(self._strides):
                yield from self._along(k, stride)
        best = sorted(self._means, key=lambda point: -self._means[point])[:FINALISTS]
        return [self._tried[point][0] for point in best], [self._tried[point][1] for point in best]

    def _along(self, k: int, stride: int) -> Generator[list[Request], list[Floats], None]:
        """Move one level to where it is best, by strides while that helps."""
        for _ in range(MOST_STRIDES):
            here = self._chosen[k]
            if max(self._means.values()) < self._effort.climb:
                return
            yield from self._try(k, (-stride, stride))
            if self._chosen[k] == here:
                break

    def _try(self, k: int, offsets: tuple[int, ...]) -> Generator[list[Request], list[Floats], None]:
        """Judge the levels at some offsets from the present one, and move to the best of all."""
        polarity, level = divmod(self._chosen[k], 256)
        points = [
            (*self._chosen[:k], polarity * 256 + level + offset, *self._chosen[k + 1 :])
            for offset in offsets
            if 0 <= level + offset <= 255
        ]
        yield from self._judge(points)

    def _judge(self, points: list[tuple[int, ...]]) -> Generator[list[Request], list[Floats], None]:
        fresh = {point: self._at(point) for point in points if point not in self._tried}
        if fresh:
            statistics = yield [Request(variant, Measure.JUDGE, Part.FEW) for variant in fresh.values()]
            for (point, variant), found in zip(fresh.items(), statistics, strict=True):
                self._tried[point] = (variant, found)
                self._means[point] = float(self._task.score(found).mean())
        self._chosen = list(max(self._means.items(), key=lambda item: item[1])[0])

    def _at(self, point: tuple[int, ...]) -> Pipeline:
        steps = [_at(self._pipeline.steps[i], *divmod(at, 256)) for i, at in zip(self._places, point, strict=True)]
        return _with(self._pipeline, self._places, steps)


def _present(step: Step) -> int:
    values = registry.get(step.operator).named(step.params)
    return POLARITIES.index(str(values["polarity"])) * 256 + int(str(values["level"]))


def _stride(rank: Floats) -> int:
    """Return how far levels must lie apart for answers to differ: a part of the run of levels that do well."""
    line = rank[int(rank.max(axis=1).argmax())]
    return max(1, int((line >= 0.7 * line.max()).sum()) // PARTS)


def _at(step: Step, polarity: int, level: int) -> Step:
    values: dict[str, Value] = {"level": level, "polarity": POLARITIES[polarity]}
    parameters = registry.get(step.operator).parameters
    return replace(step, params=tuple(values.get(p.name, v) for p, v in zip(parameters, step.params, strict=True)))


def _with(pipeline: Pipeline, places: list[int], steps: list[Step]) -> Pipeline:
    changed = list(pipeline.steps)
    for i, s in zip(places, steps, strict=True):
        changed[i] = s
    return Pipeline(changed)


def _from_sweep(pipeline: Pipeline, sweep: tuple[Floats, Floats | None], task: Task) -> Scored:
    scores, statistics = sweep
    assert statistics is not None
    flat = scores.reshape(-1, scores.shape[2])
    best = int(_middles_of_best(scores.mean(axis=2, keepdims=True))[0])
    step = _at(pipeline.steps[-1], *divmod(best, 256))
    found = statistics.reshape(len(flat), *statistics.shape[2:])[best]
    left_out = flat[best]
    if len(left_out) > 1:
        others = (scores.sum(axis=2, keepdims=True) - scores) / (len(left_out) - 1)
        left_out = np.take_along_axis(flat, _middles_of_best(others)[None], axis=0)[0]
    return Scored(_with(pipeline, [len(pipeline) - 1], [step]), found, flat[best], left_out)


def _middles_of_best(ranks: Floats) -> NDArray[np.intp]:
    """Return, per column of ranks (2, 256, n), the middle of the run of equally good levels around the first best.

    The flat index it returns is polarity * 256 + level.
    """
    # Rounded, since a mean over the others is a difference whose last digits would decide between equals.
    flat = ranks.reshape(512, -1).round(12)
    first = flat.argmax(axis=0)
    places = np.arange(512)[:, None]
    beyond = (places > first) & ((flat != flat.max(axis=0)) | (places == 256))
    end = np.where(beyond.any(axis=0), beyond.argmax(axis=0), 512)
    return np.asarray((first + end - 1) // 2, np.intp)


def _scored_among(variants: list[Pipeline], statistics: Floats, task: Task) -> Scored:
    """Return the best of the variants; statistics have shape (n_variants, n_images, s)."""
    scores = task.score(statistics)
    best = int(scores.mean(axis=1).argmax())
    return Scored(variants[best], statistics[best], scores[best], _left_out(scores))


def _left_out(scores: Floats) -> Floats:
    """Return each image's score at the variant that is best on the others; scores: (n_variants, n_images)."""
    if scores.shape[1] == 1:
        return cast(Floats, scores[scores.sum(axis=1).argmax()])
    others = scores.sum(axis=1, keepdims=True) - scores
    return cast(Floats, np.take_along_axis(scores, others.argmax(axis=0)[None], axis=0)[0])
