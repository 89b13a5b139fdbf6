"""Read all files of a dataset once: statistics of each image and mask, and the task that the masks suggest."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import prefetch
from evoseg.core.errors import DatasetError
from evoseg.core.notes import Note
from evoseg.core.transforms import TRANSFORMS
from evoseg.datasets.card import DatasetCard
from evoseg.datasets.imageformat import ImageTraits, image_traits, same_size, sides_in_um
from evoseg.datasets.meaning import BINARY, CLASSES, INSTANCES, Decision
from evoseg.datasets.reading import HIGHEST_CLASS, MOST_CLASSES
from evoseg.datasets.sources import Part, Source, channels_of, known_of, mismatches, parts_of

_CORE = 0.65
"""Share of an object's largest half-width: where more than this is left on two sides of a neck, two objects touch."""
_MOST_PARTS = 6
"""A clump of more parts than this is not counted as touching objects."""
_COMPACT = 2.5
"""Area of an object, by that of the largest disk in it, up to which it is compact: 1 for a disk, 2 for an ellipse."""


@dataclass(frozen=True)
class Tally:
    """Counts of the values and touching objects of a mask.

    Attributes
    ----------
    n_values : int
        Distinct values above 0.
    n_touching : int
        Objects that touch another: of a label image by its numbers, of a mask by necks between round parts.
    values : tuple of int
        The values above 0, if they may be classes: few whole numbers up to 255. Else empty.
    """

    n_values: int
    n_touching: int
    values: tuple[int, ...] = ()


def objects_of(values: NDArray[Any]) -> NDArray[np.int32]:
    """Return objects numbered from 1: by the values above 0, or by what hangs together if there is only one.

    Parameters
    ----------
    values : array of shape (M, N)
        Of a mask file.

    Returns
    -------
    int32 array of shape (M, N)
    """
    import cv2

    foreground = values > 0
    found, number = np.unique(values[foreground], return_inverse=True)
    if len(found) == 1:
        labels: NDArray[Any] = cv2.connectedComponents(foreground.view(np.uint8), ltype=cv2.CV_32S)[1]
        return labels
    result = np.zeros(values.shape, np.int32)
    result[foreground] = number + 1
    return result


def tally(values: NDArray[Any]) -> Tally:
    """Count the values and the touching objects of a mask of shape (M, N)."""
    foreground = values > 0
    found = np.unique(values[foreground])
    classes = _classes(found)
    if len(found) < 2:
        return Tally(len(found), _necks(foreground) if len(found) else 0, classes)
    touching = [
        np.stack([a[(a != b) & (a > 0) & (b > 0)], b[(a != b) & (a > 0) & (b > 0)]])
        for a, b in ((values[:, :-1], values[:, 1:]), (values[:-1], values[1:]))
    ]
    n_touching = len(np.unique(np.concatenate(touching, axis=1)))
    return Tally(len(found), n_touching, classes)


def _classes(found: NDArray[Any]) -> tuple[int, ...]:
    """Return values if they may be classes, else ()."""
    if len(found) > MOST_CLASSES or (found > HIGHEST_CLASS).any() or (found != np.round(found)).any():
        return ()
    return tuple(int(value) for value in found)


def _necks(mask: NDArray[np.bool_]) -> int:
    """Count compact parts that hang together over necks; networks and other long things have none."""
    import cv2

    found: tuple[int, Any] = cv2.connectedComponents(mask.view(np.uint8), ltype=cv2.CV_32S)
    n, labels = found
    # Without background, OpenCV answers with a huge number.
    width = np.minimum(cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5), np.float32(sum(mask.shape)))
    widest = np.zeros(n, np.float32)
    np.maximum.at(widest, labels.ravel(), width.ravel())
    cores = mask & (width > _CORE * np.take(widest, labels)) & (np.take(widest, labels) > 2)
    n_cores, numbered = cv2.connectedComponents(cores.astype(np.uint8), ltype=cv2.CV_32S)
    owner = np.zeros(n_cores, np.intp)
    owner[numbered.ravel()] = np.where(cores, labels, 0).ravel()
    parts = np.bincount(owner[1:], minlength=n)
    areas = np.bincount(labels.ravel(), minlength=n)
    compact = areas <= _COMPACT * np.maximum(parts, 1) * np.pi * np.maximum(widest, 1) ** 2
    compact[0] = False
    # Where few objects are single and compact, as in a network of lines, a neck means nothing.
    if (compact & (parts == 1)).sum() < 0.5 * (n - 1):
        return 0
    return int(parts[compact & (parts > 1) & (parts <= _MOST_PARTS)].sum())


