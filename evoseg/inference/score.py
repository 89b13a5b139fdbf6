"""Score a finished pipeline on images, by every metric; nothing is refitted."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import prefetch
from evoseg.core.errors import DatasetError, EvosegError, ImageWarning, PipelineError, SettingsError, unknown
from evoseg.core.kinds import Kind
from evoseg.core.notes import quantity
from evoseg.core.streams import stream
from evoseg.core.transforms import Floats, move_points
from evoseg.datasets.dataset import Dataset, Sample
from evoseg.datasets.splits import split as split_of
from evoseg.evolve.ports import KnownPlanes, inputs_of, judge_outputs
from evoseg.evolve.tasks.task_kinds import (
    TaskKind,
    check_names,
    choose_radius,
    every_score,
    fault_in,
    find_kind,
    find_kind_of_output,
)
from evoseg.metrics import METRIC_LABELS, metric_name, within
from evoseg.metrics.alignment import transform_between
from evoseg.metrics.detections import Detections, describe_detections, detect_objects
from evoseg.metrics.shift_scores import error_px
from evoseg.pipeline import Pipeline
from evoseg.pipeline.running import as_raw, run_steps
from evoseg.runs.opening import dataset_name
from evoseg.runs.pipeline_files import Comparison, check_channels

SPLITS = ("test", "search", "selection", "all")
RESAMPLES = 10_000
TRAINED_ON = (
    "the pipeline has a network in it. Scores on images that the network was trained on, such as the search images of "
    "its run, are too high; the run's result has out-of-bag scores for these."
)


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
    metric : str
        The one that `score` is the mean of; the first if none is named.
    dataset : str
        Its name.
    detections : dict of str to Detections
        How many objects were missed, and how many false alarms there were, by stem; empty for pairs and tasks of
        one's own.
    """

    split: str
    per_image: dict[str, dict[str, float]]
    radius: float | None = None
    metric: str = ""
    dataset: str = ""
    detections: dict[str, Detections] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill in the metric."""
        if not self.metric:
            object.__setattr__(self, "metric", next(iter(next(iter(self.per_image.values()), {})), ""))

    @property
    def score(self) -> float:
        """The mean of the metric over the images."""
        return self.mean[self.metric]

    @property
    def mean(self) -> dict[str, float]:
        """The mean over the images, by metric."""
        names = next(iter(self.per_image.values()))
        return {name: float(np.mean([scores[name] for scores in self.per_image.values()])) for name in names}

    def of(self, metric: str) -> dict[str, float]:
        """Return one metric's scores by stem."""
        return {stem: scores[metric] for stem, scores in self.per_image.items()}

    def __repr__(self) -> str:
        means = ", ".join(f"{name} {value:.3f}" for name, value in self.mean.items())
        return f"<Scores on {counted(len(self.per_image), self.split)}: {means}>"

    def __str__(self) -> str:
        """Return the table that `evoseg score` prints."""
        per_image = self.of(self.metric)
        images = counted(len(per_image), self.split)
        lines = [f"{self.dataset or 'dataset'}: mean over {images}{within(self.radius)}"]
        for key, value in self.mean.items():
            between = bootstrap_interval(list(self.of(key).values()))
            note = f"  95 % interval {between[0]:.3f} to {between[1]:.3f}" if between else ""
            lines.append(f"  {METRIC_LABELS[key]:14s}{value:7.3f}{note}")
        if self.metric == "closeness":
            errors = [error_px(value) for value in per_image.values()]
            lines.append(f"  error in px: median {median(errors):.3f}, maximum {max(errors):.3f}")
        if self.detections:
            lines.append(f"  {describe_detections(self.detections, images)}")
        lines.append(f"{METRIC_LABELS[self.metric]} per image, worst first")
        lines += [f"  {value:7.3f}  {stem}" for stem, value in sorted(per_image.items(), key=lambda item: item[1])]
        return "\n".join(lines)


def counted(n: int, split: str) -> str:
    """Return how many images of a split there are, in words."""
    return quantity(n, f"{'labelled' if split == 'all' else split} image")


def known_values(pipeline: Pipeline, planes: Mapping[str, NDArray[np.uint8]]) -> dict[int, NDArray[np.uint8]]:
    """Return which steps' values are known, by their places."""
    return {i: planes[digest.hex()] for i, digest in enumerate(pipeline.digests) if digest.hex() in planes}


