"""The one seam between the search and whatever computes: jobs out, outcomes back.

Anything that runs jobs, here, in worker processes or on a cluster, is an `Executor`.
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

from evoseg.evolve.ports import Failed, Floats, Item, Task, inputs_of, judged
from evoseg.operators import registry
from evoseg.pipeline import IMAGE, Pipeline


class Part(StrEnum):
    """A share of the images: a few to look at first, the rest for those that deserve it, or all."""

    FEW = "few"
    REST = "rest"
    ALL = "all"


class Measure(StrEnum):
    """What is asked of a program: to judge its result, or to look at planes that something is to be fitted to.

    A survey is of the planes that go into the last step, whose numbers are to be fitted; a probe is of the plane that
    the program returns.
    """

    JUDGE = "judge"
    SURVEY = "survey"
    PROBE = "probe"


@dataclass(frozen=True)
class Request:
    """What is to be measured of a program.

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
    """

    requests: tuple[Request, ...]
    images: tuple[int, ...]
    limit_s: float
    worker: int = 0


@dataclass(frozen=True)
class Outcome:
    """Per request of a job, an array of shape (n_images, ...) of statistics or surveys, or how it failed."""

    results: tuple[Floats | Failed, ...]


class Executor(Protocol):
    """Runs jobs; the order of outcomes is the order of jobs. The dealer says how many workers there are."""

    dealer: "Dealer"

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run all jobs and return their outcomes; a job that cannot be run fails as data."""
        ...

    def close(self) -> None:
        """Give back whatever is held; idempotent."""
        ...


NO_MEMORY = -4
"""The code of OpenCV's error for it, cv::Error::StsNoMem."""
JUDGED_NS = 2.0
"""Per pixel, about what judging or surveying takes."""
Key = tuple[bytes, int, int]
"""Digest of a sub-program, image, and which of the image's inputs."""


class Weighty(Protocol):
    """What takes up memory."""

    @property
    def nbytes(self) -> int:
        """How much."""
        ...


V = TypeVar("V", bound=Weighty)


class ValueCache(Generic[V]):
    """Values of sub-programs by digest and image, least recently used out first, within a budget of bytes."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held = 0
        self._values: OrderedDict[Key, V] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def get(self, key: Key) -> V | None:
        """Return the value, or None."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def clear(self) -> None:
        """Forget all values."""
        self._values.clear()
        self._held = 0

    def put(self, key: Key, value: V) -> None:
        """Keep the value, and drop the oldest ones beyond the budget; one that is too large alone is not kept."""
        if value.nbytes > self._budget:
            return
        if key in self._values:
            self._held -= self._values.pop(key).nbytes
        while self._held + value.nbytes > self._budget:
            self._held -= self._values.popitem(last=False)[1].nbytes
        self._values[key] = value
        self._held += value.nbytes


@dataclass(frozen=True)
class Footprint:
    """What a dealer knows of a value that a worker has computed: about how many bytes it takes."""

    nbytes: int


Needed = list[tuple[bytes, float]]
"""Digests of the steps that a request needs, and what each costs by the model, in ns per pixel."""


class Dealer:
    """Deals requests to workers: each gets what builds on values that it has at hand, and all about equal work.

    It knows what workers compute only by what it deals them. What they hold changes how long they take, never what
    they answer.

    Parameters
    ----------
    n_workers : int
    cache_bytes : int
        For values, of each worker.
    """

    def __init__(self, n_workers: int, cache_bytes: int = 0) -> None:
        self.n_workers = n_workers
        self._held = [ValueCache[Footprint](cache_bytes) for _ in range(n_workers)]

    def deal(self, requests: Sequence[Request], shards: Sequence[Mapping[int, int]]) -> list[list[Request]]:
        """Deal requests to teams of as many workers as there are shards of the images.

        Parameters
        ----------
        shards : sequence of (mapping of int to int)
            Images of each shard with their pixels. The k-th worker of a team sees the k-th shard.

        Returns
        -------
        list of list of Request
            A hand for each team; the first team's workers are the first ones.
        """
        teams = [range(first, first + len(shards)) for first in range(0, self.n_workers - len(shards) + 1, len(shards))]
        hands: list[list[Request]] = [[] for _ in teams]
        if len(teams) == 1:
            return [list(requests)]
        work = [0.0] * len(teams)
        for request in sorted(requests, key=lambda r: -r.program.cost):  # small ones last, to fill up with
            needed, kept = _needed(request)
            after = [
                work[t] + sum(self._missing(needed, w, shard) for w, shard in zip(team, shards, strict=True))
                for t, team in enumerate(teams)
            ]
            best = after.index(min(after))
            work[best] = after[best]
            hands[best].append(request)
            for w, shard in zip(teams[best], shards, strict=True):
                self._note(needed[:kept], w, shard)
        return hands

    def _missing(self, needed: Needed, worker: int, shard: Mapping[int, int]) -> float:
        """Return the modelled cost of what a worker has to compute."""
        held, ends = self._held[worker], _ends(shard)
        ns = sum(cost for digest, cost in needed if not all((digest, image, 0) in held for image in ends))
        return (JUDGED_NS + ns) * sum(shard.values())

    def _note(self, values: Needed, worker: int, shard: Mapping[int, int]) -> None:
        """Keep in mind what a worker will have at hand."""
        held = self._held[worker]
        for digest, _ in values:
            there = [held.get((digest, image, 0)) for image in _ends(shard)]
            if None in there:
                for image, pixels in shard.items():
                    held.put((digest, image, 0), Footprint(pixels))