WHOLE = 0.5
"""Share of known pixels from which a mask shows whole objects; below it, strokes."""
THUMBNAIL = 32
"""Side in pixels of the small picture by which near-duplicates are recognised."""


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """Statistics of one image and its mask.

    Attributes
    ----------
    stem : str
    shape : tuple of int
        (M, N).
    dtype : str
    low, high : float
        Range of the image's values.
    digests : dict of str to str
        sha256 of each part.
    traits : ImageTraits
        What it contributes to the format of all images.
    thumbnail : float32 array of shape (THUMBNAIL ** 2,)
        Unit length; smooth lighting removed. All zero for an image without structure.
    labelled : bool
    n_known, n_foreground : int
        Pixels; `n_foreground` counts known ones, or points where there is no mask.
    strokes : bool
        Whether the mask is scribbles.
    whole : bool
        Whether so much is known that the mask shows whole objects.
    areas : int array of shape (n,)
        Of the objects, px; of whole ones only.
    tally : Tally or None
        What the mask's values look like; None without a mask.
    notes : tuple of Note
        What was changed on reading, or looks odd.
    firsts : tuple of int
        Of each channel of the image itself, the first channel that it equals in every pixel.
    pixel_size : str
        As the file says it, in the form of `dataset.yaml`; "" if it does not.
    """

    stem: str
    shape: tuple[int, int]
    dtype: str
    low: float
    high: float
    digests: dict[str, str]
    traits: ImageTraits
    thumbnail: NDArray[np.float32]
    labelled: bool = False
    n_known: int = 0
    n_foreground: int = 0
    strokes: bool = False
    whole: bool = True
    areas: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    tally: Tally | None = None
    notes: tuple[Note, ...] = ()
    firsts: tuple[int, ...] = ()
    pixel_size: str = ""

    @property
    def own_digest(self) -> str:
        """Checksum of the picture by which an image is recognised; many pairs may share their fixed image."""
        return self.digests.get("moving", self.digests["image"])

    @property
    def partly(self) -> bool:
        """Whether strokes alone are known of the image, so that a score on it says nothing of its other pixels."""
        return self.strokes or not self.whole


@dataclass(frozen=True)
class Survey:
    """Statistics of all images of a dataset, and the problems of those that cannot be read.

    Attributes
    ----------
    channels : tuple of str
        Empty if the images do not agree or none can be read.
    facts : dict of str to ImageFacts
        By stem, of the images that could be read.
    problems : tuple of Note, or str for a message of several lines
    decision : Decision
        What the masks mean; if that is unclear, no mask was read, and `problems` says so.
    """

    channels: tuple[str, ...]
    facts: dict[str, ImageFacts]
    problems: tuple[str, ...]
    decision: Decision

    @property
    def equal_channels(self) -> tuple[tuple[int, ...], ...]:
        """Places of the channels that are equal in all images, group by group; grey images among RGB agree with any."""
        every = [facts.firsts for facts in self.facts.values() if len(facts.firsts) > 1 and self.channels]
        width = max(map(len, every), default=0)
        groups: dict[tuple[int, ...], list[int]] = {}
        for channel in range(width):
            first = tuple(firsts[channel] if channel < len(firsts) else channel for firsts in every)
            groups.setdefault(first, []).append(channel)
        return tuple(tuple(places) for places in groups.values() if len(places) > 1)

    @property
    def digest(self) -> str:
        """One checksum over all parts of all images."""
        lines = [
            f"{stem}|{part}|{digest}\n"
            for stem, facts in sorted(self.facts.items())
            for part, digest in sorted(facts.digests.items())
        ]
        return sha256("".join(lines).encode()).hexdigest()


