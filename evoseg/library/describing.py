"""Describe a task: measure its images and masks, so that it can be compared with others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evoseg.base.ahead import ahead
from evoseg.data.dataset import Dataset
from evoseg.data.survey import is_whole
from evoseg.evolve.evaluator import evenly_spaced
from evoseg.library.features import Vector
from evoseg.library.hashes import image_hash
from evoseg.library.images import image_statistics
from evoseg.library.masks import mask_statistics
from evoseg.library.task import STATISTICS

MOST_IMAGES = 12
"""Images that are looked at; more of them tell little more, and a search waits for it."""


class Embeds(Protocol):
    """Turns an image into a learned descriptor."""

    id: str
    dim: int

    def embed(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Return a vector of shape (dim,) and unit length for an image of shape (M, N, C)."""
        ...


@dataclass(frozen=True, eq=False)
class Description:
    """What is known of a task that is to be compared with others.

    Attributes
    ----------
    statistics : mapping of str to mapping of str to float
        As in `SolvedTask`; "masks" is missing where no mask is known.
    vectors : mapping of str to float32 array
        Of learned descriptors, by the embedder's id.
    channels : int
    """

    statistics: Mapping[str, Mapping[str, float]]
    vectors: Mapping[str, Vector]
    channels: int

    @property
    def described(self) -> dict[str, Vector]:
        """All vectors by the id of their descriptor."""
        found = dict(self.vectors)
        for name, values in self.statistics.items():
            vector = STATISTICS[name].vector(values)
            if vector is not None:
                found[STATISTICS[name].id] = vector
        return found


def describe(dataset: Dataset, stems: Sequence[str], embedder: Embeds | None = None) -> Description:
    """Measure some images of a dataset and, as far as they are labelled, their masks; strokes have no shape to tell.

    Parameters
    ----------
    stems : sequence of str
        At most `MOST_IMAGES` of them are looked at, evenly spaced.
    embedder : Embeds, optional
        Without one, there are no learned descriptors.

    Raises
    ------
    DatasetError
        If an image cannot be read.
    """
    samples = list(ahead(dataset.load, [stems[i] for i in evenly_spaced(len(stems), MOST_IMAGES)]))
    statistics = {"images": image_statistics([sample.image for sample in samples])}
    labelled = [(s.image, s.mask, s.known) for s in samples if s.mask is not None and is_whole(s.known)]
    if labelled:
        images, masks, known = zip(*labelled, strict=True)
        found = mask_statistics(images, masks, known)
        statistics |= {} if found is None else {"masks": found}
    vectors = {} if embedder is None else {embedder.id: _mean([embedder.embed(s.image) for s in samples])}
    return Description(statistics, vectors, len(dataset.channels))


def _mean(vectors: Sequence[Vector]) -> Vector:
    """Return the mean direction, in the precision in which it is kept."""
    mean = np.mean(vectors, axis=0)
    unit = mean / max(float(np.linalg.norm(mean)), 1e-9)
    return np.asarray(unit.astype(np.float16), np.float32)


def hashes_of(dataset: Dataset, stems: Sequence[str]) -> dict[str, str | None]:
    """Return the perceptual hashes of images by stem; they come from the survey, so no file is read for them."""
    return {stem: image_hash(dataset.survey.facts[stem].thumbnail) for stem in stems}
