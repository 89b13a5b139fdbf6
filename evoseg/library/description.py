"""Describe a task: measure its images and masks, so that it can be compared with others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import shake_256
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import prefetch
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.survey import THUMBNAIL, is_whole
from evoseg.evolve.evaluation.evaluator import evenly_spaced
from evoseg.library.descriptors import PATCH, Vector, image_statistics, mask_statistics
from evoseg.library.task import SolvedTask, all_vectors

if TYPE_CHECKING:
    from evoseg.networks.embedding import Embedder

MOST_IMAGES = 12
"""Largest number of images that are measured; more say little more, and a search waits for them."""
LEAST_IMAGES = 4
"""Number of images that are measured however large they are, if there are so many."""
MOST_PIXELS = 4 << 20
"""Pixels of further images that are measured; of each image, statistics look at `PATCH` x `PATCH` at most."""


@dataclass(frozen=True, eq=False)
class Description:
    """What a task is compared by.

    Attributes
    ----------
    statistics : mapping of str to mapping of str to float
        As in `SolvedTask`; "masks" is missing where no mask is known.
    vectors : mapping of str to float32 array
        Of learned descriptors, by the embedder's id, in order of preference.
    channels : int
    """

    statistics: Mapping[str, Mapping[str, float]]
    vectors: Mapping[str, Vector]
    channels: int

    @property
    def thickness(self) -> float | None:
        """Median thickness of the objects, px; None if no mask is known."""
        return self.statistics.get("masks", {}).get("thickness")

    @cached_property
    def described(self) -> Mapping[str, Vector]:
        """All vectors by the id of their descriptor, of statistics and learned ones."""
        return all_vectors(self.statistics, self.vectors)


def description_of(task: SolvedTask) -> Description:
    """Return the description that a solved task was stored with."""
    return Description(task.statistics, task.vectors, task.channels)


def describe(dataset: Dataset, stems: Sequence[str], embedders: "Sequence[Embedder]" = ()) -> Description:
    """Measure some images of a dataset and, as far as they are labelled, their masks; strokes have no shape to tell.

    Parameters
    ----------
    stems : sequence of str
        At most `MOST_IMAGES` of them are looked at, evenly spaced; of large images, `LEAST_IMAGES`.
    embedders : sequence of Embedder
        In order of preference; without one, images are compared by their statistics only.

    Raises
    ------
    DatasetError
        If an image cannot be read.
    """
    samples = list(prefetch(dataset.load, some_of(dataset, stems)))
    statistics = {"images": image_statistics([sample.image for sample in samples])}
    labelled = [(s.image, s.mask, s.known) for s in samples if s.mask is not None and is_whole(s.known)]
    if labelled:
        images, masks, known = zip(*labelled, strict=True)
        found = mask_statistics(images, masks, known)
        statistics |= {} if found is None else {"masks": found}
    vectors = {embedder.id: mean_direction([embedder.embed(s.image) for s in samples]) for embedder in embedders}
    return Description(statistics, vectors, len(dataset.channels))


def some_of(dataset: Dataset, stems: Sequence[str]) -> list[str]:
    """Return the images that are measured: evenly spaced, and the fewer the larger they are."""
    shapes = (dataset.survey.facts[stem].shape for stem in stems)
    pixels = np.median([min(rows * columns, PATCH**2) for rows, columns, *_ in shapes])
    n = min(max(int(MOST_PIXELS / pixels), LEAST_IMAGES), MOST_IMAGES)
    return [stems[i] for i in evenly_spaced(len(stems), n)]


def mean_direction(vectors: Sequence[Vector]) -> Vector:
    """Return the mean direction, in the precision in which it is stored."""
    mean = np.mean(vectors, axis=0)
    unit = mean / max(float(np.linalg.norm(mean)), 1e-9)
    return np.asarray(unit.astype(np.float16), np.float32)


def hash_images(dataset: Dataset, stems: Sequence[str]) -> dict[str, str | None]:
    """Return the perceptual hashes of images by stem; they come from the survey, so no file is read for them."""
    return {stem: image_hash(dataset.survey.facts[stem].thumbnail) for stem in stems}


BITS = 256
SAME = 16
"""Bits in which two pictures of one scene differ at most: about a correlation of 0.98 of their thumbnails, where
`evoseg.datasets.splits` begins to call images near-duplicates. Unlike images differ in some 50 to 130."""


def _planes() -> NDArray[np.float32]:
    """Return hyperplanes that no version of a library can change: signs that are bits of a hash."""
    signs = np.unpackbits(np.frombuffer(shake_256(b"evoseg hash 1").digest(BITS * THUMBNAIL**2 // 8), np.uint8))
    return signs.reshape(BITS, THUMBNAIL**2).astype(np.float32) * 2 - 1


_PLANES = _planes()


def image_hash(thumbnail: NDArray[np.float32]) -> str | None:
    """Return the hash of an image by its thumbnail (M. Charikar, STOC 2002): near pictures differ in few bits.

    Parameters
    ----------
    thumbnail : float32 array of shape (THUMBNAIL ** 2,)
        As `evoseg.datasets.survey.thumbnail` makes it.

    Returns
    -------
    str of BITS / 4 hexadecimal digits, or None for an image without structure, which could be any
    """
    if not thumbnail.any():
        return None
    return np.packbits(_PLANES @ thumbnail > 0).tobytes().hex()


def find_seen(test: Mapping[str, str | None], seen: Iterable[str]) -> str | None:
    """Return the first of some images, by stem, that is among the pictures that a task has seen; None if none is."""
    known = [bytes.fromhex(digits) for digits in seen]
    if not known:
        return None
    bits = np.unpackbits(np.frombuffer(b"".join(known), np.uint8).reshape(len(known), -1), axis=1)
    for stem, digits in test.items():
        if digits is not None:
            other = np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8))
            if int((bits != other).sum(axis=1).min()) <= SAME:
                return stem
    return None
