"""The interfaces of the search: tasks, proposers, and the values that they exchange with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Sample
from evoseg.evolve.image_stats import ImageStats
from evoseg.pipeline import Pipeline

Item = Mapping[str, NDArray[Any]]
"""One image of a dataset as named arrays, such as ``image``, ``mask`` and ``known``."""

Floats = NDArray[np.float64]

KnownPlanes = Mapping[str, Mapping[str, NDArray[np.uint8]]]
"""Planes by stem, then by the digest of the program that gives them.

On images that networks were trained on, these are out of bag: by networks that have not seen the image.
"""


class Task(Protocol):
    """What is asked of a pipeline. The evaluator knows nothing else about the problem.

    Implementations are picklable values, which are sent to the workers once.
    """

    @property
    def output(self) -> Kind:
        """Kind of value that a candidate must return."""
        ...

    def arrays(self, sample: Sample) -> dict[str, NDArray[Any]]:
        """Return the arrays of a labelled sample that the search keeps: ``image``, and what `target` needs.

        Jittered copies are made of images (``image``, ``moving``), masks (bool), ``labels``, ``points``, ``shift``,
        ``rigid`` and ``affine``; other arrays stay as they are.
        """
        ...

    def image(self, item: Item) -> NDArray[Any] | tuple[NDArray[Any], ...]:
        """Return the `Raw` input of a pipeline, or several.

        The pipeline runs on each: `judge` then gets a tuple of outputs, histograms add up, and pixels are sampled from
        the first.
        """
        ...

    def target(self, item: Item) -> Any:
        """Return what `judge` and `histogram` compare with; made once per image and process."""
        ...

    def judge(self, output: Any, target: Any) -> Floats:
        """Return statistics of shape (s,) of one output; those of one image's parts add up."""
        ...

    def score(self, statistics: Floats) -> Floats:
        """Turn statistics of shape (..., s) into scores of shape (...); higher is better."""
        ...

    def histogram(self, planes: tuple[NDArray[np.uint8], ...], target: Any) -> Floats:
        """Return a small array from which `score_thresholds` ranks the thresholds of a step that takes these planes."""
        ...

    def sample_pixels(self, plane: NDArray[np.uint8], target: Any) -> Floats:
        """Return a plane's values at fixed pixels of the foreground and of the background, for fitting curves.

        Returns
        -------
        float64 array of shape (2, s), NaN where there are no such pixels; s may be 0 for tasks without foreground.
        """
        ...

    def score_thresholds(self, histograms: Floats) -> tuple[Floats, Floats | None]:
        """Score the thresholds of a plane from its histograms, of shape (n_images, ...).

        Returns
        -------
        scores : float64 array of shape (2, 256, n_images)
            For polarity bright (plane > level) and dark (plane <= level), and each level.
        statistics : float64 array of shape (2, 256, n_images, s), or None
            What `judge` would return; None if the scores are only an estimate.
        """
        ...


def inputs_of(task: Task, item: Item) -> tuple[NDArray[Any], ...]:
    """Return the inputs of a pipeline: one, or as many as the task looks at together."""
    found = task.image(item)
    return found if isinstance(found, tuple) else (found,)


def judge_outputs(task: Task, outputs: tuple[Any, ...], target: Any) -> Floats:
    """Return a task's statistics of the outputs for all inputs."""
    return task.judge(outputs[0] if len(outputs) == 1 else outputs, target)


