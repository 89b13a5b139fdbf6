"""Which stored pipelines do something sensible on images without masks, the most promising first.

Each answer is a guess at what is to be marked, and counts by how sharply it is outlined: what people mark usually ends
at edges. The answers to show are those that agree best with all guesses: the first with as many as possible, each
further one with those that are not covered yet, so that answers that differ come early. Where solved tasks are like the
images, the first place belongs to one of their answers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import prefetch
from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Dataset, Sample
from evoseg.datasets.imageformat import ImageFormat
from evoseg.evolve.ports import Task
from evoseg.evolve.tasks.task_kinds import choose_radius, find_kind_of_output
from evoseg.inference.score import truth_as_kind
from evoseg.library.collection import Library
from evoseg.library.description import Description, describe
from evoseg.library.embedders import embedders
from evoseg.library.likeness import ALIKE
from evoseg.library.task import SolvedTask
from evoseg.library.unlabelled import (
    Array,
    Candidate,
    Outlines,
    Stability,
    candidates_at_scales,
    is_empty_or_full,
    try_pipeline,
)
from evoseg.pipeline import Pipeline

OnProgress = Callable[[str, float], None]
"""Takes what is being done, in words, and the share of it that is done."""

N_IMAGES = 4
"""Images that answers are ordered on and shown on, evenly spaced."""
SHOWN_PX, RANKED_PX = 1_000_000, 90_000
"""Pixels of the middle of an image on which answers are shown, and on which they are ordered."""
NEAR = 20
"""Number of the user's own tasks that are tried: those that are most alike."""
SAMPLED_PX = 10_000
"""Pixels of an image on which answers are compared with each other."""
SHARPNESS = 1.5
"""Power of an answer's outline by which it counts as a guess (docs/library.md)."""
LEAST_OUTLINE = 1.45
"""Sharpness of the most sharply outlined answer below which none is worth showing: drawn noise reaches 1.43."""


