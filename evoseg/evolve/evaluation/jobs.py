"""Jobs and their outcomes: the interface between the search and whatever computes.

Whatever runs jobs, in this process, in worker processes or on a cluster, is an `Executor`.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from errno import ENOMEM
from traceback import format_exc
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.evolve.ports import Failed, Floats, Item, Task, inputs_of, judge_outputs
from evoseg.operators import registry
from evoseg.operators.network import add_network
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import NETWORK
from evoseg.sandbox.operators import AdmittedCode, add_code


class Part(StrEnum):
    """A part of the images: a few to begin with, the rest for good candidates, or all."""

    FEW = "few"
    REST = "rest"
    ALL = "all"


class Measure(StrEnum):
    """What to measure of a program: statistics of its result, or values of planes that numbers are fitted to.

    A histogram is of the planes that go into the last step, whose numbers are fitted; samples are of the plane that
    the program returns.
    """

    JUDGE = "judge"
    HISTOGRAM = "histogram"
    SAMPLE = "sample"


@dataclass(frozen=True)
class Request:
    """What to measure of a program.

    Attributes
    ----------
    program : Pipeline
    measure : Measure
    part : Part
        The images to measure it on.
    """

    program: Pipeline
    measure: Measure = Measure.JUDGE
    part: Part = Part.ALL


@dataclass(frozen=True)
class Job:
    """Requests to answer on some of the images.

    Attributes
    ----------
    requests : tuple of Request
    images : tuple of int
        Places in the list of items that the executor was made with.
    limit_s : float
        CPU time after which the job counts as stuck.
    worker : int
        Who had best run it, since it has at hand what the requests build on.
    codes : tuple of AdmittedCode
        The Python operators in the requests.
    """

    requests: tuple[Request, ...]
    images: tuple[int, ...]
    limit_s: float
    worker: int = 0
    codes: tuple[AdmittedCode, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """Per request of a job, an array of shape (n_images, ...) of statistics or surveys, or how it failed."""

    results: tuple[Floats | Failed, ...]


class Executor(Protocol):
    """Runs jobs and returns their outcomes in the same order. Its scheduler knows how many workers there are."""

    scheduler: "Scheduler"

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run all jobs and return their outcomes; a job that cannot be run fails as data."""
        ...

    def close(self) -> None:
        """Release all resources; idempotent."""
        ...


NO_MEMORY = -4
"""The code of OpenCV's error for it, cv::Error::StsNoMem."""
JUDGED_NS = 2.0
"""About what judging or a histogram takes, ns per pixel."""
Key = tuple[bytes, int, int]
"""Digest of a sub-program, image, and which of the image's inputs."""
GIVEN = "value:"
"""Arrays of an item whose names begin so are values of sub-programs on it, whose digests follow.

So a search sees, of networks that it has trained, the planes of those that did not train on an image; and no network
runs twice on a new one."""
NETWORK_FILE = "network:"
"""Arrays whose names begin so, in an item that is no image, are the files of networks that programs may use."""


def given_planes(item: Item) -> dict[str, NDArray[Any]]:
    """Return the planes that an item comes with, by the digests of the programs that would give them."""
    return {name.removeprefix(GIVEN): plane for name, plane in item.items() if name.startswith(GIVEN)}


V = TypeVar("V")


class ValueCache(Generic[V]):
    """Values of sub-programs by digest and image, within a budget of bytes; the least recently used ones go first."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held = 0
        self._values: OrderedDict[Key, tuple[V, int]] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def get(self, key: Key) -> V | None:
        """Return the value, or None."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][0]

    def clear(self) -> None:
        """Forget all values."""
        self._values.clear()
        self._held = 0

    def put(self, key: Key, value: V, nbytes: int) -> None:
        """Keep the value, unless it alone exceeds the budget, and drop the oldest ones beyond the budget."""
        if nbytes > self._budget:
            return
        if key in self._values:
            self._held -= self._values.pop(key)[1]
        while self._held + nbytes > self._budget:
            self._held -= self._values.popitem(last=False)[1][1]
        self._values[key] = value, nbytes
        self._held += nbytes


