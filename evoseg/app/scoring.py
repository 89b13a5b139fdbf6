"""Score a finished pipeline on images, by every metric; nothing is refitted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.app.pipelines import check_channels
from evoseg.app.tasks import TaskKind, every_score, kind_for
from evoseg.base.ahead import ahead
from evoseg.base.errors import DatasetError, PipelineError, SettingsError, unknown
from evoseg.base.kinds import Kind
from evoseg.base.streams import stream
from evoseg.data.dataset import Dataset, Sample
from evoseg.data.splits import split as split_of
from evoseg.pipeline import Pipeline

SPLITS = ("test", "search", "selection", "all")
RESAMPLES = 10_000


@dataclass(frozen=True)
class Scores:
    """A pipeline's scores on some images.

    Attributes
    ----------
    split : str
        Which images.
    per_image : dict of str to dict of str to float
        By stem, then by metric.
    """

    split: str
    per_image: dict[str, dict[str, float]]

    @property
    def mean(self) -> dict[str, float]:
        """The mean over the images, by metric."""
        names = next(iter(self.per_image.values()))
        return {name: float(np.mean([scores[name] for scores in self.per_image.values()])) for name in names}

    def of(self, metric: str) -> dict[str, float]:
        """Return one metric's scores by stem."""
        return {stem: scores[metric] for stem, scores in self.per_image.items()}


@dataclass(frozen=True, eq=False)
class Judged:
    """An image with a pipeline's answer, the truth in the same form, the scores, and what is wrong.

    `errors` are numbers of what was missed and of what is too much: of pixels for masks, of objects or points else.
    """

    sample: Sample
    answer: NDArray[Any]
    truth: NDArray[Any]
    scores: dict[str, float]
    errors: tuple[int, int]


def score(pipeline: Pipeline, dataset: Dataset, split: str = "test") -> Scores:
    """Score a pipeline as it is on one split of a dataset.

    Parameters
    ----------
    split : "test", "search", "selection" or "all"
        "all" are all labelled images.

    Raises
    ------
    DatasetError
        If the split is empty.
    PipelineError
        If what the pipeline gives cannot be scored, or it reads a channel that the images do not have.
    """
    check_channels(pipeline, len(dataset.channels), dataset.title)
    stems = stems_of(dataset, split)
    return Scores(split, {found.sample.stem: found.scores for found in judged(pipeline, dataset, stems)})


def stems_of(dataset: Dataset, split: str) -> tuple[str, ...]:
    """Return the stems of a split.

    Raises
    ------
    SettingsError
        If there is no split of that name.
    DatasetError
        If it is empty.
    """
    if split not in SPLITS:
        raise SettingsError(unknown("split", split, SPLITS))
    if split == "all":
        return dataset.labelled
    stems: tuple[str, ...] = getattr(split_of(dataset), split)
    if not stems:
        raise DatasetError(
            f"{dataset.title}: the {split} split is empty; the dataset has {len(dataset.labelled)} labelled images. "
            "Take another split, or all images."
        )
    return stems


def judged(pipeline: Pipeline, dataset: Dataset, stems: Sequence[str], threads: int = 1) -> Iterator[Judged]:
    """Run a pipeline on labelled images, one after the other, and judge its answers.

    Parameters
    ----------
    threads : int
        How many images are worked on at a time.

    Raises
    ------
    PipelineError
        If what the pipeline gives cannot be scored.
    """
    kind = scored_kind(pipeline)
    yield from ahead(partial(_judge, pipeline, kind, dataset), stems, threads)


def scored_kind(pipeline: Pipeline) -> TaskKind:
    """Return the kind of task that a pipeline answers.

    Raises
    ------
    PipelineError
        If there is none.
    """
    kind = kind_for(pipeline.output)
    if kind is None:
        raise PipelineError(f"the pipeline gives a {pipeline.output} value; only masks and objects can be scored.")
    return kind


def _judge(pipeline: Pipeline, kind: TaskKind, dataset: Dataset, stem: str) -> Judged:
    sample = dataset.load(stem)
    truth = truth_of(sample, kind.output)
    if truth is None:
        raise DatasetError(f"{stem}: has no truth that a {kind.output} value can be compared with.")
    answer = pipeline(sample.image)
    prepared: Any = None
    scores = {}
    for name, task in every_score(kind):
        prepared = task.truth(task.item(sample)) if prepared is None else prepared
        counts = task.judge(answer, prepared)
        scores[name] = float(task.score(counts))
    return Judged(sample, answer, truth, scores, _errors(kind.output, answer, truth, sample.known, counts))


def _errors(
    output: Kind,
    answer: NDArray[Any],
    truth: NDArray[Any],
    known: NDArray[np.bool_] | None,
    counts: NDArray[np.float64],
) -> tuple[int, int]:
    """Return how much was missed, and how much is too much; `counts` are matches, answered and true at both ends."""
    if output is Kind.MASK:
        counted = np.True_ if known is None else known
        return int((truth & ~answer & counted).sum()), int((~truth & answer & counted).sum())
    return int(counts[-1] - counts[0]), int(counts[-2] - counts[0])


def truth_of(sample: Sample, output: Kind) -> NDArray[Any] | None:
    """Return a sample's truth as a kind of value, None if it has none."""
    return {Kind.MASK: sample.mask, Kind.LABELS: sample.labels, Kind.POINTS: sample.points}[output]


def interval(scores: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % bootstrap interval of a mean over images, None for fewer than two images.

    Percentiles of the means of images drawn with replacement (Efron, Ann. Stat. 7(1), 1979), by a fixed seed.
    """
    if len(scores) < 2:
        return None
    draws = stream(0, "interval", len(scores)).integers(0, len(scores), (RESAMPLES, len(scores)))
    low, high = np.percentile(np.asarray(scores)[draws].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)
