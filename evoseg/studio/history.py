"""The history of what is drawn on one image: changes, undone and redone, in a log that survives a kill.

Each change is appended to the log before it is acknowledged.
"""

import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from evoseg.core.disk import write_atomically
from evoseg.core.errors import DatasetError
from evoseg.core.untrusted import read_file
from evoseg.datasets.io.formats import read_bytes
from evoseg.datasets.layouts.base import entries_of, is_image, stem_of

Raster = NDArray[Any]
"""Array of unsigned integers of shape (M, N): what is drawn on an image, 0 where nothing is."""

Box = tuple[int, int, int, int]
"""First row, first column, and the row and column after the last."""

_MOST_BYTES = 2**30
"""Of a log."""

_FOR_GOOD = "for_good"
"""Key of entries of the log that undo what cannot be redone."""

Coordinate = Annotated[FiniteFloat, Field(ge=-1e6, le=1e6)]
EditId = Annotated[str, Field(pattern=r"^[\w-]{1,64}$")]
Trace = Annotated[tuple[tuple[Coordinate, Coordinate], ...], Field(min_length=1, max_length=20_000)]
"""Points (row, col), px; (0, 0) is the upper left corner of the first pixel, whose centre is (0.5, 0.5)."""


class Change(BaseModel):
    """A change by hand.

    Attributes
    ----------
    id : str
        Made up by the browser: a change that is sent twice is made once.
    """

    id: EditId


C = TypeVar("C", bound=Change)


@dataclass(frozen=True)
class Patch:
    """What one change did: the values of the smallest box around it, before and after it, compressed."""

    box: Box
    before: bytes
    after: bytes

    def put(self, raster: Raster, *, undone: bool) -> None:
        """Write the values before the change, or after it, into an image."""
        top, left, bottom, right = self.box
        data = zlib.decompress(self.before if undone else self.after)
        raster[top:bottom, left:right] = np.frombuffer(data, raster.dtype).reshape(bottom - top, right - left)


def put_values(raster: Raster, box: Box, values: Raster) -> Patch | None:
    """Write new values into a box of an image and return what that did; None if nothing changes."""
    changed = raster[box[0] : box[2], box[1] : box[3]] != values
    if not changed.any():
        return None
    rows, cols = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    top, bottom, left, right = (int(i) for i in (rows[0], rows[-1] + 1, cols[0], cols[-1] + 1))
    least = (box[0] + top, box[1] + left, box[0] + bottom, box[1] + right)
    window = raster[least[0] : least[2], least[1] : least[3]]
    before = pack(window)
    window[:] = values[top:bottom, left:right]
    return Patch(least, before, pack(window))


def pack(raster: Raster) -> bytes:
    """Return an array as compressed bytes."""
    return zlib.compress(raster.tobytes(), 1)


def digest_of(data: bytes) -> str:
    """Return a checksum by which a file that was written here is known again."""
    return blake2b(data, digest_size=16).hexdigest()


class HistoryError(DatasetError):
    """A history that cannot be read."""