def survey(source: Source) -> Survey:
    """Read every file of a source once."""
    facts: dict[str, ImageFacts] = {}
    decision = source.decision
    problems: list[str] = [decision.unclear] if decision.unclear else []
    for found, wrong in prefetch(partial(_look, source), source.stems):
        problems += wrong
        if found:
            facts[found.stem] = found
    channels: tuple[str, ...] = ()
    try:
        channels = channels_of(source, tuple(facts)) if facts else ()
    except DatasetError as error:
        problems.append(Note.of(error, ""))
    return Survey(channels, facts, tuple(problems), decision)


def common_pixel_size(found: Survey) -> str:
    """Return the size of pixels on which the files agree, within 1 %; "" if they do not, or do not all say it."""
    sizes = [fact.pixel_size for fact in found.facts.values()]
    if not sizes or not all(sizes):
        return ""
    sides = [sides_in_um(size) for size in sizes]
    first = sides[0]
    return sizes[0] if first and all(other and same_size(other, first, within=0.01) for other in sides) else ""


def _look(source: Source, stem: str) -> tuple[ImageFacts | None, list[Note]]:
    """Return the facts of one image, or none, and its problems."""
    problems: list[Note] = []
    parts = dict(_readable(source, stem, problems))
    if "image" not in parts:
        return None, problems
    wrong = mismatches(parts)
    return (None if wrong else _facts(source, stem, parts)), problems + wrong


def _readable(source: Source, stem: str, problems: list[Note]) -> Iterator[tuple[str, Part]]:
    for part in parts_of(source, stem):
        if part == "mask" and source.decision.unclear:
            continue
        try:
            yield part, source.read(part, stem)
        except DatasetError as error:
            problems.append(Note.of(error, source.where(part, stem)))


def _facts(source: Source, stem: str, parts: Mapping[str, Part]) -> ImageFacts:
    image = parts["image"].array
    arrays = [part.array for name, part in parts.items() if part.names and name != "moving"]
    dtype = str(np.result_type(*(part.array for name, part in parts.items() if part.names)))
    facts = ImageFacts(
        stem=stem,
        shape=(image.shape[0], image.shape[1]),
        dtype=dtype,
        traits=image_traits(arrays, dtype, parts["image"].labels),
        low=float(image.min()),
        high=float(image.max()),
        digests={name: part.digest for name, part in parts.items()},
        thumbnail=thumbnail(image),
        n_known=image.shape[0] * image.shape[1],
        notes=tuple(Note(part.where, f"{note}.", note) for part in parts.values() for note in part.notes),
        firsts=_firsts(image),
        pixel_size=parts["image"].pixel_size,
    )
    known = known_of(parts)
    known = np.ones(facts.shape, bool) if known is None else known
    facts = replace(facts, n_known=int(known.sum()))
    if "moving" in parts:
        # Pairs of one scene look alike; what is to be found, the transform, is another.
        facts = replace(facts, thumbnail=np.zeros_like(facts.thumbnail))
        return replace(facts, labelled=True, n_foreground=1) if parts.keys() & {*TRANSFORMS} else facts
    if "mask" not in parts and source.decision.unclear:
        return replace(facts, labelled=source.has("mask", stem), whole=False)
    if "mask" not in parts:
        return replace(facts, labelled=True, n_foreground=len(parts["points"].array)) if "points" in parts else facts
    values = parts["mask"].array
    found = tally(np.where(known, values, 0))
    numbered = (source.card.task or source.decision.meaning.task) == INSTANCES and found.n_values > 1
    foreground = (values > 0) & known
    n_foreground = int(foreground.sum())
    facts = replace(facts, labelled=True, n_foreground=n_foreground, tally=found, strokes=parts["mask"].strokes)
    if not is_whole(known):
        return replace(facts, whole=False)
    return replace(facts, areas=_areas(values, foreground, numbered))


def _firsts(image: NDArray[Any]) -> tuple[int, ...]:
    """Return the first channel that each channel equals in every pixel."""
    channels = [image[:, :, i] for i in range(image.shape[2])]
    return tuple(
        next(i for i in range(j + 1) if i == j or np.array_equal(channels[i], channels[j], equal_nan=True))
        for j in range(len(channels))
    )


def is_whole(known: NDArray[np.bool_] | None) -> bool:
    """Return whether so much of an image is known that its mask shows whole objects."""
    return known is None or bool(known.mean() >= WHOLE)