@dataclass(frozen=True, eq=False)
class JudgedImage:
    """An image with a pipeline's answer, the truth in the same form, the scores, and what is wrong.

    The sample's image is what the pipeline was run on, the first of several. `errors` are numbers of what was missed
    and of what is too much: of pixels for masks, of objects or points else; None where that means nothing. A transform
    is shown as the place to which it takes the middle of the image, and `pair` has the rest.
    """

    sample: Sample
    answer: NDArray[Any]
    truth: NDArray[Any] | None
    scores: dict[str, float]
    errors: tuple[int, int] | None
    detections: Detections | None = None
    pair: "AlignedPair | None" = None


@dataclass(frozen=True, eq=False)
class AlignedPair:
    """The two planes of a pair, uint8 (M, N), and the transform that was found in them, (2, 3)."""

    fixed: NDArray[np.uint8]
    moving: NDArray[np.uint8]
    transform: Floats


def score(
    pipeline: Pipeline,
    dataset: Dataset,
    split: str = "test",
    *,
    task: str | None = None,
    radius: float | None = None,
    metric: str | None = None,
) -> Scores:
    """Score a pipeline as it is on one split of a dataset.

    Parameters
    ----------
    split : "test", "search", "selection" or "all"
        "all" are all labelled images.
    task : str, optional
        As `evoseg.evolve.tasks.task_kinds.resolve_task` returns it; by default that whose pipelines give such values.
    radius : float, optional
        Within how many px points match; by default what the dataset says, or 6.
    metric : str, optional
        The one to show image by image; by default the first of the task.

    Raises
    ------
    DatasetError
        If the split is empty.
    PipelineError
        If what the pipeline gives cannot be scored, or the images lack a channel that it was made for.

    Warns
    -----
    ImageWarning
        If the images differ from those that the pipeline was made for, or every answer is empty or full, or if a
        network in the pipeline may have been trained on them.
    """
    if pipeline.has_network and split in ("search", "all"):
        warnings.warn(TRAINED_ON, ImageWarning, stacklevel=2)
    kind = find_task_kind(pipeline, task)
    metric = kind.metrics[0] if metric is None else metric_name(metric)
    check_names(kind.name, metric)
    name = dataset_name(dataset)
    radius = choose_radius(kind, radius, dataset)
    found = judge_images(pipeline, dataset, split_stems(dataset, split), kind=kind, radius=radius)
    if kind.own:
        return Scores(split, {one.sample.stem: _finite(one) for one in found}, radius, metric, name)
    comparison, per_image, detections = Comparison(pipeline), {}, {}
    check_channels(pipeline, len(dataset.channels), dataset.title)
    for one in found:
        stem, truth = one.sample.stem, one.truth
        comparison.look(stem, one.sample.image, dataset.labels, dataset.pixel_size)
        if kind.output is not Kind.GRAY:
            due = truth is not None and bool(len(truth) if kind.output is Kind.POINTS else (truth > 0).any())
            comparison.answer(kind.output, one.answer, due=due)
        per_image[stem] = one.scores
        if one.detections is not None:
            detections[stem] = one.detections
    comparison.tell()
    return Scores(split, per_image, radius, metric, name, detections)


def _finite(one: JudgedImage) -> dict[str, float]:
    """Return the scores of an image by a user's own task, which may give anything."""
    for value in one.scores.values():
        if not np.isfinite(value):
            raise PipelineError(
                f"{one.sample.stem}: score() gives {value} for the pipeline's answer; a score must be a finite number. "
                "Return 0 where an answer is wrong, and 1 where it is right."
            )
    return one.scores


def split_stems(dataset: Dataset, split: str) -> tuple[str, ...]:
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
    if not dataset.labelled:
        raise DatasetError(f"{dataset.title}: no image is labelled, so none can be scored. Add masks, or other truths.")
    if split == "all":
        return dataset.labelled
    stems: tuple[str, ...] = getattr(split_of(dataset), split)
    if not stems:
        raise DatasetError(
            f"{dataset.title}: the {split} split is empty; the dataset has {len(dataset.labelled)} labelled images. "
            "Take another split, or all images."
        )
    return stems