@final
class History(Generic[C]):
    """What is drawn on an image, and how it came about. Its owner sees to it that one thread uses it at a time.

    Parameters
    ----------
    log : Path
    raster : array of shape (M, N)
        What is drawn before the first change; changed in place.
    parse : callable (values that JSON knows) -> Change
        Raises ValidationError, ValueError or TypeError for what is no change.
    make : callable (raster, change) -> Patch or None
        Makes a change in place and returns what it did; None if nothing.

    Attributes
    ----------
    raster : array of shape (M, N)
    version : int
        Grows with each change.
    """

    def __init__(
        self, log: Path, raster: Raster, parse: Callable[[Any], C], make: Callable[[Raster, C], Patch | None]
    ) -> None:
        self.version = 0
        self._log, self._parse, self._make = log, parse, make
        self.begin(raster)

    def begin(self, raster: Raster) -> None:
        """Forget all changes; the log is left as it is."""
        self.raster = raster
        self._done: list[tuple[C, Patch]] = []
        self._undone: list[tuple[C, Patch]] = []
        self._ids: set[str] = set()

    @property
    def changes(self) -> list[C]:
        """The changes that were made and not undone, oldest first."""
        return [change for change, _ in self._done]

    def knows(self, change_id: str) -> bool:
        """Return whether a change was made before, even if it was undone or changed nothing."""
        return change_id in self._ids

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is a change that was taken back."""
        return bool(self._undone)

    def as_json(self) -> dict[str, Any]:
        """Return its version and whether there is something to undo and to redo, as values that JSON knows."""
        return {"version": self.version, "undo": self.can_undo, "redo": self.can_redo}

    def add(self, change: C) -> Box | None:
        """Make a change, durably, and return where; None if it changes nothing or was made before."""
        if self.knows(change.id):
            return None
        self.append({"edit": change.model_dump()})
        return self._changed(self._add(change))

    def undo(self, *, for_good: bool = False) -> Box | None:
        """Take the last change back, durably, and return where; None if there is none.

        Parameters
        ----------
        for_good : bool
            Whether neither it nor what was undone before can be redone.
        """
        return self._step_durably({"undo": True} | ({_FOR_GOOD: True} if for_good else {}), self.can_undo)

    def redo(self) -> Box | None:
        """Make the change again that was taken back last, durably, and return where; None if there is none."""
        return self._step_durably({"redo": True}, self.can_redo)

    def _step_durably(self, entry: dict[str, Any], can: bool) -> Box | None:
        if not can:
            return None
        self.append(entry)
        return self._changed(self.replay(entry))

    def _changed(self, box: Box | None) -> Box | None:
        self.version += box is not None
        return box

    def _add(self, change: C) -> Box | None:
        self._ids.add(change.id)
        patch = self._make(self.raster, change)
        if patch is None:
            return None
        self._done.append((change, patch))
        self._undone.clear()
        return patch.box

    def _step(self, *, undone: bool) -> Box | None:
        source, target = (self._done, self._undone) if undone else (self._undone, self._done)
        if not source:
            return None
        change, patch = source.pop()
        patch.put(self.raster, undone=undone)
        target.append((change, patch))
        return patch.box

    # The log

    def read(self) -> list[dict[str, Any]]:
        """Return the entries of the log.

        A line that a kill has cut short was never acknowledged; it is cut off, so that the next one begins anew.

        Raises
        ------
        HistoryError
        """
        if not self._log.exists():
            return []
        data = read_file(self._log, _MOST_BYTES, error=HistoryError)
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            os.truncate(self._log, len(whole))
        try:
            entries = [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise self._unreadable() from error
        if not all(isinstance(entry, dict) for entry in entries):
            raise self._unreadable()
        return entries

    def replay(self, entry: dict[str, Any]) -> Box | None:
        """Do again what an entry of the log says, and return where a change was made or taken back, if any was.

        Entries of others say nothing here.

        Raises
        ------
        HistoryError
        """
        try:
            if "edit" in entry:
                return self._add(self._parse(entry["edit"]))
            if "undo" in entry:
                box = self._step(undone=True)
                if _FOR_GOOD in entry:
                    self._undone.clear()
                return box
            if "redo" in entry:
                return self._step(undone=False)
            if "base" in entry:
                data = zlib.decompress(bytes.fromhex(entry["base"]))
                self.raster = np.frombuffer(data, self.raster.dtype).reshape(self.raster.shape).copy()
        except (ValidationError, ValueError, TypeError, zlib.error) as error:
            raise self._unreadable() from error
        return None

    def append(self, entry: dict[str, Any]) -> None:
        """Write an entry; once this returns, it is on disk."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as file:
            file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _unreadable(self) -> HistoryError:
        return HistoryError(f"{self._log}: not a history of what was drawn. Remove it; the saved files are kept.")


@final
class SavedFile:
    """The image file that is made of a history, known again by the checksums of all that was written to it.

    Parameters
    ----------
    path : Path
    history : History
        Its log remembers the checksums.
    """

    def __init__(self, path: Path, history: History[Any]) -> None:
        self.path = path
        self._history = history
        self._digests: set[str] = set()

    def replay(self, entry: dict[str, Any]) -> None:
        """Remember what an entry of the log says about the file, if it says something."""
        if "saving" in entry:
            self._digests.add(str(entry["saving"]))

    @property
    def is_ours(self) -> bool:
        """Whether the file is there, was written here, and has not been changed since."""
        return self.path.is_file() and digest_of(read_bytes(self.path)) in self._digests

    def find_foreign(self) -> Path | None:
        """Return a file for the same image that was not written here, and so must not be replaced; None for none."""
        stem = stem_of(self.path.name)
        there = [path for path in entries_of(self.path.parent) if is_image(path) and stem_of(path.name) == stem]
        return next((path for path in there if path != self.path or not self.is_ours), None)

    def write(self, data: bytes) -> None:
        """Replace the file; without data, remove it."""
        # Noted before and after, so that whatever a kill leaves is known to be ours.
        self._history.append({"saving": digest_of(data)})
        self._digests.add(digest_of(data))
        if data:
            self.path.parent.mkdir(exist_ok=True)
            with write_atomically(self.path) as file:
                file.write(data)
        else:
            self.path.unlink(missing_ok=True)
        self._history.append({"saved": digest_of(data)})