Needed = list[tuple[bytes, float]]
"""Digests of the steps that a request needs, and what each costs by the model, in ns per pixel."""


class Scheduler:
    """Assigns requests to workers: each gets requests that build on values in its cache, and all get about equal work.

    It knows what workers compute only from what it assigns them. Their caches change how long they take, never what
    they return.

    Parameters
    ----------
    n_workers : int
    cache_bytes : int
        For values, of each worker.
    """

    def __init__(self, n_workers: int, cache_bytes: int = 0) -> None:
        self.n_workers = n_workers
        self._held = [ValueCache[int](cache_bytes) for _ in range(n_workers)]

    def assign(self, requests: Sequence[Request], shards: Sequence[Mapping[int, int]]) -> list[list[Request]]:
        """Assign requests to teams of as many workers as there are shards of the images.

        Parameters
        ----------
        shards : sequence of (mapping of int to int)
            Images of each shard with their pixels. The k-th worker of a team sees the k-th shard.

        Returns
        -------
        list of list of Request
            A batch for each team; the first team's workers are the first ones.
        """
        teams = [range(first, first + len(shards)) for first in range(0, self.n_workers - len(shards) + 1, len(shards))]
        batches: list[list[Request]] = [[] for _ in teams]
        if len(teams) == 1:
            return [list(requests)]
        work = [0.0] * len(teams)
        for request in sorted(requests, key=lambda r: -r.program.filter_cost):  # small ones last, to fill up with
            needed, kept = _steps_to_run(request)
            after = [
                work[t] + sum(self._missing(needed, w, shard) for w, shard in zip(team, shards, strict=True))
                for t, team in enumerate(teams)
            ]
            best = after.index(min(after))
            work[best] = after[best]
            batches[best].append(request)
            for w, shard in zip(teams[best], shards, strict=True):
                self._note(needed[:kept], w, shard)
        return batches

    def _missing(self, needed: Needed, worker: int, shard: Mapping[int, int]) -> float:
        """Return the modelled cost of what a worker has to compute."""
        held, ends = self._held[worker], _ends(shard)
        ns = sum(cost for digest, cost in needed if not all((digest, image, 0) in held for image in ends))
        return (JUDGED_NS + ns) * sum(shard.values())

    def _note(self, values: Needed, worker: int, shard: Mapping[int, int]) -> None:
        """Record which values a worker will have in its cache."""
        held = self._held[worker]
        for digest, _ in values:
            there = [held.get((digest, image, 0)) for image in _ends(shard)]
            if None in there:
                for image, pixels in shard.items():
                    held.put((digest, image, 0), pixels, pixels)  # a plane takes a byte per pixel


def _steps_to_run(request: Request) -> tuple[Needed, int]:
    """Return what a request needs, in order, and of how many steps the values are kept.

    An answer is needed once, so it does not take the place of a value that will be used again; a survey is of what goes
    into the last step.
    """
    program = request.program
    # Planes of networks are given.
    costs = [0.0 if s.operator == NETWORK else registry.get(s.operator).cost(s.params) for s in program.steps]
    needed = list(zip(program.digests, costs, strict=True))
    if request.measure is Measure.HISTOGRAM:
        needed.pop()
    return needed, len(needed) - (request.measure is Measure.JUDGE)


def _ends(shard: Mapping[int, int]) -> tuple[int, int]:
    """Return the first and the last image, which stand for all: whatever is computed is computed on a whole part."""
    return next(iter(shard)), next(reversed(shard))