def judge_images(
    pipeline: Pipeline,
    dataset: Dataset,
    stems: Sequence[str],
    threads: int = 1,
    *,
    kind: TaskKind | None = None,
    radius: float | None = None,
    planes: KnownPlanes | None = None,
) -> Iterator[JudgedImage]:
    """Run a pipeline on labelled images, one after the other, and judge its answers.

    Parameters
    ----------
    threads : int
        How many images are worked on at a time.
    kind : TaskKind, optional
        By default that whose pipelines give such values.
    radius : float, optional
        Within how many px points match.
    planes : KnownPlanes, optional
        By stem, what networks are to be taken to have given.

    Raises
    ------
    PipelineError
        If what the pipeline gives cannot be scored.
    """
    kind, pipeline = kind or find_task_kind(pipeline), pipeline.for_images(None)  # whoever asks compares the images
    yield from prefetch(partial(_judge, pipeline, kind, radius, dataset, planes or {}), stems, threads)


def find_task_kind(pipeline: Pipeline, task: str | None = None) -> TaskKind:
    """Return the kind of task that a pipeline answers, the named one if there is a name.

    Raises
    ------
    PipelineError
        If there is none, or the pipeline gives something else.
    """
    kind = find_kind_of_output(pipeline.output) if task is None else find_kind(task)
    if kind is None:
        raise PipelineError(f"the pipeline returns a {pipeline.output} value, which no task uses.")
    if kind.output is not pipeline.output:
        raise PipelineError(f"the pipeline returns a {pipeline.output} value; {kind.name} needs a {kind.output} value.")
    return kind


def _judge(
    pipeline: Pipeline, kind: TaskKind, radius: float | None, dataset: Dataset, planes: KnownPlanes, stem: str
) -> JudgedImage:
    try:
        return _judged(pipeline, kind, radius, dataset, planes, stem)
    except Exception as error:
        if not kind.own or isinstance(error, EvosegError | MemoryError | cv2.error):
            raise
        raise fault_in(Path(kind.name), error, f" with {stem}") from error


def _judged(
    pipeline: Pipeline, kind: TaskKind, radius: float | None, dataset: Dataset, planes: KnownPlanes, stem: str
) -> JudgedImage:
    sample, given = dataset.load(stem), known_values(pipeline, planes.get(stem, {}))
    if not kind.has_truth(dataset, stem):
        raise DatasetError(f"{stem}: has no ground truth that a {kind.output} value can be compared with.")
    prepared: Any = None
    scores = {}
    for name, task in every_score(kind, radius):
        if prepared is None:
            item = task.arrays(sample)
            inputs, prepared = inputs_of(task, item), task.target(item)
            answers = tuple(
                run_steps(pipeline.steps, as_raw(image), given) if given else pipeline(image) for image in inputs
            )
        counts = judge_outputs(task, answers, prepared)
        scores[name] = float(task.score(counts))
    seen, answer = replace(sample, image=inputs[0]), answers[0]
    if kind.own:
        # Whatever a task of one's own looks at: a truth of another size cannot be shown beside the answer.
        truth = truth_as_kind(sample, kind.output)
        fits = truth is not None and (kind.output is Kind.POINTS or truth.shape == answer.shape)
        return JudgedImage(seen, answer, truth if fits else None, scores, None)
    if kind.output is Kind.GRAY:
        pair = AlignedPair(answers[0], answers[1], transform_between(answers[0], answers[1], prepared[0]))
        middle = (np.array([answer.shape]) - 1) / 2
        at, due = move_points(pair.transform, middle), move_points(prepared[1], middle)
        return JudgedImage(seen, at, due, scores, None, pair=pair)
    truth = truth_as_kind(sample, kind.output)
    assert truth is not None
    errors = _errors(kind.output, answer, truth, sample.known, counts)
    if kind.output is Kind.MASK:
        detections = detect_objects(answer, truth, sample.known)
    else:
        detections = Detections(int(counts[-1]), *errors)
    return JudgedImage(seen, answer, truth, scores, errors, detections)


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


def truth_as_kind(sample: Sample, output: Kind) -> NDArray[Any] | None:
    """Return a sample's truth as a kind of value, None if it has none."""
    return {Kind.MASK: sample.mask, Kind.LABELS: sample.labels, Kind.POINTS: sample.points}.get(output)


def bootstrap_interval(scores: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % bootstrap interval of a mean over images, None for fewer than two images.

    Percentiles of the means of images drawn with replacement (Efron, Ann. Stat. 7(1), 1979), by a fixed seed.
    """
    if len(scores) < 2:
        return None
    draws = stream(0, "interval", len(scores)).integers(0, len(scores), (RESAMPLES, len(scores)))
    low, high = np.percentile(np.asarray(scores)[draws].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)
