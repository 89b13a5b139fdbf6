"""A solved task: what it was, what its images and objects are like, and the pipelines that solved it."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

from evoseg.core.kinds import Kind
from evoseg.library.descriptors import IMAGES, MASKS, Descriptor, Vector
from evoseg.metrics import METRICS as ALL_METRICS
from evoseg.pipeline import Pipeline, print_text

STATISTICS: Mapping[str, Descriptor] = {"images": IMAGES, "masks": MASKS}
"""Descriptors made of named numbers, by the key under which a task stores the numbers."""
ROLES = ("best", "short", "cheap")
METRICS: Mapping[Kind, Collection[str]] = {kind: ALL_METRICS[kind] for kind in (Kind.MASK, Kind.LABELS, Kind.POINTS)}
"""Metrics by which stored tasks are scored, by the kind of value that their pipelines return."""
TASKS: Mapping[str, Kind] = {"binary": Kind.MASK, "instances": Kind.LABELS, "points": Kind.POINTS}
"""Kinds of value by the names of tasks in cards."""


@dataclass(frozen=True)
class Card:
    """What people say about a task; entries may be empty.

    Attributes
    ----------
    title, modality, domain, foreground, family, source, license, pixel_size : str
        As in `dataset.yaml`; the pixel size may also be from the image files. Tasks of one `family` come from one
        origin, such as one sensor.
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
    pixel_size: str = ""


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
    """A solved task as the library stores it.

    Attributes
    ----------
    name : str
        Short name for tables and files.
    card : Card
    metric : str
    n_images : int
        Number of images that the search used.
    channels : int
        Of each image.
    statistics : mapping of str to mapping of str to float
        The numbers of each descriptor in `STATISTICS`, as far as measured.
    vectors : mapping of str to float32 array of shape (dim,)
        Of learned descriptors, by the embedder's id, in order of preference; of unit length.
    pipelines : tuple of StoredPipeline
        The best one first.
    hashes : tuple of str
        Of the images that the search has seen (`evoseg.library.description`).
    origin : str
        Who solved the task, how and when; not part of its id.
    macros : mapping of str to str
        Definitions by a language model, by name; not part of the id.
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
        """Kind of value that its pipelines return."""
        return TASKS[self.card.task]

    @property
    def thickness(self) -> float | None:
        """Median thickness of the objects, px."""
        return self.statistics.get("masks", {}).get("thickness")

    @cached_property
    def described(self) -> Mapping[str, Vector]:
        """All vectors by the id of their descriptor, of statistics and learned ones."""
        return all_vectors(self.statistics, self.vectors)


def all_vectors(statistics: Mapping[str, Mapping[str, float]], vectors: Mapping[str, Vector]) -> dict[str, Vector]:
    """Return learned vectors and those of statistics, by the id of their descriptor."""
    found = dict(vectors)
    for name, values in statistics.items():
        vector = STATISTICS[name].vector(values)
        if vector is not None:
            found[STATISTICS[name].id] = vector
    return found


def are_related(one: SolvedTask, other: SolvedTask) -> bool:
    """Return whether two tasks have one origin: transfer between them says little of transfer between others."""
    return one.id == other.id or (one.card.family != "" and one.card.family == other.card.family)


def make_slug(text: str) -> str:
    """Return a name of at most 60 lower-case letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60].strip("_") or "task"