class InProcess:
    """Runs jobs in this process: used inside a worker, and for debugging with `--workers 0`."""

    def __init__(self, task: Task, items: Sequence[Item], cache_bytes: int) -> None:
        cv2.setNumThreads(1)
        self.scheduler = Scheduler(1)
        self._task = task
        self._items = items
        self._given = [{bytes.fromhex(name): plane for name, plane in given_planes(item).items()} for item in items]
        for name, data in ((name, data) for item in items for name, data in item.items()):
            if name.startswith(NETWORK_FILE):
                add_network(data.tobytes())
        self._cache = ValueCache[NDArray[Any]](cache_bytes)
        self._prepared: dict[int, tuple[tuple[NDArray[Any], ...], Any]] = {}

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run the jobs one after the other; no limit holds here."""
        return [self._run(job) for job in jobs]

    def close(self) -> None:
        """Do nothing."""

    def _run(self, job: Job) -> Outcome:
        for admitted in job.codes:
            add_code(admitted)
        parts: list[list[Floats]] = [[] for _ in job.requests]
        failures: dict[int, Failed] = {}
        # Image by image, so that what the programs share on an image is at hand while they need it.
        for image in job.images:
            for i, request in enumerate(job.requests):
                if i in failures:
                    continue
                try:
                    parts[i].append(self._measure_or_retry(request, image))
                except Exception as error:  # the one place that catches broadly: a bad candidate is data
                    reason = f"{type(error).__name__}: {error}"[:500]
                    failures[i] = Failed(request.program, reason, format_exc()[-4000:], out_of_memory(error))
        stacked = (failures.get(i) or _stack(job.requests[i].program, part) for i, part in enumerate(parts))
        return Outcome(tuple(stacked))

    def _measure_or_retry(self, request: Request, image: int) -> Floats:
        """Measure, and once more with an empty cache if memory runs out."""
        try:
            return self._measure(request, image)
        except Exception as error:
            if not out_of_memory(error):
                raise
        self._cache.clear()
        return self._measure(request, image)

    def _measure(self, request: Request, image: int) -> Floats:
        inputs, target = self._prepare(image)
        program = request.program
        step = program.steps[-1]
        if request.measure is Measure.SAMPLE:
            plane = self._value(program, len(program) - 1, (image, 0), {IMAGE: inputs[0]})
            return self._task.sample_pixels(plane, target)
        arrays = []
        for k, raw in enumerate(inputs):
            values = {IMAGE: raw}
            arrays.append(tuple(self._value(program, j, (image, k), values) for j in step.inputs))
        if request.measure is Measure.HISTOGRAM:
            found: Floats = np.sum([self._task.histogram(planes, target) for planes in arrays], axis=0)
            return found
        # An answer is needed once, so it does not take the place of a value that will be used again.
        operator = registry.get(step.operator)
        return judge_outputs(self._task, tuple(operator.run(given, step.params) for given in arrays), target)

    def _prepare(self, image: int) -> tuple[tuple[NDArray[Any], ...], Any]:
        if image not in self._prepared:
            item = self._items[image]
            self._prepared[image] = (inputs_of(self._task, item), self._task.target(item))
        return self._prepared[image]

    def _value(
        self, program: Pipeline, index: int, place: tuple[int, int], values: dict[int, NDArray[Any]]
    ) -> NDArray[Any]:
        """Return the value of a step; `values` are those that this program has needed on this input so far."""
        if index in values:
            return values[index]
        given = self._given[place[0]].get(program.digests[index])
        if given is not None:
            return given
        key = (program.digests[index], *place)
        value = self._cache.get(key)
        if value is None:
            step = program.steps[index]
            arrays = tuple(self._value(program, j, place, values) for j in step.inputs)
            value = registry.get(step.operator).run(arrays, step.params)
            self._cache.put(key, value, value.nbytes)
        # Also held here: without room in the cache, a chain of x + x would double the work at every step.
        values[index] = value
        return value


def out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory could not be had, as NumPy, OpenCV and the system say it."""
    if isinstance(error, cv2.error):
        return getattr(error, "code", None) == NO_MEMORY or "bad_alloc" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == ENOMEM)


def _stack(program: Pipeline, parts: Sequence[Floats]) -> Floats | Failed:
    """Return the statistics of all images, unless a task of the user's own gives them unlike shapes."""
    try:
        return np.stack(parts)
    except ValueError:
        shapes = sorted({str(np.shape(part)) for part in parts})
        return Failed(program, f"the task's statistics have different shapes: {' and '.join(shapes)}")
