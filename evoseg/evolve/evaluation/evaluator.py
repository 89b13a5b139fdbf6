"""Evaluate candidates: fit many programs at once, spread over images and workers.

Thresholds are fitted, exactly where possible. A fit is a generator: it yields requests for histograms of planes and for
judging variants, and receives the results. It runs nothing itself, so many fits run at once and share the workers.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product, zip_longest
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import EvosegError
from evoseg.evolve.evaluation.jobs import Executor, Job, Measure, Part, Request
from evoseg.evolve.ports import Evaluation, Failed, Floats, Pruned, Scored, Task
from evoseg.operators import registry
from evoseg.operators.parameters import Value
from evoseg.pipeline import Pipeline, Step
from evoseg.sandbox.operators import admitted_code

POLARITIES = ("bright", "dark")
PARTS = 6
"""Steps in which the range of good levels is searched."""
MOST_STRIDES = 2
FINALISTS = 2
"""Levels that are compared on all images, after more of them were on a few."""
ROUNDS = 2
"""Rounds of coordinate ascent over several thresholds."""

Conversation = Generator[list[Request], list[Floats], Scored | Pruned]
Measuring = Generator[list[Request], list[Floats], list[Floats]]

HANG_LIMIT_S = 20.0
"""Least CPU limit of a job, s; only a hang takes longer."""
LIMIT_RATIO = 20
"""A job may take this many times its modelled cost in CPU time."""

FEW = 3
"""Least number of images that candidates are looked at on first; a quarter if that is more."""

JOB_S = 0.5
"""Modelled duration above which a worker's programs are spread over several jobs."""
GROUP_S = 0.5
"""Modelled duration, once over the images and for each worker, above which candidates are split into groups."""
NO_SCORE = "the task's score is not a finite number"
"""Why a candidate has failed whose statistics a task of the user's own turns into NaN, such as 0 / 0."""


@dataclass(frozen=True)
class Effort:
    """The scores that a candidate must reach to deserve more work.

    Attributes
    ----------
    floor : float
        A candidate below this on the few images is pruned.
    climb : float
        Levels are moved to where they are best only for one that reaches this on the few images.
    compare : float
        The two best levels are compared on all images only for one that reaches this on all.
    """

    floor: float = -np.inf
    climb: float = -np.inf
    compare: float = -np.inf