def _areas(values: NDArray[Any], foreground: NDArray[np.bool_], numbered: bool) -> NDArray[np.int64]:
    """Return the areas of the objects: of the values if they number objects, else of what hangs together."""
    if numbered:
        return np.unique(values[foreground], return_counts=True)[1].astype(np.int64)
    import cv2

    found = cv2.connectedComponentsWithStats(foreground.astype(np.uint8), connectivity=8)[2]
    return np.asarray(found[1:, cv2.CC_STAT_AREA], np.int64)


def thumbnail(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return a small picture of the image's structure, as a vector of unit length.

    The product of two of them is their correlation. A quadratic surface is taken off first: under the same lamp, unlike
    images would look alike.

    Parameters
    ----------
    image : array of shape (M, N, C)

    Returns
    -------
    float32 array of shape (THUMBNAIL ** 2,), all zero if the image has no structure
    """
    import cv2

    # Channel by channel: numpy's mean along an axis of three takes six times as long.
    gray = image[:, :, 0].astype(np.float32)
    for channel in range(1, image.shape[2]):
        gray += image[:, :, channel]
    gray /= np.float32(image.shape[2])
    small = cv2.resize(gray, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float64)
    x, y = np.meshgrid(*[np.linspace(-1, 1, THUMBNAIL)] * 2)
    surface = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    rest = small.ravel() - surface @ np.linalg.lstsq(surface, small.ravel(), rcond=None)[0]
    length = np.linalg.norm(rest)
    # Rounding leaves a few millionths of the values on an image without structure.
    if length <= 1e-5 * max(float(np.abs(small).max()), 1e-30) * THUMBNAIL:
        return np.zeros(THUMBNAIL**2, np.float32)
    return np.asarray(rest / length, np.float32)


TASKS = (BINARY, INSTANCES, "points", "registration", CLASSES)
"""Tasks that a folder can ask for."""

_TOUCHING = 0.1
"""Share of the objects from which a warning is due that they touch."""
_TYPICAL = 0.5
"""Share beyond which necks in masks are no sign of touching."""


@dataclass(frozen=True)
class InferredTask:
    """The task of a dataset, and how it was inferred.

    Attributes
    ----------
    task : str
        One of `TASKS`.
    why : str
        What says so, for people.
    certain : bool
        False if it was read off the pixels.
    """

    task: str
    why: str
    certain: bool = True


def infer_task(found: Survey, card: DatasetCard) -> InferredTask:
    """Return the task: what the card says, else what the truths are."""
    labelled = [fact for fact in found.facts.values() if fact.labelled]
    if card.task in TASKS:
        return InferredTask(card.task, "dataset.yaml says so")
    if card.classes:
        return InferredTask(CLASSES, "dataset.yaml names classes")
    tallies = [fact.tally for fact in labelled if fact.tally is not None]
    if any("moving" in fact.digests for fact in found.facts.values()):
        return InferredTask("registration", "the folder holds pairs of images")
    if not tallies and labelled:
        return InferredTask("points", "the labels are points")
    strokes = sorted({value for fact in labelled if fact.strokes and fact.tally for value in fact.tally.values})
    if len(strokes) > 1:
        return InferredTask(CLASSES, f"strokes mark the classes {', '.join(map(str, strokes))}", certain=False)
    return InferredTask(found.decision.meaning.task, found.decision.why, found.decision.certain)


def warn_of_touching(facts: Mapping[str, ImageFacts], task: str) -> str:
    """Return a warning if many objects of binary masks touch, so that foreground alone would join them; else ""."""
    found = [(fact, fact.tally) for fact in facts.values() if fact.tally is not None]
    n_touching = sum(tally.n_touching for _, tally in found)
    n_objects = sum(max(len(fact.areas), tally.n_touching) for fact, tally in found)
    numbered = any(tally.n_values > 1 for _, tally in found)
    if task != "binary" or n_touching < max(3, _TOUCHING * n_objects):
        return ""
    if not numbered and n_touching > _TYPICAL * n_objects:
        return ""  # necks are how these objects are made
    if numbered:
        how = "The masks number them: take --task instances."
    else:
        how = "To separate them, number the objects in the masks, and take --task instances."
    return f"about {n_touching} of {n_objects} objects touch another, and as foreground they stay joined. {how}"
