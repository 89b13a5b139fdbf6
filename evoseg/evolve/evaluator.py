"""Score candidates: fits of many programs at once, spread over images and workers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from evoseg.evolve.fitting import Conversation, fit
from evoseg.evolve.jobs import Executor, Job, Request
from evoseg.evolve.ports import Failed, Floats, Task, Verdict
from evoseg.pipeline import Pipeline

LEAST_LIMIT_S = 5.0
LIMIT_RATIO = 20
"""A job may take this many times its modelled cost."""

JOB_S = 0.5
"""Modelled duration above which the programs of a request are spread over several jobs."""


class Evaluator:
    """Turns candidates into verdicts.

    Parameters
    ----------
    task : Task
    executor : Executor
    pixels : mapping of int to int
        The images to use, as places in the executor's items, and their sizes.
    """

    def __init__(self, task: Task, executor: Executor, pixels: Mapping[int, int]) -> None:
        self._task = task
        self._executor = executor
        self._pixels = pixels
        self._shards = _shards(pixels, executor.n_workers)

    def judge(
        self, programs: Sequence[Pipeline], out_of_time: Callable[[], bool] = lambda: False
    ) -> list[Floats | Failed | None]:
        """Return the statistics of programs as they are, nothing refitted, on every image; None if time ran out."""
        requests = [Request(p) for p in programs]
        answers = self._measure(requests, out_of_time)
        return [answers.get(request) for request in requests]

    def evaluate(
        self,
        candidates: Sequence[Pipeline],
        out_of_time: Callable[[], bool] = lambda: False,
        floor: float = float("-inf"),
    ) -> list[Verdict | None]:
        """Fit and score candidates on every image.

        Parameters
        ----------
        candidates : sequence of Pipeline
        out_of_time : callable
            Asked between jobs; once it says True, no further one is begun.
        floor : float
            Candidates below this score are scored, but their thresholds are not searched further.

        Returns
        -------
        list of Scored, Failed, or None for candidates that time ran out on
        """
        talks: dict[int, Conversation] = {i: fit(c, self._task, floor) for i, c in enumerate(candidates)}
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
                        verdicts[i] = stop.value
                        del asked[i]
        return verdicts

    def _measure(self, requests: list[Request], out_of_time: Callable[[], bool]) -> dict[Request, Floats | Failed]:
        """Answer each distinct request on every image; an entry is missing where time ran out."""
        answers: dict[Request, Floats | Failed] = {}
        for chunk in self._chunks(list(dict.fromkeys(requests))):
            if out_of_time():
                break
            outcomes = self._executor.run([self._job(chunk, images) for images in self._shards])
            for i, request in enumerate(chunk):
                parts = [outcome.results[i] for outcome in outcomes]
                failed = next((part for part in parts if isinstance(part, Failed)), None)
                answers[request] = failed or np.concatenate([p for p in parts if not isinstance(p, Failed)])
        return answers

    def _chunks(self, requests: list[Request]) -> list[list[Request]]:
        """Cut the requests into runs of about `JOB_S`, so that time and limits are looked at between them."""
        chunks: list[list[Request]] = [[]]
        seconds = 0.0
        total = sum(self._pixels.values())
        for request in requests:
            cost = request.program.cost * total * 1e-9
            if chunks[-1] and seconds + cost > JOB_S * len(self._shards):
                chunks.append([])
                seconds = 0.0
            chunks[-1].append(request)
            seconds += cost
        return chunks

    def _job(self, requests: list[Request], images: tuple[int, ...]) -> Job:
        pixels = sum(self._pixels[i] for i in images)
        modelled_s = sum(r.program.cost for r in requests) * pixels * 1e-9
        return Job(tuple(requests), images, max(LEAST_LIMIT_S, LIMIT_RATIO * modelled_s))


def _shards(pixels: Mapping[int, int], n: int) -> list[tuple[int, ...]]:
    """Share the images among n workers, in order, with about equal pixels each and none empty."""
    n = min(n, len(pixels))
    ends = np.cumsum(list(pixels.values()))
    groups: list[list[int]] = [[] for _ in range(n)]
    for (image, size), end in zip(pixels.items(), ends, strict=True):
        groups[min(n - 1, int((end - size / 2) * n / ends[-1]))].append(image)
    return [tuple(group) for group in groups if group]
