"""Find near vectors among very many: a flat inner-product index, kept in a file that is only ever a cache.

The database is the truth. An index file is used if it is whole and its vectors are those that the database had when
the index was written; what was added since is read from the database and searched beside it. In any other case the
index is made anew, and the answers are the same.
"""

import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from evoseg.base.writing import whole_file
from evoseg.library.features import Vector
from evoseg.store.library import DIGEST, LibraryStore, VectorState, combined, vector_digest

logger = logging.getLogger(__name__)

_MAGIC = b"EVOINDX1"
_HEAD = struct.Struct("<8s16sqqqq32s")
"""Magic; digest and count of the vectors in the database; number of the last task; vectors and their dimension here;
checksum of all that follows."""
TAIL = 0.1
"""Share of vectors that may be searched beside the index before it is written anew."""
LEAST_TAIL = 1000


@dataclass(frozen=True, eq=False)
class _Held:
    """Vectors with the numbers of their tasks, and the state that the database had with them."""

    numbers: NDArray[np.int64]
    matrix: NDArray[np.float32]
    last: int
    state: VectorState


@final
class VectorIndex:
    """The vectors of one descriptor, ready to be searched.

    Parameters
    ----------
    store : LibraryStore
    descriptor : str
    dim : int
        Vectors of another length, which a stranger may have brought under the same name, are never compared.
    path : Path or None
        The cache file; None keeps none.
    """

    def __init__(self, store: LibraryStore, descriptor: str, dim: int, path: Path | None) -> None:
        held = _read(path, dim) if path is not None else None
        state, tail = _after(store, descriptor, dim, held.last if held else 0)
        grown = held is not None and len(tail.numbers) > max(LEAST_TAIL, TAIL * len(held.numbers))
        if held is None or grown or _sum(held.state, tail.state) != state:
            # Without a file, all vectors have been read already.
            held = tail if held is None else _after(store, descriptor, dim, 0)[1]
            tail = _Held(held.numbers[:0], held.matrix[:0], held.last, VectorState(0, bytes(DIGEST)))
            if path is not None:
                _write(path, held)
        self._held, self._tail = held, tail
        self._search = _searcher(held.matrix)

    def __len__(self) -> int:
        return len(self._held.numbers) + len(self._tail.numbers)

    def nearest(self, vector: Vector, k: int) -> list[tuple[int, float]]:
        """Return the numbers of the k nearest tasks and their similarities, best first."""
        indexed = self._search(vector, min(k, len(self._held.numbers)))
        found = [(int(self._held.numbers[row]), similarity) for row, similarity in indexed]
        found += zip(self._tail.numbers.tolist(), (self._tail.matrix @ vector).tolist(), strict=True)
        return sorted(found, key=lambda entry: (-entry[1], entry[0]))[:k]


def _searcher(matrix: NDArray[np.float32]) -> Callable[[Vector, int], list[tuple[int, float]]]:
    """Return a function that finds the best rows of a matrix, by FAISS where it is installed."""
    try:
        import faiss
    except ImportError:
        return lambda vector, k: _best(matrix @ vector, k)
    index = faiss.IndexFlatIP(matrix.shape[1])
    index.add(matrix)

    def search(vector: Vector, k: int) -> list[tuple[int, float]]:
        if k == 0:
            return []
        similarities, rows = index.search(vector[None], k)
        return list(zip(rows[0].tolist(), similarities[0].tolist(), strict=True))

    return search


def _best(similarities: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
    rows = np.argsort(-similarities, kind="stable")[:k]
    return [(int(i), float(similarities[i])) for i in rows]


def _after(store: LibraryStore, descriptor: str, dim: int, last: int) -> tuple[VectorState, _Held]:
    """Return a descriptor's state and the vectors of tasks beyond a number."""
    state, found = store.vectors(descriptor, last)
    digests = [np.frombuffer(vector_digest(number, vector), np.uint8) for number, vector in found]
    total = np.bitwise_xor.reduce(digests).tobytes() if digests else bytes(DIGEST)
    usable = [(number, vector) for number, vector in found if len(vector) == 4 * dim]
    matrix = np.frombuffer(b"".join(vector for _, vector in usable), "<f4").reshape(len(usable), dim)
    numbers = np.array([number for number, _ in usable], np.int64)
    end = max((number for number, _ in found), default=last)
    return state, _Held(numbers, matrix, end, VectorState(len(found), total))


def _sum(one: VectorState, other: VectorState) -> VectorState:
    return VectorState(one.count + other.count, combined(one.digest, other.digest))


def _write(path: Path, held: _Held) -> None:
    """Write the cache file; without the right to, there is none, and all still works."""
    body = held.numbers.astype("<i8").tobytes() + held.matrix.astype("<f4").tobytes()
    shape = held.matrix.shape
    head = _HEAD.pack(_MAGIC, held.state.digest, held.state.count, held.last, *shape, _checksum(body))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(head)
            file.write(body)
    except OSError as error:
        logger.info("%s: the index cannot be kept (%s); it is made when needed", path, error.strerror)


def _read(path: Path, dim: int) -> _Held | None:
    """Return what a cache file holds; None if it is missing, damaged or of another dimension."""
    try:
        data = path.read_bytes()
        magic, digest, count, last, n, of_dim, check = _HEAD.unpack_from(data)
    except (OSError, struct.error):
        return None
    body = data[_HEAD.size :]
    if magic != _MAGIC or of_dim != dim or n < 0 or len(body) != n * (8 + 4 * dim) or _checksum(body) != check:
        return None
    numbers = np.frombuffer(body[: 8 * n], "<i8").astype(np.int64)
    matrix = np.frombuffer(body[8 * n :], "<f4").reshape(n, dim)
    return _Held(numbers, matrix, last, VectorState(count, digest))


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=32).digest()