EVERYTHING = Effort()
"""All candidates get all the work."""


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
    Scored, with the few images first in every array, or Pruned
    """
    places = [i for i, s in enumerate(pipeline.steps) if registry.get(s.operator).fitted]
    surveys: list[Floats] = []
    if places:
        surveys = yield [Request(pipeline.until(i), Measure.HISTOGRAM, Part.FEW) for i in places]
    sweeps = [task.score_thresholds(survey) for survey in surveys]
    if places == [len(pipeline) - 1] and sweeps[0][1] is not None:
        expected = float(sweeps[0][0].mean(axis=2).max())
        if expected < effort.floor:
            return Pruned(pipeline, expected)
        (survey,) = yield from _on_all([Request(pipeline, Measure.HISTOGRAM, Part.FEW)], surveys, few_are_all)
        return _from_sweep(pipeline, task.score_thresholds(survey))
    ranks = [scores.mean(axis=2) for scores, _ in sweeps]
    variants, found = yield from _Ascent(pipeline, places, ranks, task, effort).climb()
    expected = float(task.score(found[0]).mean())
    if expected < effort.floor:
        return Pruned(pipeline, expected)
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
    """Coordinate ascent over thresholds, for programs whose later steps decide which levels are best."""

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


def _from_sweep(pipeline: Pipeline, sweep: tuple[Floats, Floats | None]) -> Scored:
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


class Evaluator(Protocol):
    """Judges programs on a set of images.

    Attributes
    ----------
    few : list of int
        The images that candidates are looked at on first, by position.
    """

    few: list[int]

    @property
    def n_given_up(self) -> int:
        """Requests so far that failed for a limit, a lack of memory or the death of their process."""
        ...

    def judge(
        self, programs: Sequence[Pipeline], out_of_time: Callable[[], bool] = ...
    ) -> list[Floats | Failed | None]:
        """Return the statistics of programs as they are, nothing refitted, on every image; None if time ran out."""
        ...

    def judge_finished(self, programs: Sequence[Pipeline]) -> list[Floats | Failed]:
        """Return the statistics of finished programs, on images that nothing was fitted to.

        A program that fails is tried again on one image after the other, with nothing else running. If it fails on only
        some of them, `Failed.parts` has the result for each. The search already has its result, so no error ends it if
        no process can be started any more: all programs have failed then.
        """
        ...

    def sample_pixels(
        self, programs: Sequence[Pipeline], out_of_time: Callable[[], bool] = ...
    ) -> list[Floats | Failed | None]:
        """Return what the task samples of the planes that programs return, on every image; None if time ran out."""
        ...

    def evaluate(
        self, candidates: Sequence[Pipeline], out_of_time: Callable[[], bool] = ..., effort: Effort = ...
    ) -> list[Evaluation | None]:
        """Fit and score candidates: on a few images first, and on all images those that deserve it.

        Parameters
        ----------
        candidates : sequence of Pipeline
        out_of_time : callable
            Called between jobs; once it returns True, no further job is started.
        effort : Effort
            The scores that candidates must reach to deserve more work.

        Returns
        -------
        list of Scored, Failed, Pruned, or None for candidates that time ran out on
        """
        ...


class JobEvaluator:
    """The evaluator that does the work: it splits it into jobs for an executor.

    Parameters
    ----------
    task : Task
    executor : Executor
    pixels : mapping of int to int
        The images to use, as places in the executor's items, and their sizes.
    least_limit_s : float, s
        CPU time that any job may take.
    """

    def __init__(
        self,
        task: Task,
        executor: Executor,
        pixels: Mapping[int, int],
        least_limit_s: float = HANG_LIMIT_S,
    ) -> None:
        self._task = task
        self._executor = executor
        self._pixels = pixels
        self._least_limit_s = least_limit_s
        images = list(pixels)
        n_few = max(FEW, len(images) // 4)
        self.few = evenly_spaced(len(images), n_few)
        rest = [i for i in range(len(images)) if i not in self.few]
        self._in_order = np.argsort([*self.few, *rest])
        self._images = {
            Part.FEW: [images[i] for i in self.few],
            Part.REST: [images[i] for i in rest],
            Part.ALL: images,
        }

    @property
    def n_given_up(self) -> int:
        """As of the executor."""
        return getattr(self._executor, "n_given_up", 0)

    def judge(
        self, programs: Sequence[Pipeline], out_of_time: Callable[[], bool] = lambda: False
    ) -> list[Floats | Failed | None]:
        """See `Evaluator.judge`."""
        requests = [Request(p) for p in programs]
        answers = self._measure(requests, out_of_time)
        found: list[Floats | Failed | None] = []
        for program, request in zip(programs, requests, strict=True):
            answer = answers.get(request)
            scored = not isinstance(answer, np.ndarray) or np.isfinite(self._task.score(answer)).all()
            found.append(answer if scored else Failed(program, NO_SCORE))
        return found

    def judge_finished(self, programs: Sequence[Pipeline]) -> list[Floats | Failed]:
        """See `Evaluator.judge_finished`."""
        try:
            answers = zip(programs, self.judge(programs), strict=True)
            return [self._image_by_image(p) if isinstance(a, Failed) else a for p, a in answers if a is not None]
        except EvosegError as error:
            return [Failed(program, str(error), transient=True) for program in programs]

    def _image_by_image(self, program: Pipeline) -> Floats | Failed:
        parts = []
        for i, pixels in self._pixels.items():
            parts += JobEvaluator(self._task, self._executor, {i: pixels}).judge([program])
        failures = [part for part in parts if isinstance(part, Failed)]
        found = tuple(part for part in parts if part is not None)
        if failures:
            return replace(failures[0], parts=found, transient=any(failure.transient for failure in failures))
        return np.concatenate([part for part in found if isinstance(part, np.ndarray)])

    def sample_pixels(
        self, programs: Sequence[Pipeline], out_of_time: Callable[[], bool] = lambda: False
    ) -> list[Floats | Failed | None]:
        """See `Evaluator.sample_pixels`."""
        requests = [Request(p, Measure.SAMPLE) for p in programs]
        answers = self._measure(requests, out_of_time)
        return [answers.get(request) for request in requests]

    def evaluate(
        self,
        candidates: Sequence[Pipeline],
        out_of_time: Callable[[], bool] = lambda: False,
        effort: Effort = EVERYTHING,
    ) -> list[Evaluation | None]:
        """See `Evaluator.evaluate`."""
        found: list[Evaluation | None] = []
        for group in self._groups(candidates):
            found += self._evaluate_group(group, out_of_time, effort)
        return found

    def _groups(self, candidates: Sequence[Pipeline]) -> list[list[Pipeline]]:
        """Cut candidates into groups that take about `GROUP_S`: what is finished when time runs out is not lost."""
        groups: list[list[Pipeline]] = []
        seconds, most = 0.0, GROUP_S * self._executor.scheduler.n_workers
        pixels = sum(self._pixels.values())
        for candidate in candidates:
            if not groups or seconds > most:
                groups.append([])
                seconds = 0.0
            groups[-1].append(candidate)
            seconds += candidate.filter_cost * pixels * 1e-9
        return groups

    def _evaluate_group(
        self, candidates: Sequence[Pipeline], out_of_time: Callable[[], bool], effort: Effort
    ) -> list[Evaluation | None]:
        few_are_all = len(self.few) == len(self._pixels)
        talks: dict[int, Conversation] = {
            i: fit(c, self._task, few_are_all=few_are_all, effort=effort) for i, c in enumerate(candidates)
        }
        evaluations: list[Evaluation | None] = [None] * len(candidates)
        asked = {i: next(talk) for i, talk in talks.items()}
        while asked and not out_of_time():
            answers = self._measure([r for requests in asked.values() for r in requests], out_of_time)
            for i, requests in list(asked.items()):
                results = [answers.get(request) for request in requests]
                failed = next((r for r in results if isinstance(r, Failed)), None)
                if failed is not None:
                    evaluations[i] = replace(failed, pipeline=candidates[i])
                    del asked[i]
                elif any(r is None for r in results):
                    del asked[i]
                else:
                    try:
                        asked[i] = talks[i].send([r for r in results if isinstance(r, np.ndarray)])
                    except StopIteration as stop:
                        found = self._restore_order(stop.value)
                        scored = not isinstance(found, Scored) or np.isfinite(found.scores).all()
                        evaluations[i] = found if scored else Failed(candidates[i], NO_SCORE)
                        del asked[i]
        return evaluations

    def _restore_order(self, evaluation: Evaluation) -> Evaluation:
        """Put the images of an evaluation, the few of which came first, in their own order."""
        if not isinstance(evaluation, Scored):
            return evaluation
        order = self._in_order
        return replace(
            evaluation,
            statistics=evaluation.statistics[order],
            scores=evaluation.scores[order],
            left_out=evaluation.left_out[order],
        )

    def _measure(self, requests: list[Request], out_of_time: Callable[[], bool]) -> dict[Request, Floats | Failed]:
        """Answer each distinct request on its part of the images; an entry is missing where time ran out."""
        answers: dict[Request, Floats | Failed] = {}
        for part, images in self._images.items():
            asked = [request for request in dict.fromkeys(requests) if request.part is part]
            if not asked:
                continue
            # Whole programs keep more workers busy than a few images would; images are shared out where programs
            # are fewer than workers.
            scheduler = self._executor.scheduler
            shards = self._share(images, -(-scheduler.n_workers // len(asked)))
            batches = scheduler.assign(asked, [{i: self._pixels[i] for i in shard} for shard in shards])
            pixels = max(map(self._size, shards))
            for chunks in zip_longest(*(self._chunks(batch, pixels) for batch in batches), fillvalue=()):
                if out_of_time():
                    return answers
                places = enumerate(product(chunks, shards))
                jobs = [self._job(chunk, shard, worker) for worker, (chunk, shard) in places if chunk]
                outcomes = iter(self._executor.run(jobs))
                for chunk in filter(None, chunks):
                    answered = zip(*(outcome.results for outcome in islice(outcomes, len(shards))), strict=True)
                    for request, parts in zip(chunk, answered, strict=True):
                        failed = next((p for p in parts if isinstance(p, Failed)), None)
                        answers[request] = failed or np.concatenate([p for p in parts if not isinstance(p, Failed)])
        return answers

    def _chunks(self, requests: list[Request], pixels: int) -> list[list[Request]]:
        """Cut the requests into runs of about `JOB_S`, between which time and limits are checked."""
        chunks: list[list[Request]] = []
        seconds = 0.0
        for request in requests:
            cost = request.program.filter_cost * pixels * 1e-9
            if not chunks or seconds + cost > JOB_S:
                chunks.append([])
                seconds = 0.0
            chunks[-1].append(request)
            seconds += cost
        return chunks

    def _job(self, requests: Sequence[Request], images: tuple[int, ...], worker: int) -> Job:
        modelled_s = sum(request.program.filter_cost for request in requests) * self._size(images) * 1e-9
        codes = dict.fromkeys(digest for request in requests for digest in request.program.codes)
        limit_s = max(self._least_limit_s, LIMIT_RATIO * modelled_s)
        return Job(tuple(requests), images, limit_s, worker, tuple(admitted_code(digest) for digest in codes))

    def _size(self, images: Sequence[int]) -> int:
        return sum(self._pixels[i] for i in images)

    def _share(self, images: list[int], n: int) -> list[tuple[int, ...]]:
        """Share images out in at most n groups, in order, with about equal pixels each and none empty."""
        n = min(n, len(images))
        ends = np.cumsum([self._pixels[i] for i in images])
        groups: list[list[int]] = [[] for _ in range(n)]
        for image, end in zip(images, ends, strict=True):
            groups[min(n - 1, int((end - self._pixels[image] / 2) * n / ends[-1]))].append(image)
        return [tuple(group) for group in groups if group]


def evenly_spaced(n: int, most: int) -> list[int]:
    """Return at most `most` of the numbers 0 to n - 1, evenly spaced."""
    k = min(n, most)
    return [i * n // k for i in range(k)]
