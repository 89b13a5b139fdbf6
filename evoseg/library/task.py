"""A solved task: what it was, what its images and objects are like, and the pipelines that solved it."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

from evoseg.base.kinds import Kind
from evoseg.library.features import Descriptor, Vector
from evoseg.library.images import IMAGES
from evoseg.library.masks import MASKS
from evoseg.metrics import binary, instances, points
from evoseg.pipeline import Pipeline, print_text

STATISTICS: Mapping[str, Descriptor] = {"images": IMAGES, "masks": MASKS}
"""The descriptors made of named numbers, by the names under which tasks hold these numbers."""
ROLES = ("best", "short", "cheap")
METRICS: Mapping[Kind, Collection[str]] = {
    Kind.MASK: binary.METRICS,
    Kind.LABELS: instances.METRICS,
    Kind.POINTS: points.METRICS,
}
"""What tasks that a library keeps are scored by, by the kind of value that their pipelines give."""
TASKS: Mapping[str, Kind] = {"binary": Kind.MASK, "instances": Kind.LABELS, "points": Kind.POINTS}
"""These kinds by the names that cards have for them."""


@dataclass(frozen=True)
class Card:
    """What a person may say about a task; entries may be empty.

    Attributes
    ----------
    title, modality, domain, foreground, family, source, license : str
        As in `dataset.yaml`. Tasks of one `family` come from one origin, such as one sensor.
    task : str
        One of `TASKS`.
    """

    title: str = ""
    modality: str = ""
    domain: str = ""
    foreground: str = ""
    task: str = "binary"
    family: str = ""
    source: str = ""
    license: str = ""


@dataclass(frozen=True)
class StoredPipeline:
    """One pipeline of a solved task.

    Attributes
    ----------
    role : str
        "best", "short" or "cheap".
    pipeline : Pipeline
    score : float
        By the task's metric: the mean over its images, each with the level that was best on the others.
    revisions : mapping of str to int
        Of its operators when it was scored.
    """

    role: str
    pipeline: Pipeline
    score: float
    revisions: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class SolvedTask:
    """What the library holds of one task.

    Attributes
    ----------
    name : str
        Short, for tables and files.
    card : Card
    metric : str
    n_images : int
        That the search has seen.
    channels : int
        Of each image.
    statistics : mapping of str to mapping of str to float
        The numbers of each descriptor in `STATISTICS`, as far as measured.
    vectors : mapping of str to float32 array of shape (dim,)
        Of learned descriptors, by the embedder's id; of unit length.
    pipelines : tuple of StoredPipeline
        The best one first.
    hashes : tuple of str
        Of the images that the search has seen (`evoseg.library.hashes`).
    origin : str
        Who solved it, how and when; not part of the identity.
    macros : mapping of str to str
        Definitions that a language model named on the way, by name; not part of the identity.
    """

    name: str
    card: Card
    metric: str
    n_images: int
    channels: int
    statistics: Mapping[str, Mapping[str, float]]
    vectors: Mapping[str, Vector]
    pipelines: tuple[StoredPipeline, ...]
    hashes: tuple[str, ...]
    origin: str = field(default="", compare=False)
    macros: Mapping[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def id(self) -> str:
        """Identity by content: the images that were seen, the metric, the pipelines and their scores."""
        digest = blake2b(digest_size=12)
        digest.update(f"{self.card.task}|{self.metric}|{self.channels}|{sorted(self.hashes)}".encode())
        for stored in self.pipelines:
            text = print_text(stored.pipeline.for_images(None), settled=False)
            digest.update(f"|{stored.role}|{stored.score:.4f}|{text}".encode())
        return digest.hexdigest()

    @property
    def best(self) -> StoredPipeline:
        """The best pipeline."""
        return self.pipelines[0]

    @property
    def output(self) -> Kind:
        """What its pipelines give."""
        return TASKS[self.card.task]

    @property
    def thickness(self) -> float | None:
        """Median thickness of the objects, px."""
        return self.statistics.get("masks", {}).get("thickness")

    @cached_property
    def masks(self) -> Mapping[str, float] | None:
        """Standardised features of the masks; None if they were not measured."""
        return MASKS.standard(self.statistics.get("masks", {}))

    @cached_property
    def described(self) -> Mapping[str, Vector]:
        """All vectors by the id of their descriptor, of named numbers and learned ones."""
        found = dict(self.vectors)
        for name, descriptor in STATISTICS.items():
            vector = descriptor.vector(self.statistics.get(name, {}))
            if vector is not None:
                found[descriptor.id] = vector
        return found


def slug(text: str) -> str:
    """Return a name of at most 60 lower-case letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60].strip("_") or "task"
