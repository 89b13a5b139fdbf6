"""Run stored pipelines on images without masks, and measure what can be told of their answers without a truth."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.datasets.imageformat import in_um
from evoseg.datasets.jitter import as_type, resize_nearest
from evoseg.library.descriptors import gray_of, value_range
from evoseg.library.retrieval import ENDINGS, ScaledPipeline, scale_between
from evoseg.library.task import SolvedTask
from evoseg.metrics.mask_scores import confusion, iou
from evoseg.metrics.object_scores import f_score, match_objects, match_points
from evoseg.operators.gray import otsu_level
from evoseg.pipeline import IMAGE, Pipeline, Step
from evoseg.pipeline.running import as_raw, iterate_steps
from evoseg.pipeline.structure import has_lengths

Array = NDArray[Any]
Masks = Sequence[NDArray[np.bool_]]

SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Factors of lengths that are tried, since the size of the objects is not known."""
LEAST_SHARE, MOST_SHARE = 2e-4, 0.9
"""Shares of marked pixels beyond which an answer counts as empty or full."""
POINT_PX = 3
"""Radius of the disc that stands for a point where shares of pixels are compared, px."""
MATCH_PX = 6.0
"""Distance up to which points of two answers are the same, px."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A stored pipeline as it could be used on new images.

    Attributes
    ----------
    scaled : ScaledPipeline
        Where it is from, and by which factor its lengths were multiplied.
    level : {"stored", "otsu", "share"}
        How its threshold is set: as it was stored; by Otsu's method; or so that as much is marked as in the solved
        task.
    program : Pipeline
    """

    scaled: ScaledPipeline
    level: str
    program: Pipeline


@dataclass(frozen=True, eq=False)
class Tried:
    """A candidate with its answers, one for each image."""

    candidate: Candidate
    answers: tuple[Array, ...]

    def masks(self, images: Sequence[Array]) -> list[NDArray[np.bool_]]:
        """Return the pixels that it marks; of points, small discs."""
        return [foreground_of(answer, image.shape) for answer, image in zip(self.answers, images, strict=True)]


def candidates_at_scales(
    sources: Iterable[SolvedTask], channels: int, output: Kind, pixel_size: str = ""
) -> Iterator[ScaledPipeline]:
    """Yield the stored pipelines that run on images with some channels, at all scales.

    Parameters
    ----------
    sources : iterable of SolvedTask
        Those that give neither the wanted kind of value nor foreground are left out.
    channels : int
        Of the images.
    output : Kind
        What is wanted; tasks of foreground get an ending.
    pixel_size : str
        Of the images, as `dataset.yaml` has it. Where that of a solved task is known, too, lengths are also brought to
        the same size in µm.
    """
    for source in sources:
        if source.output not in (output, Kind.MASK):
            continue
        alike_in_um = scale_between(in_um(pixel_size), in_um(source.card.pixel_size))
        scales = sorted({*SCALES, alike_in_um})
        ending = () if source.output is output else ENDINGS[output]
        for stored in source.pipelines:
            if stored.pipeline.networks or stored.pipeline.channels > channels:
                continue
            for scale in scales if has_lengths(stored.pipeline) else (1.0,):
                yield ScaledPipeline(source, stored, scale, ending)


def try_pipeline(scaled: ScaledPipeline, images: Sequence[Array]) -> list[Tried]:
    """Run a stored pipeline on images, with its threshold set in each way that it allows.

    Parameters
    ----------
    scaled : ScaledPipeline
    images : sequence of arrays of shape (M, N, C)

    Returns
    -------
    list of Tried
        At least one; programs that came out equal occur once.
    """
    program, place = scaled.program, _threshold_place(scaled.program)
    values = [_all_values(program, image) for image in images]
    tried = {program.digest: Tried(Candidate(scaled, "stored", program), tuple(v[len(program) - 1] for v in values))}
    if place is None:
        return list(tried.values())
    step = program.steps[place]
    counts = np.sum([np.bincount(v[step.inputs[0]].ravel(), minlength=256) for v in values], axis=0)
    for name, level in _levels(counts, str(step.params[1]), scaled.task).items():
        changed = replace(step, params=(level, *step.params[1:]))
        other = Pipeline((*program.steps[:place], changed, *program.steps[place + 1 :]))
        if other.digest not in tried:
            answers = tuple(_from(other.steps, place, known) for known in values)
            tried[other.digest] = Tried(Candidate(scaled, name, other), answers)
    return list(tried.values())


def _levels(counts: NDArray[np.int64], polarity: str, source: SolvedTask) -> dict[str, int]:
    """Return levels for a threshold by the histogram of what it is applied to, over all images."""
    levels = {"otsu": otsu_level(counts)}
    share = source.statistics.get("masks", {}).get("share")
    if share is not None:
        below = np.cumsum(counts) / counts.sum()
        marked = 1 - below if polarity == "bright" else below
        levels["share"] = int(np.argmin(np.abs(marked - share)))
    return levels


def _threshold_place(program: Pipeline) -> int | None:
    """Return where a program's only threshold is; None if it has none, or several that depend on each other."""
    places = [i for i, step in enumerate(program.steps) if step.operator == "threshold"]
    return places[0] if len(places) == 1 else None


def _all_values(program: Pipeline, image: Array) -> dict[int, Array]:
    """Return the values of all steps by place, and the image."""
    raw = as_raw(image)
    return {IMAGE: raw} | dict(iterate_steps(program.steps, range(len(program)), {IMAGE: raw}))


