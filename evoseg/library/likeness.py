"""How much alike two tasks are: one number from what their images look like and what is sought in them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from evoseg.library.descriptors import Vector
from evoseg.library.task import STATISTICS, SolvedTask

EMBEDDING, IMAGES, MASKS = "embedding", *STATISTICS
"""Parts of a likeness: what images look like to a network, and statistics of images and of masks."""
LEVEL = 2.65
"""Deviations above unrelated tasks at which the likeness is one half: where tasks begin to be of one kind."""
SLOPE = 2.0
"""Of the likeness, per deviation."""
MASK_WEIGHT = 0.3
"""Deviations in what images look like that count as much as one in what is sought in them."""
ALIKE = 0.5
"""Likeness below which two tasks have little in common (docs/library.md)."""


@dataclass(frozen=True)
class Likeness:
    """How much alike two tasks are.

    Attributes
    ----------
    value : float
        From 0 to 1; below `ALIKE`, the tasks have little in common.
    parts : mapping of str to float
        Similarities from -1 to 1 that it is made of: "embedding" of what the images look like or, if they have no
        embedder in common, "images" of their statistics; and "masks" of what is sought, if both have masks.
    """

    value: float
    parts: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Norm:
    """What is usual among tasks that have nothing to do with each other, by one descriptor.

    Attributes
    ----------
    centre : float32 array of shape (dim,)
        What all have in common, which is not compared.
    usual, deviation : float
        Mean and standard deviation of the similarities of two tasks.
    """

    centre: Vector
    usual: float
    deviation: float

    def centred(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the directions in which vectors of shape (..., dim) differ from the centre; zeros if they do not."""
        away = vectors - self.centre
        return np.asarray(away / np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-9), np.float32)

    def similarity(self, one: Vector, other: Vector) -> float:
        """Return the similarity of two vectors, from -1 to 1."""
        here, there = self.centred(np.stack([one, other]))
        return float(here @ there)


def norm_of(vectors: Sequence[Vector], families: Sequence[str]) -> Norm:
    """Measure what is usual among tasks of different families.

    Raises
    ------
    ValueError
        If there are no two families.
    """
    norm = Norm(np.mean(vectors, axis=0, dtype=np.float32), 0.0, 1.0)
    directions = norm.centred(np.stack(vectors))
    named = np.array(families)
    found = (directions @ directions.T)[named[:, None] != named]
    if not found.size:
        raise ValueError("tasks of two families are needed to say what is usual")
    return Norm(norm.centre, float(found.mean()), max(float(found.std()), 1e-3))


def measure_norms(tasks: Iterable[SolvedTask]) -> dict[str, Norm]:
    """Return what is usual among some tasks, by descriptor; tasks that share their images count once."""
    distinct = list({task.hashes: task for task in tasks}.values())
    norms = {}
    for name in dict.fromkeys(name for task in distinct for name in task.described):
        having = [task for task in distinct if name in task.described]
        if len({task.card.family for task in having}) > 1:
            norms[name] = norm_of([task.described[name] for task in having], [task.card.family for task in having])
    return norms


def likeness(one: Mapping[str, Vector], other: Mapping[str, Vector], norms: Mapping[str, Norm]) -> Likeness:
    """Compare two tasks by their vectors, as `Description.described` and `SolvedTask.described` return them.

    What was not measured of both tasks, such as masks, counts neither for nor against them. Tasks of whose images
    nothing can be compared have a likeness of 0.

    Parameters
    ----------
    one : mapping of str to float32 array
        Of embedders, which stand in order of preference, only the first that both tasks have counts.
    norms : mapping of str to Norm
        By descriptor (`Library.norms`); what has none is not compared.
    """
    parts: dict[str, float] = {}
    above: dict[str, float] = {}
    for name, vector in one.items():
        part = _PARTS.get(name, EMBEDDING)
        norm, there = norms.get(name), other.get(name)
        if norm is None or there is None or len(there) != len(vector):
            continue
        if part in parts or (part == IMAGES and EMBEDDING in parts):
            continue
        parts[part] = norm.similarity(vector, there)
        above[part] = (parts[part] - norm.usual) / norm.deviation
    looks = above.get(EMBEDDING, above.get(IMAGES))
    if looks is None:
        return Likeness(0.0, parts)
    return Likeness(1 / (1 + exp(SLOPE * (LEVEL - looks - MASK_WEIGHT * above.get(MASKS, 0.0)))), parts)


_PARTS: Mapping[str, str] = {descriptor.id: name for name, descriptor in STATISTICS.items()}
