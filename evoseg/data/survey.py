"""What the pixels of a dataset say: one pass over its files, with every fault noted and none raised."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.base.ahead import ahead
from evoseg.base.errors import DatasetError
from evoseg.base.notes import Note
from evoseg.data.agreement import channels_of, known_of, mismatches, parts_of
from evoseg.data.imageformat import Look, look
from evoseg.data.meaning import INSTANCES, Decision
from evoseg.data.objects import Tally, tally
from evoseg.data.sources import Part, Source

WHOLE = 0.5
"""Share of known pixels from which a mask shows whole objects; below it, strokes."""
THUMBNAIL = 32
"""Side in pixels of the small picture by which near-duplicates are recognised."""


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """What one image and its mask amount to.

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
    look : Look
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
    """

    stem: str
    shape: tuple[int, int]
    dtype: str
    low: float
    high: float
    digests: dict[str, str]
    look: Look
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
    """All facts of a dataset, and the faults that kept some images from having any.

    Attributes
    ----------
    channels : tuple of str
        Empty if the images do not agree or none can be read.
    facts : dict of str to ImageFacts
        By stem, of the images that could be read.
    faults : tuple of Note, or str for a message of several lines
    decision : Decision
        What the masks mean; if that is unclear, no mask was read, and `faults` says so.
    """

    channels: tuple[str, ...]
    facts: dict[str, ImageFacts]
    faults: tuple[str, ...]
    decision: Decision

    @property
    def equal_channels(self) -> tuple[tuple[str, ...], ...]:
        """Names of the channels that are equal in all images, group by group; grey images among RGB agree with any."""
        every = [facts.firsts for facts in self.facts.values() if len(facts.firsts) > 1 and self.channels]
        width = max(map(len, every), default=0)
        groups: dict[tuple[int, ...], list[str]] = {}
        for channel in range(width):
            first = tuple(firsts[channel] if channel < len(firsts) else channel for firsts in every)
            groups.setdefault(first, []).append(self.channels[channel])
        return tuple(tuple(names) for names in groups.values() if len(names) > 1)

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
    faults: list[str] = [decision.unclear] if decision.unclear else []
    for found, wrong in ahead(partial(_look, source), source.stems):
        faults += wrong
        if found:
            facts[found.stem] = found
    channels: tuple[str, ...] = ()
    try:
        channels = channels_of(source, tuple(facts)) if facts else ()
    except DatasetError as error:
        faults.append(Note.of(error, ""))
    return Survey(channels, facts, tuple(faults), decision)


def _look(source: Source, stem: str) -> tuple[ImageFacts | None, list[Note]]:
    """Return the facts of one image, or none, and its faults."""
    faults: list[Note] = []
    parts = dict(_readable(source, stem, faults))
    if "image" not in parts:
        return None, faults
    wrong = mismatches(source, stem, parts)
    return (None if wrong else _facts(source, stem, parts)), faults + wrong


def _readable(source: Source, stem: str, faults: list[Note]) -> Iterator[tuple[str, Part]]:
    for part in parts_of(source, stem):
        if part == "mask" and source.decision.unclear:
            continue
        try:
            yield part, source.read(part, stem)
        except DatasetError as error:
            faults.append(Note.of(error, source.where(part, stem)))


def _facts(source: Source, stem: str, parts: Mapping[str, Part]) -> ImageFacts:
    image = parts["image"].array
    arrays = [part.array for name, part in parts.items() if part.names and name != "moving"]
    dtype = str(np.result_type(*(part.array for name, part in parts.items() if part.names)))
    facts = ImageFacts(
        stem=stem,
        shape=(image.shape[0], image.shape[1]),
        dtype=dtype,
        look=look(arrays, dtype, parts["image"].labels),
        low=float(image.min()),
        high=float(image.max()),
        digests={name: part.digest for name, part in parts.items()},
        thumbnail=thumbnail(image),
        n_known=image.shape[0] * image.shape[1],
        notes=tuple(Note(part.where, f"{note}.", note) for part in parts.values() for note in part.notes),
        firsts=_firsts(image),
    )
    known = known_of(parts)
    known = np.ones(facts.shape, bool) if known is None else known
    facts = replace(facts, n_known=int(known.sum()))
    if "moving" in parts:
        # Pairs of one scene look alike; what is to be found, the shift, is another.
        facts = replace(facts, thumbnail=np.zeros_like(facts.thumbnail))
        return replace(facts, labelled=True, n_foreground=1) if "shift" in parts else facts
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