@dataclass(frozen=True)
class Signs:
    """What can be told of an answer without a truth.

    Attributes
    ----------
    consent : float
        Mean IoU with all answers, weighted by how sharply they are outlined, 0 to 1.
    outline : float
        Steepness of the images along the outlines, against that everywhere.
    stability : float
        Mean agreement with the answers for disturbed images, 0 to 1.
    transfer : float
        By which share the pipeline was better than others on tasks that it was not made for; 0 if that is not known.
    likeness : float
        Of the solved task with these images, 0 to 1.
    share : float
        Of the pixels that are marked.
    """

    consent: float
    outline: float
    stability: float
    transfer: float
    likeness: float
    share: float


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer of a stored pipeline.

    Attributes
    ----------
    candidate : Candidate
        Where the pipeline is from, and how it was adapted.
    pipeline : Pipeline
        As it ran, ready to be applied to more such images.
    signs : Signs
    shown : tuple of arrays
        The answer for each image that is shown.
    score : float or None
        By the first metric of the kind of task (IoU, AP50 or F1), where these images have masks.
    """

    candidate: Candidate
    pipeline: Pipeline
    signs: Signs
    shown: tuple[Array, ...]
    score: float | None


def middle_of(sample: Sample, pixels: int) -> Sample:
    """Return the middle of an image with its truth: at most so many pixels, the sides in the same proportion."""
    shape = np.array(sample.image.shape[:2])
    size = np.maximum(1, (shape * min(1.0, (pixels / shape.prod()) ** 0.5)).astype(int))
    first = (shape - size) // 2
    window = tuple(slice(start, start + length) for start, length in zip(first.tolist(), size.tolist(), strict=True))
    planes = {name: getattr(sample, name) for name in ("image", "mask", "known", "values")}
    cut: dict[str, Any] = {n: np.ascontiguousarray(plane[window]) for n, plane in planes.items() if plane is not None}
    points = None if sample.points is None else sample.points - first
    inside = None if points is None else points[((points > -0.5) & (points < size - 0.5)).all(axis=1)]
    return replace(sample, **cut, points=inside)


def find_answers(
    dataset: Dataset,
    stems: Sequence[str],
    k: int,
    library: Library,
    output: Kind,
    on_progress: OnProgress = lambda doing, share: None,
) -> list[Answer]:
    """Try stored pipelines on images, and return the k most promising answers that differ, best first.

    Nothing is drawn from masks: where there are some, the score of each answer stands beside its place.

    Parameters
    ----------
    dataset : Dataset
    stems : sequence of str
        The images that are looked at.
    output : Kind
        What is wanted.
    on_progress : callable (doing, share)
        Called with what is being done, in words, and with the share of it that is done.

    Returns
    -------
    list of Answer
        Fewer than k, or none, if no others are worth showing.

    Raises
    ------
    EvosegError
        If an image or the library cannot be read.
    """
    on_progress("comparing the images with those of solved tasks", 0.0)
    samples = [middle_of(dataset.load(stem), SHOWN_PX) for stem in stems]
    images = [middle_of(sample, RANKED_PX).image for sample in samples]
    unlabelled = Dataset.from_arrays([sample.image for sample in samples])
    sources = find_sources(library, describe(unlabelled, unlabelled.stems, embedders()), output)
    made_for, stability = dataset.image_format(stems), Stability(images)
    tried = try_all(images, list(sources), output, on_progress, pixel_size=made_for.pixel_size)
    guesses = [guess for guess, _ in tried]
    on_progress("comparing their answers", 0.0)
    chosen = choose(guesses, k, sources)
    if max((guess.outline for guess, _ in chosen), default=0.0) < LEAST_OUTLINE:
        return []
    task = find_kind_of_output(output)
    assert task is not None
    judge = task.task(task.metrics[0], choose_radius(task, None, dataset))
    answers = []
    for guess, consent in chosen:
        scaled = guess.candidate.scaled
        signs = Signs(
            consent=consent,
            outline=guess.outline,
            stability=stability.of(guess.candidate.program),
            transfer=library.popularity(scaled.task.output).of(scaled.use),
            likeness=sources[scaled.task],
            share=guess.share,
        )
        answers.append(_answer(guess.candidate, signs, samples, made_for, judge, output))
    return answers


def find_sources(library: Library, description: Description, output: Kind) -> dict[SolvedTask, float]:
    """Return the tasks whose pipelines are tried, with their likeness: all bundled ones, and own ones that are near."""
    kinds = tuple(dict.fromkeys((output, Kind.MASK)))
    alike = {i: found.value for i, found in library.most_alike(description.described, kinds)}
    own = [i for i in alike if i not in library.bundled][:NEAR]
    tasks = library.tasks([*(i for kind in kinds for i in library.bundled_of(kind)), *own])
    return {task: alike.get(i, 0.0) for i, task in tasks.items()}


@dataclass(frozen=True, eq=False)
class Guess:
    """An answer as a guess at what is to be marked.

    Attributes
    ----------
    candidate : Candidate
    outline, share : float
        As in `Signs`.
    sampled : bool array of shape (n,)
        Whether it marks some pixels of all images, on which it is compared with other guesses.
    """

    candidate: Candidate
    outline: float
    share: float
    sampled: NDArray[np.bool_]


def try_all(
    images: Sequence[Array],
    sources: Sequence[SolvedTask],
    output: Kind,
    on_progress: OnProgress = lambda doing, share: None,
    *,
    pixel_size: str = "",
) -> Iterator[tuple[Guess, list[NDArray[np.bool_]]]]:
    """Yield the answers of all stored pipelines that run on some images, each with what it marks in them.

    Answers that are empty or full are left out, and so are those that equal another to the pixel.

    Parameters
    ----------
    images : sequence of arrays of shape (M, N, C)
    sources : sequence of SolvedTask
        Whose pipelines are tried.
    output : Kind
        What is wanted.
    on_progress : callable (doing, share)
    pixel_size : str
        Of the images, as `dataset.yaml` has it; "" if it is not known.
    """
    scaled = list(candidates_at_scales(sources, images[0].shape[2], output, pixel_size))
    outlines = Outlines(images)
    seen: set[bytes] = set()
    for number, found in enumerate(prefetch(lambda one: try_pipeline(one, images), scaled), 1):
        for tried in found:
            masks = tried.masks(images)
            digest = blake2b(b"".join(np.packbits(mask).tobytes() for mask in masks)).digest()
            if digest not in seen and not is_empty_or_full(masks):
                seen.add(digest)
                share = float(np.mean([mask.mean() for mask in masks]))
                yield Guess(tried.candidate, outlines.of(masks), share, _sample(masks)), masks
        on_progress(f"running {len(scaled)} stored pipelines", number / len(scaled))


def _sample(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return some pixels of each mask, evenly spaced."""
    steps = [max(1, round((mask.size / SAMPLED_PX) ** 0.5)) for mask in masks]
    return np.concatenate([mask[::step, ::step].ravel() for mask, step in zip(masks, steps, strict=True)])


