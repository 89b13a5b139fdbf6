"""Score a finished pipeline on images, by every metric; nothing is refitted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.app.pipelines import Comparison, check_channels
from evoseg.app.tasks import TaskKind, every_score, kind_called, kind_for, radius_for
from evoseg.base.ahead import ahead
from evoseg.base.errors import DatasetError, PipelineError, SettingsError, unknown
from evoseg.base.kinds import Kind
from evoseg.base.streams import stream
from evoseg.data.dataset import Dataset, Sample
from evoseg.data.splits import split as split_of
from evoseg.evolve.ports import inputs_of
from evoseg.evolve.ports import judged as judged_by
from evoseg.metrics.shifts import shift_between
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
    radius : float or None
        Within how many px points matched; None for other tasks.
    """

    split: str
    per_image: dict[str, dict[str, float]]
    radius: float | None = None

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

    The sample's image is what the pipeline was run on, the first of several. `errors` are numbers of what was missed
    and of what is too much: of pixels for masks, of objects or points else; None where that means nothing. A shift is
    shown as the place to which it takes the middle of the image.
    """

    sample: Sample
    answer: NDArray[Any]
    truth: NDArray[Any] | None
    scores: dict[str, float]
    errors: tuple[int, int] | None


def score(
    pipeline: Pipeline,
    dataset: Dataset,
    split: str = "test",
    *,
    task: str | None = None,
    radius: float | None = None,
) -> Scores:
    """Score a pipeline as it is on one split of a dataset.

    Parameters
    ----------
    split : "test", "search", "selection" or "all"
        "all" are all labelled images.
    task : str, optional
        As `evoseg.app.tasks.named` returns it; by default that whose pipelines give such values.
    radius : float, optional
        Within how many px points match; by default what the dataset says, or 6.

    Raises
    ------
    DatasetError
        If the split is empty.
    PipelineError
        If what the pipeline gives cannot be scored, or the images lack a channel that it was made for.

    Warns
    -----
    ImageWarning
        If the images differ from those that the pipeline was made for, or every answer is empty or full.
    """
    kind = scored_kind(pipeline, task)
    radius = radius_for(kind, radius, dataset)
    found = judged(pipeline, dataset, stems_of(dataset, split), kind=kind, radius=radius)
    if kind.own:
        return Scores(split, {one.sample.stem: one.scores for one in found}, radius)
    comparison, per_image = Comparison(pipeline), {}
    check_channels(pipeline, len(dataset.channels), dataset.title)
    for one in found:
        stem, truth = one.sample.stem, one.truth
        comparison.look(stem, one.sample.image, dataset.labels, dataset.card.pixel_size)
        if kind.output is not Kind.GRAY:
            due = truth is not None and bool(len(truth) if kind.output is Kind.POINTS else (truth > 0).any())
            comparison.answer(kind.output, one.answer, due=due)
        per_image[stem] = one.scores
    comparison.tell()
    return Scores(split, per_image, radius)


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


def judged(
    pipeline: Pipeline,
    dataset: Dataset,
    stems: Sequence[str],
    threads: int = 1,
    *,
    kind: TaskKind | None = None,
    radius: float | None = None,
) -> Iterator[Judged]:
    """Run a pipeline on labelled images, one after the other, and judge its answers.

    Parameters
    ----------
    threads : int
        How many images are worked on at a time.
    kind : TaskKind, optional
        By default that whose pipelines give such values.
    radius : float, optional
        Within how many px points match.

    Raises
    ------
    PipelineError
        If what the pipeline gives cannot be scored.
    """
    kind, pipeline = kind or scored_kind(pipeline), pipeline.for_images(None)  # whoever asks compares the images
    yield from ahead(partial(_judge, pipeline, kind, radius, dataset), stems, threads)


def scored_kind(pipeline: Pipeline, task: str | None = None) -> TaskKind:
    """Return the kind of task that a pipeline answers, the named one if there is a name.

    Raises
    ------
    PipelineError
        If there is none, or the pipeline gives something else.
    """
    kind = kind_for(pipeline.output) if task is None else kind_called(task)
    if kind is None:
        raise PipelineError(f"the pipeline gives a {pipeline.output} value, which answers no task.")
    if kind.output is not pipeline.output:
        raise PipelineError(f"the pipeline gives a {pipeline.output} value; {kind.name} needs a {kind.output} value.")
    return kind


def _judge(pipeline: Pipeline, kind: TaskKind, radius: float | None, dataset: Dataset, stem: str) -> Judged:
    sample = dataset.load(stem)
    if kind.truth is not None and not dataset.source.has(kind.truth[0], stem):
        raise DatasetError(f"{stem}: has no truth that a {kind.output} value can be compared with.")
    prepared: Any = None
    scores = {}
    for name, task in every_score(kind, radius):
        if prepared is None:
            item = task.item(sample)
            inputs, prepared = inputs_of(task, item), task.truth(item)
            answers = tuple(pipeline(image) for image in inputs)
        counts = judged_by(task, answers, prepared)
        scores[name] = float(task.score(counts))
    seen, answer = replace(sample, image=inputs[0]), answers[0]
    if kind.own:
        # Whatever a task of one's own looks at: a truth of another size cannot be shown beside the answer.
        truth = truth_of(sample, kind.output)
        fits = truth is not None and (kind.output is Kind.POINTS or truth.shape == answer.shape)
        return Judged(seen, answer, truth if fits else None, scores, None)
    if sample.shift is not None:
        found, middle = shift_between(*answers), (np.array(answer.shape) - 1) / 2
        return Judged(seen, (middle + found)[None], (middle + sample.shift)[None], scores, None)
    truth = truth_of(sample, kind.output)
    assert truth is not None
    return Judged(seen, answer, truth, scores, _errors(kind.output, answer, truth, sample.known, counts))


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
    return {Kind.MASK: sample.mask, Kind.LABELS: sample.labels, Kind.POINTS: sample.points}.get(output)


def interval(scores: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % bootstrap interval of a mean over images, None for fewer than two images.

    Percentiles of the means of images drawn with replacement (Efron, Ann. Stat. 7(1), 1979), by a fixed seed.
    """
    if len(scores) < 2:
        return None
    draws = stream(0, "interval", len(scores)).integers(0, len(scores), (RESAMPLES, len(scores)))
    low, high = np.percentile(np.asarray(scores)[draws].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)
