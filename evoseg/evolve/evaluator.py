"""Score candidates: fits of many programs at once, spread over images and workers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product, zip_longest
from typing import Protocol

import numpy as np

from evoseg.base.errors import EvosegError
from evoseg.evolve.fitting import EVERYTHING, Conversation, Effort, fit
from evoseg.evolve.jobs import Executor, Job, Measure, Part, Request
from evoseg.evolve.ports import Failed, Floats, Scored, Task, Verdict
from evoseg.pipeline import Pipeline

HANG_LIMIT_S = 20.0
"""CPU time that a job may take at least; nothing but a hang takes longer."""
LIMIT_RATIO = 20
"""A job may take this many times its modelled cost in CPU time."""

FEW = 3
"""Least number of images that candidates are looked at on first; a quarter if that is more."""

JOB_S = 0.5
"""Modelled duration above which a worker's programs are spread over several jobs."""


class AnyEvaluator(Protocol):
    """What a search asks; see `Evaluator`, which others may wrap."""

    few: list[int]

    def judge(
        self, programs: Sequence[Pipeline], out_of_time: Callable[[], bool] = ...
    ) -> list[Floats | Failed | None]:
        """Return the statistics of programs as they are."""
        ...

    def prove(self, programs: Sequence[Pipeline]) -> list[Floats | Failed]:
        """Return the statistics of finished programs, on images that nothing was fitted to."""
        ...

    def probe(
        self, programs: Sequence[Pipeline], out_of_time: Callable[[], bool] = ...
    ) -> list[Floats | Failed | None]:
        """Return what the task samples of the planes that programs return."""
        ...

    def evaluate(
        self, candidates: Sequence[Pipeline], out_of_time: Callable[[], bool] = ..., effort: Effort = ...
    ) -> list[Verdict | None]:
        """Fit and score candidates."""
        ...


class Evaluator:
    """Turns candidates into verdicts.

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
        self, task: Task, executor: Executor, pixels: Mapping[int, int], least_limit_s: float = HANG_LIMIT_S
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

    def judge(
        self, programs: Sequence[Pipeline], out_of_time: Callable[[], bool] = lambda: False
    ) -> list[Floats | Failed | None]:
        """Return the statistics of programs as they are, nothing refitted, on every image; None if time ran out."""
        requests = [Request(p) for p in programs]
        answers = self._measure(requests, out_of_time)
        return [answers.get(request) for request in requests]

    def prove(self, programs: Sequence[Pipeline]) -> list[Floats | Failed]:
        """Return the statistics of finished programs, on images that nothing was fitted to.

        A program that fails is tried again on one image after the other, with nothing else under way. If it fails on
        some of them only, `Failed.parts` says what came of each. A search has got its result by now, so it does not end
        in an error if no process can be had any more: then all programs have failed.
        """
        try:
            answers = zip(programs, self.judge(programs), strict=True)
            return [self._image_by_image(p) if isinstance(a, Failed) else a for p, a in answers if a is not None]
        except EvosegError as error:
            return [Failed(program, str(error), transient=True) for program in programs]

    def _image_by_image(self, program: Pipeline) -> Floats | Failed:
        parts = []
        for i, pixels in self._pixels.items():
            parts += Evaluator(self._task, self._executor, {i: pixels}).judge([program])
        failures = [part for part in parts if isinstance(part, Failed)]
        found = tuple(part for part in parts if part is not None)
        if failures:
            return replace(failures[0], parts=found, transient=any(failure.transient for failure in failures))
        return np.concatenate([part for part in found if isinstance(part, np.ndarray)])

    def probe(
        self, programs: Sequence[Pipeline], out_of_time: Callable[[], bool] = lambda: False
    ) -> list[Floats | Failed | None]:
        """Return what the task samples of the planes that programs return, on every image; None if time ran out."""
        requests = [Request(p, Measure.PROBE) for p in programs]
        answers = self._measure(requests, out_of_time)
        return [answers.get(request) for request in requests]

    def evaluate(
        self,
        candidates: Sequence[Pipeline],
        out_of_time: Callable[[], bool] = lambda: False,
        effort: Effort = EVERYTHING,
    ) -> list[Verdict | None]:
        """Fit and score candidates: on a few images, and on every image those that deserve it.

        Parameters
        ----------
        candidates : sequence of Pipeline
        out_of_time : callable
            Asked between jobs; once it says True, no further one is begun.
        effort : Effort
            What they must score to deserve more work.

        Returns
        -------
        list of Scored, Failed, TurnedAway, or None for candidates that time ran out on
        """
        few_are_all = len(self.few) == len(self._pixels)
        talks: dict[int, Conversation] = {
            i: fit(c, self._task, few_are_all=few_are_all, effort=effort) for i, c in enumerate(candidates)
        }
        verdicts: list[Verdict | None] = [None] * len(candidates)
        asked = {i: next(talk) for i, talk in talks.items()}
        while asked and not out_of_time():
            answers = self._measure([r for requests in asked.values() for r in requests], out_of_time)
            for i, requests in list(asked.items()):
                results = [answers.get(request) for request in requests]
                failed = next((r for r in results if isinstance(r, Failed)), None)
                if failed is not None:
                    verdicts[i] = replace(failed, pipeline=candidates[i])
                    del asked[i]
                elif any(r is None for r in results):
                    del asked[i]
                else:
                    try:
                        asked[i] = talks[i].send([r for r in results if isinstance(r, np.ndarray)])
                    except StopIteration as stop:
                        verdicts[i] = self._ordered(stop.value)
                        del asked[i]
        return verdicts

    def _ordered(self, verdict: Verdict) -> Verdict:
        """Put the images of a verdict, the few of which came first, in their own order."""
        if not isinstance(verdict, Scored):
            return verdict
        order = self._in_order
        return replace(
            verdict,
            statistics=verdict.statistics[order],
            scores=verdict.scores[order],
            left_out=verdict.left_out[order],
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
            dealer = self._executor.dealer
            shards = self._share(images, -(-dealer.n_workers // len(asked)))
            hands = dealer.deal(asked, [{i: self._pixels[i] for i in shard} for shard in shards])
            pixels = max(map(self._size, shards))
            for chunks in zip_longest(*(self._chunks(hand, pixels) for hand in hands), fillvalue=()):
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
        """Cut the requests into runs of about `JOB_S`, so that time and limits are looked at between them."""
        chunks: list[list[Request]] = []
        seconds = 0.0
        for request in requests:
            cost = request.program.cost * pixels * 1e-9
            if not chunks or seconds + cost > JOB_S:
                chunks.append([])
                seconds = 0.0
            chunks[-1].append(request)
            seconds += cost
        return chunks

    def _job(self, requests: Sequence[Request], images: tuple[int, ...], worker: int) -> Job:
        modelled_s = sum(r.program.cost for r in requests) * self._size(images) * 1e-9
        return Job(tuple(requests), images, max(self._least_limit_s, LIMIT_RATIO * modelled_s), worker)

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
    """Return at most so many of the numbers 0 to n - 1, evenly spaced."""
    k = min(n, most)
    return [i * n // k for i in range(k)]