def choose(guesses: Sequence[Guess], k: int, alike: Mapping[SolvedTask, float]) -> list[tuple[Guess, float]]:
    """Choose k guesses, the most promising first, each with its weighted mean agreement with all.

    If solved tasks are like these images, the first place belongs to the one of their guesses that agrees best with the
    others of theirs, at all scales and thresholds.

    Parameters
    ----------
    alike : mapping of SolvedTask to float
        Likeness of the tasks that guesses are from.
    """
    if not guesses:
        return []
    weights = np.array([guess.outline for guess in guesses]) ** SHARPNESS
    overlaps = pairwise_iou([guess.sampled for guess in guesses])
    consents = overlaps @ (weights / max(float(weights.sum()), 1e-12))
    near = np.array([alike[guess.candidate.scaled.task] >= ALIKE for guess in guesses])
    first = int(np.where(near, overlaps @ (weights * near), -1.0).argmax())
    chosen = facility_location(overlaps, weights, k, [first] if near.any() else [])
    return [(guesses[i], float(consents[i])) for i in chosen]


def facility_location(
    overlaps: NDArray[np.floating[Any]], weights: NDArray[np.floating[Any]], k: int, given: Sequence[int] = ()
) -> list[int]:
    """Choose k of n guesses that together agree best with all, each of which is served by the nearest of the chosen.

    Parameters
    ----------
    overlaps : float array of shape (n, n)
        How far every two agree.
    weights : float array of shape (n,)
        How much each counts, at least 0.
    given : sequence of int
        Guesses that are chosen already, at most k.

    Returns
    -------
    list of int
        Which ones, the given ones first.

    References
    ----------
    G. Cornuéjols, M. Fisher, G. Nemhauser, Management Science 23(8), 1977: the greedy algorithm.
    """
    shares = weights / max(float(weights.sum()), 1e-12)
    chosen = list(given)
    served = overlaps[chosen].max(axis=0, initial=0.0)
    while len(chosen) < min(k, len(weights)):
        gains = np.maximum(overlaps, served) @ shares
        gains[chosen] = -1.0
        chosen.append(int(gains.argmax()))
        served = np.maximum(served, overlaps[chosen[-1]])
    return chosen


def pairwise_iou(sampled: Sequence[NDArray[np.bool_]]) -> NDArray[np.float32]:
    """Return the IoU of every two of n masks, float32 of shape (n, n); that of two empty ones is 1."""
    values = np.array(sampled, np.float32)
    common, areas = values @ values.T, values.sum(axis=1)
    either = areas[:, None] + areas - common
    return np.where(either > 0, common / np.maximum(either, 1), np.float32(1))


def _answer(
    candidate: Candidate, signs: Signs, samples: Sequence[Sample], made_for: ImageFormat, task: Task, output: Kind
) -> Answer:
    """Return an answer with what is shown of it, scored on images that have a truth of its kind."""
    program = candidate.program
    shown = tuple(program(sample.image) for sample in samples)
    scores = [
        float(task.score(task.judge(answer, task.target(task.arrays(sample)))))
        for answer, sample in zip(shown, samples, strict=True)
        if truth_as_kind(sample, output) is not None
    ]
    score = float(np.mean(scores)) if scores else None
    return Answer(candidate, program.settled().for_images(made_for), signs, shown, score)