def _from(steps: Sequence[Step], place: int, values: Mapping[int, Array]) -> Array:
    """Return the last value of steps whose values before a place are known."""
    known = {i: value for i, value in values.items() if i < place}
    *_, (_, answer) = iterate_steps(steps, range(place, len(steps)), known)
    return answer


def foreground_of(answer: Array, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the pixels that an answer for an image of some shape marks; of points (float64), small discs."""
    if answer.dtype != np.float64:
        return np.asarray(answer > 0)
    discs = np.zeros(shape[:2], np.uint8)
    for row, col in np.rint(answer).astype(int).tolist():
        cv2.circle(discs, (col, row), POINT_PX, 1, -1)
    return discs > 0


def is_empty_or_full(masks: Masks) -> bool:
    """Return whether masks, taken together, mark next to nothing or next to everything."""
    share = sum(int(mask.sum()) for mask in masks) / sum(mask.size for mask in masks)
    return not LEAST_SHARE <= share <= MOST_SHARE


def agreement(one: Array, other: Array) -> float:
    """Return how far two answers for an image agree, 0 to 1: IoU of masks, F1 of objects or of points."""
    if one.dtype == np.bool_:
        return float(iou(confusion(one, other)))
    if one.dtype == np.float64:
        return float(f_score(match_points(one, other, MATCH_PX), 1.0))
    counts = match_objects(one, other)
    n_objects = counts[-1] + counts[-2]
    return float(2 * counts[0] / n_objects) if n_objects else 1.0


Change = Callable[[NDArray[np.float32], float, float, int], NDArray[np.float32]]
"""Takes an image, the values between which nearly all pixels of all images lie, and the image's number."""

NOISE = 0.02
"""Standard deviation of the noise, as a share of the range of values."""
GAMMA = 0.85
BLUR_PX = 0.8
ZOOM = 0.85
"""Factor of an image's sides."""


def _noise(image: NDArray[np.float32], low: float, high: float, number: int) -> NDArray[np.float32]:
    drawn = stream(0, "reuse", number).standard_normal(image.shape, np.float32)
    return image + np.float32(NOISE * (high - low)) * drawn


def _gamma(image: NDArray[np.float32], low: float, high: float, number: int) -> NDArray[np.float32]:
    unit = np.clip((image - low) / (high - low), 0, None)
    return np.asarray(low + (high - low) * unit**GAMMA, np.float32)


def _blur(image: NDArray[np.float32], low: float, high: float, number: int) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), BLUR_PX), np.float32).reshape(image.shape)


def _zoom(image: NDArray[np.float32], low: float, high: float, number: int) -> NDArray[np.float32]:
    rows, cols = (max(1, round(n * ZOOM)) for n in image.shape[:2])
    small = cv2.resize(image, (cols, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).reshape(rows, cols, image.shape[2])


DISTURBANCES: Mapping[str, Change] = {"noise": _noise, "gamma": _gamma, "blur": _blur, "zoom": _zoom}
"""Small changes of images that should not change an answer."""


def disturb(images: Sequence[Array], change: Change) -> list[Array]:
    """Return changed images of the same type."""
    low, high = map(float, value_range([np.asarray(image, np.float32) for image in images]))
    changed = (change(np.asarray(image, np.float32), low, high, i) for i, image in enumerate(images))
    return [as_type(values, image.dtype) for values, image in zip(changed, images, strict=True)]


def resize_answer(answer: Array, small: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """Return the answer for an image whose shape was `small` as one for an image of another shape."""
    if small[:2] == shape[:2]:
        return answer
    if answer.dtype == np.float64:
        return np.asarray((answer + 0.5) * (np.array(shape[:2]) / small[:2]) - 0.5)
    return resize_nearest(answer, (shape[1], shape[0]))


class Stability:
    """How much answers change when some images are disturbed a little."""

    def __init__(self, images: Sequence[Array]) -> None:
        self._images = images
        self._disturbed = [disturb(images, change) for change in DISTURBANCES.values()]

    def of(self, program: Pipeline) -> float:
        """Return the mean agreement of a program's answers with those for disturbed images, 0 to 1."""
        answers = [program(image) for image in self._images]
        return float(np.mean([self._agreements(program, answers, images) for images in self._disturbed]))

    def _agreements(self, program: Pipeline, answers: Sequence[Array], disturbed: Sequence[Array]) -> list[float]:
        back = (
            resize_answer(program(there), there.shape, here.shape)
            for there, here in zip(disturbed, self._images, strict=True)
        )
        return [agreement(one, other) for one, other in zip(answers, back, strict=True)]


class Outlines:
    """How sharply answers are outlined: the steepness of the images along outlines against that everywhere."""

    def __init__(self, images: Sequence[Array]) -> None:
        floats = [np.asarray(image, np.float32) for image in images]
        low, high = value_range(floats)
        self._steep = [_steepness((gray_of(image) - low) / (high - low)) for image in floats]

    def of(self, masks: Masks) -> float:
        """Return the ratio as a mean over images; near 1 where outlines follow nothing in the images."""
        ratios = []
        for mask, steep in zip(masks, self._steep, strict=True):
            inner = cv2.erode(mask.view(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
            edge = mask & ~inner
            ratios.append(float(steep[edge].mean() / (steep.mean() + 1e-6)) if edge.any() else 0.0)
        return float(np.mean(ratios))


def _steepness(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    smooth = cv2.GaussianBlur(plane, (0, 0), 1.0)
    return np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
