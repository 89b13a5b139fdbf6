"""Named arrays in one file, mapped into memory and shared by every process that opens it.

Layout: 32 bytes of head (magic, then offset and length of the index as little-endian 64-bit numbers, 8 spare), the raw
bytes of each array from a multiple of 64 on, and the index as JSON.
"""

import json
import mmap
import struct
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import write_atomically
from evoseg.core.errors import DatasetError

_MAGIC = b"EVOPACK1"
_HEAD = struct.Struct("<8sQQ8x")
_ALIGN = 64


def write_pack(path: str | Path, items: Iterable[tuple[str, Mapping[str, NDArray[Any]]]]) -> "Pack":
    """Write items to a pack, one at a time, and open it.

    The file appears under its name when it is complete, replacing an older one; processes that have that one open keep
    it.

    Parameters
    ----------
    path : path
    items : iterable of (name, {key: array})
        Names are unique; arrays hold booleans or numbers. An item is let go before the next is asked for.

    Raises
    ------
    DatasetError
        If a name comes twice, an array holds objects, or the file cannot be written.
    """
    path = Path(path)
    try:
        with write_atomically(path) as file:
            _write(file, path, items)
    except OSError as error:
        words = f"cannot be written ({error.strerror}). Check free space and permissions."
        raise DatasetError(f"{path}: {words}") from error
    return Pack(path)


def _write(file: BinaryIO, path: Path, items: Iterable[tuple[str, Mapping[str, NDArray[Any]]]]) -> None:
    file.write(_HEAD.pack(_MAGIC, 0, 0))
    index: dict[str, Any] = {}
    for name, arrays in items:
        if name in index:
            raise DatasetError(f"{path}: the item {name} comes twice. Names of items must differ.")
        digest = sha256()
        places = {}
        for key in sorted(arrays):
            array = np.ascontiguousarray(arrays[key]).reshape(np.shape(arrays[key]))
            if array.dtype.kind not in "buif":
                raise DatasetError(f"{path}: {name}/{key} holds {array.dtype}; only booleans and numbers are packed.")
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            file.write(bytes(-file.tell() % _ALIGN))
            places[key] = {"dtype": array.dtype.str, "shape": list(array.shape), "at": file.tell()}
            file.write(_bytes_of(array))
            _feed(digest, key, array)
        index[name] = {"sha256": digest.hexdigest(), "arrays": places}
    at = file.tell()
    text = json.dumps(index).encode()
    file.write(text)
    file.seek(0)
    file.write(_HEAD.pack(_MAGIC, at, len(text)))


def _bytes_of(array: NDArray[Any]) -> memoryview:
    """Return the bytes of a contiguous array without copying them."""
    return array.reshape(-1).view(np.uint8).data


def _feed(digest: Any, key: str, array: NDArray[Any]) -> None:
    digest.update(f"{key}|{array.dtype.str}|{array.shape}|".encode())
    digest.update(_bytes_of(array))


@final
class Pack:
    """A pack opened for reading. It travels to another process as its path.

    Attributes
    ----------
    path : Path
    names : tuple of str
        In the order of writing.
    items : tuple of mappings of str to array
        Arrays are read-only, contiguous views of the mapped file.
    digests : tuple of str
        sha256 of each item: its keys, dtypes, shapes and bytes.
    """

    def __init__(self, path: str | Path) -> None:
        """Map a file.

        Raises
        ------
        DatasetError
            If it is missing, no pack, or cut off.
        """
        self.path = Path(path)
        try:
            with self.path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            magic, at, length = _HEAD.unpack(self._map[: _HEAD.size])
            if magic != _MAGIC or at + length != len(self._map):
                raise ValueError("head and length disagree")
            index: dict[str, Any] = json.loads(self._map[at : at + length])
        except FileNotFoundError as error:
            raise DatasetError(f"{self.path}: no such file.") from error
        except (OSError, ValueError, struct.error) as error:
            raise DatasetError(f"{self.path}: not a complete pack ({error}). Delete it; it is made again.") from error
        whole = np.frombuffer(self._map, np.uint8)
        try:
            self.names: tuple[str, ...] = tuple(index)
            self.digests: tuple[str, ...] = tuple(entry["sha256"] for entry in index.values())
            self.items: tuple[Mapping[str, NDArray[Any]], ...] = tuple(
                {key: _view(whole, place) for key, place in entry["arrays"].items()} for entry in index.values()
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DatasetError(f"{self.path}: not a complete pack ({error}). Delete it; it is made again.") from error

    def verify(self) -> None:
        """Compare every item with its digest.

        Raises
        ------
        DatasetError
            If one differs.
        """
        for name, item, expected in zip(self.names, self.items, self.digests, strict=True):
            digest = sha256()
            for key in sorted(item):
                _feed(digest, key, item[key])
            if digest.hexdigest() != expected:
                raise DatasetError(f"{self.path}: the item {name} has changed on disk. Delete it; it is made again.")

    def __len__(self) -> int:
        return len(self.items)

    def __reduce__(self) -> tuple[type["Pack"], tuple[Path]]:
        return Pack, (self.path,)


def _view(whole: NDArray[np.uint8], place: Mapping[str, Any]) -> NDArray[Any]:
    dtype, shape = np.dtype(place["dtype"]), _shape(place["shape"])
    n_bytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    view: NDArray[Any] = whole[place["at"] : place["at"] + n_bytes].view(dtype)
    return view.reshape(shape)


def _shape(numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(n) for n in numbers)
