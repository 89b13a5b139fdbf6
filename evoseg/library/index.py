"""Nearest neighbours among the vectors of one descriptor."""

from collections.abc import Iterable
from typing import final

import numpy as np

from evoseg.core.streams import stream
from evoseg.library.descriptors import Vector
from evoseg.library.likeness import Norm

SHORT = 128
"""Longer vectors are shortened by a random projection, which moves a similarity by about 0.09 (W. Johnson,
J. Lindenstrauss 1984): good enough for a shortlist, and ten times as fast with 100,000 tasks."""


@final
class VectorIndex:
    """Vectors of one descriptor in a flat inner-product index of FAISS, which searches all of them.

    Parameters
    ----------
    rows : iterable of (int, bytes)
        Numbers of tasks with their vectors, float32, little-endian. Vectors of another length than the norm's, which a
        third party may have brought under the same name, are never compared.
    norm : Norm
        What the vectors are compared by.
    """

    def __init__(self, rows: Iterable[tuple[int, bytes]], norm: Norm) -> None:
        import faiss

        dim = len(norm.centre)
        usable = [(number, vector) for number, vector in rows if len(vector) == 4 * dim]
        self._norm = norm
        self._numbers = np.array([number for number, _ in usable], np.int64)
        self._projection = None
        if dim > SHORT:
            drawn = stream(0, "index", dim).standard_normal((dim, SHORT), np.float32)
            self._projection = drawn / np.float32(SHORT**0.5)
        self._index = faiss.IndexFlatIP(min(dim, SHORT))
        vectors = np.frombuffer(b"".join(vector for _, vector in usable), "<f4").reshape(len(usable), dim)
        self._index.add(self._prepared(vectors))

    def __len__(self) -> int:
        return len(self._numbers)

    def nearest(self, vector: Vector, k: int) -> list[int]:
        """Return the numbers of the k nearest tasks, best first; of equal ones, the lower number first."""
        if not (k := min(k, len(self))):
            return []
        (similarities,), (rows,) = self._index.search(self._prepared(vector[None]), k)
        found = zip(self._numbers[rows].tolist(), similarities.tolist(), strict=True)
        return [number for number, _ in sorted(found, key=lambda entry: (-entry[1], entry[0]))]

    def _prepared(self, vectors: Vector) -> Vector:
        directions = self._norm.centred(vectors)
        return directions if self._projection is None else directions @ self._projection