def _needed(request: Request) -> tuple[Needed, int]:
    """Return what a request needs, in order, and of how many steps the values are kept.

    An answer is needed once, so it does not take the place of a value that will be used again; a survey is of what goes
    into the last step.
    """
    program = request.program
    costs = [registry.get(s.operator).cost(s.params) for s in program.steps]
    needed = list(zip(program.digests, costs, strict=True))
    if request.measure is Measure.SURVEY:
        needed.pop()
    return needed, len(needed) - (request.measure is Measure.JUDGE)


def _ends(shard: Mapping[int, int]) -> tuple[int, int]:
    """Return the first and the last image, which stand for all: whatever is computed is computed on a whole part."""
    return next(iter(shard)), next(reversed(shard))


class InProcess:
    """Runs jobs in this very process: the inside of a worker, and `--workers 0` for debugging."""

    def __init__(self, task: Task, items: Sequence[Item], cache_bytes: int) -> None:
        cv2.setNumThreads(1)
        self.dealer = Dealer(1)
        self._task = task
        self._items = items
        self._cache = ValueCache[NDArray[Any]](cache_bytes)
        self._prepared: dict[int, tuple[tuple[NDArray[Any], ...], Any]] = {}

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run the jobs one after the other; no limit holds here."""
        return [self._run(job) for job in jobs]

    def close(self) -> None:
        """Hold nothing."""

    def _run(self, job: Job) -> Outcome:
        parts: list[list[Floats]] = [[] for _ in job.requests]
        failures: dict[int, Failed] = {}
        # Image by image, so that what the programs share on an image is at hand while they need it.
        for image in job.images:
            for i, request in enumerate(job.requests):
                if i in failures:
                    continue
                try:
                    parts[i].append(self._measured(request, image))
                except Exception as error:  # the one place that catches broadly: a bad candidate is data
                    reason = f"{type(error).__name__}: {error}"[:500]
                    failures[i] = Failed(request.program, reason, format_exc()[-4000:], out_of_memory(error))
        stacked = (failures.get(i) or _stacked(job.requests[i].program, part) for i, part in enumerate(parts))
        return Outcome(tuple(stacked))

    def _measured(self, request: Request, image: int) -> Floats:
        """Measure, and once more with an empty cache if memory runs out."""
        try:
            return self._measure(request, image)
        except Exception as error:
            if not out_of_memory(error):
                raise
        self._cache.clear()
        return self._measure(request, image)

    def _measure(self, request: Request, image: int) -> Floats:
        inputs, truth = self._prepare(image)
        program = request.program
        step = program.steps[-1]
        if request.measure is Measure.PROBE:
            return self._task.probe(self._value(program, len(program) - 1, (image, 0), {IMAGE: inputs[0]}), truth)
        arrays = []
        for k, raw in enumerate(inputs):
            values = {IMAGE: raw}
            arrays.append(tuple(self._value(program, j, (image, k), values) for j in step.inputs))
        if request.measure is Measure.SURVEY:
            found: Floats = np.sum([self._task.survey(planes, truth) for planes in arrays], axis=0)
            return found
        # An answer is needed once, so it does not take the place of a value that will be used again.
        operator = registry.get(step.operator)
        return judged(self._task, tuple(operator.run(given, step.params) for given in arrays), truth)

    def _prepare(self, image: int) -> tuple[tuple[NDArray[Any], ...], Any]:
        if image not in self._prepared:
            item = self._items[image]
            self._prepared[image] = (inputs_of(self._task, item), self._task.truth(item))
        return self._prepared[image]

    def _value(
        self, program: Pipeline, index: int, place: tuple[int, int], values: dict[int, NDArray[Any]]
    ) -> NDArray[Any]:
        """Return the value of a step; `values` are those that this program has needed on this input so far."""
        if index in values:
            return values[index]
        key = (program.digests[index], *place)
        value = self._cache.get(key)
        if value is None:
            step = program.steps[index]
            arrays = tuple(self._value(program, j, place, values) for j in step.inputs)
            value = registry.get(step.operator).run(arrays, step.params)
            self._cache.put(key, value)
        # Also held here: without room in the cache, a chain of x + x would double the work at every step.
        values[index] = value
        return value


def out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory could not be had, as NumPy, OpenCV and the system say it."""
    if isinstance(error, cv2.error):
        return getattr(error, "code", None) == NO_MEMORY or "bad_alloc" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == ENOMEM)


def _stacked(program: Pipeline, parts: Sequence[Floats]) -> Floats | Failed:
    """Return the statistics of all images, unless a task of the user's own gives them unlike shapes."""
    try:
        return np.stack(parts)
    except ValueError:
        shapes = sorted({str(np.shape(part)) for part in parts})
        return Failed(program, f"the task's statistics have different shapes: {' and '.join(shapes)}")