@dataclass(frozen=True)
class Failed:
    """A candidate that could not be scored; data, not an exception.

    Attributes
    ----------
    pipeline : Pipeline
    reason : str
    traceback : str
        Empty if there was no exception.
    transient : bool
        Whether the reason is a limit, a lack of memory or the death of a process, so that another try may succeed.
    parts : tuple of Floats or Failed
        What came of each image, for a finished program that was tried image by image. Neither this nor `transient` is
        kept in journals.
    """

    pipeline: Pipeline
    reason: str
    traceback: str = ""
    transient: bool = False
    parts: "tuple[Floats | Failed, ...]" = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Scored:
    """A candidate with its fitted numbers filled in.

    Attributes
    ----------
    pipeline : Pipeline
    statistics : float64 array of shape (n_images, s)
    scores : float64 array of shape (n_images,)
    left_out : float64 array of shape (n_images,)
        Each image's score at the level, among those compared on all images, that is best on the others: every level
        for a final threshold, at most two where mask steps follow.
    proposer : str
        Who proposed it.
    jittered : float64 array of shape (n_images,), or None
        Scores on jittered copies of the images, NaN for those that have none; None if the candidate was not good
        enough to be tried on them.
    taught : float64 array of shape (n_taught,), or None
        Scores on images that networks have labelled, NaN if the candidate was not tried on them; None without such.
    handicap : float
        For one that was not tried: what jitter and these images have cost those that were, on average.
    """

    pipeline: Pipeline
    statistics: Floats
    scores: Floats
    left_out: Floats
    proposer: str = ""
    jittered: Floats | None = None
    taught: Floats | None = None
    handicap: float = 0.0

    @property
    def robust(self) -> Floats:
        """Per image, what selection goes by: the left-out score, averaged with the jittered copy's if there is one."""
        if self.jittered is None:
            return self.left_out - self.handicap
        return np.where(np.isnan(self.jittered), self.left_out, (self.left_out + self.jittered) / 2)

    @property
    def cases(self) -> Floats:
        """All scores that selection goes by: the robust ones, then those on images that networks have labelled."""
        robust = self.robust
        if self.taught is None:
            return robust
        return np.concatenate([robust, np.where(np.isnan(self.taught), robust.mean(), self.taught)])

    @property
    def score(self) -> float:
        """The mean over the images."""
        return float(self.scores.mean())

    @property
    def answer(self) -> bytes:
        """Equal for candidates that gave equal statistics on every image."""
        return self.statistics.tobytes()


@dataclass(frozen=True)
class Pruned:
    """A candidate that was dismissed after a few images (early stopping).

    Attributes
    ----------
    pipeline : Pipeline
    score : float
        The mean over those few images.
    """

    pipeline: Pipeline
    score: float


Evaluation = Scored | Failed | Pruned


class Descend(Protocol):
    """Records how a program that is proposed now came about."""

    def __call__(self, child: Pipeline, parents: Sequence[Pipeline], request: int | None = None) -> None:
        """Record it, unless somebody else has proposed the program before.

        Parameters
        ----------
        parents : sequence of Pipeline
            The candidates that it was made from.
        request : int, optional
            Of a proposer that asks others, such as a language model: the number of the request that it answers.
        """
        ...


@dataclass(frozen=True)
class SearchView:
    """What a proposer may look at; read only.

    Attributes
    ----------
    population : sequence of Scored
        The present parents.
    best : sequence of Scored
        Best first, distinct in their answers.
    select : callable (n, rng) -> list of Scored
        Draw parents by the search's own selection.
    stats : ImageStats
        What is known of the images.
    sample_pixels : callable (programs) -> list
        Per program that returns a plane, what the task samples of it, of shape (n_images, ...); Failed or None if
        there is nothing.
    descend : Descend
        Record how a program that is proposed now came about.
    """

    population: Sequence[Scored]
    best: Sequence[Scored]
    select: Callable[[int, Generator], list[Scored]]
    stats: ImageStats
    sample_pixels: Callable[[Sequence[Pipeline]], Sequence[Floats | Failed | None]]
    descend: Descend = lambda child, parents, request=None: None


class Proposer(Protocol):
    """A source of candidates: variation, tuning, a warm start."""

    name: str

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        """Return at most n pipelines that are ready now; an empty list is fine; never wait."""
        ...

    def learn(self, evaluations: Sequence[Evaluation]) -> None:
        """Receive the evaluations of this proposer's pipelines, repeats included."""
        ...
