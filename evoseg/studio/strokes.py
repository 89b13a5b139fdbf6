"""Strokes on one image: traces, what they paint, and their history on disk, which survives a kill.

Each change is appended to a log before it is acknowledged; the file in scribbles/, which every command reads, follows
within a second. If somebody else writes that file, it replaces the history.
"""

import json
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from threading import Lock, Timer
from typing import Annotated, Any, Literal, final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from evoseg.core.disk import write_atomically
from evoseg.core.errors import DatasetError
from evoseg.core.untrusted import read_file
from evoseg.datasets.annotations import BACKGROUND, UNKNOWN, from_scribbles, label_image
from evoseg.datasets.io.files import decode_mask
from evoseg.datasets.io.formats import read_bytes
from evoseg.datasets.reading import MOST_CLASSES

LabelRaster = NDArray[np.uint8]
"""uint8 array of shape (M, N): 0 where nothing is drawn, 1 for background, 2 for foreground, 3 and more for classes."""

Box = tuple[int, int, int, int]
"""First row, first column, and the row and column after the last."""

HIGHEST = BACKGROUND + MOST_CLASSES
"""Highest label."""
_SAVE_AFTER_S = 0.4
"""The image file is written when nothing has been painted for this long."""
_MOST_BYTES = 2**30
"""Of a log."""

Coordinate = Annotated[FiniteFloat, Field(ge=-1e6, le=1e6)]
EditId = Annotated[str, Field(pattern=r"^[\w-]{1,64}$")]
Label = Annotated[int, Field(ge=UNKNOWN, le=HIGHEST)]


class Edit(BaseModel):
    """A change by hand.

    Attributes
    ----------
    id : str
        Made up by the browser: a change that is sent twice is made once.
    tool : str
        "brush" (along the points), "polygon" (inside the points) or "fill" (what hangs together with the point and
        has the same label).
    label : int
        What is painted; 0 erases.
    radius : float, px
        Of the brush.
    points : sequence of (row, col), px
        (0, 0) is the upper left corner of the first pixel, whose centre is (0.5, 0.5).
    protect : bool
        Whether pixels of other labels are left as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: EditId
    tool: Literal["brush", "polygon", "fill"]
    label: Label
    radius: Annotated[FiniteFloat, Field(gt=0, le=2000)] = 1.0
    points: Annotated[tuple[tuple[Coordinate, Coordinate], ...], Field(min_length=1, max_length=20_000)]
    protect: bool = False


def paint(labels: LabelRaster, edit: Edit) -> "Patch | None":
    """Make a change in place and return what it did; None if it changed nothing."""
    box, inside = {"brush": _brushed, "polygon": _enclosed, "fill": _filled}[edit.tool](labels, edit)
    window = labels[box[0] : box[2], box[1] : box[3]]
    if edit.protect and edit.label:
        inside = inside & ((window == UNKNOWN) | (window == edit.label))
    changed = inside & (window != edit.label)
    if not changed.any():
        return None
    before = window.copy()
    window[changed] = edit.label
    return Patch(box, _packed(before), _packed(window))


def _brushed(labels: LabelRaster, edit: Edit) -> tuple[Box, NDArray[np.bool_]]:
    """Return the pixels whose centres are within the radius of the trace, and those that it begins and ends in."""
    points = np.array(edit.points)
    box = _clipped(labels.shape, points.min(0) - edit.radius, points.max(0) + edit.radius)
    inside = np.zeros((box[2] - box[0], box[3] - box[1]), bool)
    for a, b in zip(points, points[1:] if len(points) > 1 else points, strict=False):
        top, left, bottom, right = _clipped(
            labels.shape, np.minimum(a, b) - edit.radius, np.maximum(a, b) + edit.radius
        )
        rows = np.arange(top, bottom)[:, None] + 0.5 - a[0]
        cols = np.arange(left, right)[None] + 0.5 - a[1]
        along = b - a
        share = np.clip((rows * along[0] + cols * along[1]) / max(float(along @ along), 1e-12), 0, 1)
        near = (rows - share * along[0]) ** 2 + (cols - share * along[1]) ** 2 <= edit.radius**2
        inside[top - box[0] : bottom - box[0], left - box[1] : right - box[1]] |= near
    for row, col in np.floor(points[[0, -1]]).astype(int):
        # The thinnest brush may pass between the centres.
        if box[0] <= row < box[2] and box[1] <= col < box[3]:
            inside[row - box[0], col - box[1]] = True
    return box, inside


def _enclosed(labels: LabelRaster, edit: Edit) -> tuple[Box, NDArray[np.bool_]]:
    """Return the pixels whose centres are inside the polygon."""
    from skimage.draw import polygon2mask

    points = np.array(edit.points)
    box = _clipped(labels.shape, points.min(0), points.max(0))
    shape = (box[2] - box[0], box[3] - box[1])
    if 0 in shape:
        return box, np.zeros(shape, bool)
    return box, np.asarray(polygon2mask(shape, points - 0.5 - box[:2]), bool)


def _filled(labels: LabelRaster, edit: Edit) -> tuple[Box, NDArray[np.bool_]]:
    """Return what hangs together with the first point, by sides, and has its label."""
    whole = (0, 0, *labels.shape)
    row, col = (int(np.floor(x)) for x in edit.points[0])
    found = np.zeros((labels.shape[0] + 2, labels.shape[1] + 2), np.uint8)
    if not (0 <= row < labels.shape[0] and 0 <= col < labels.shape[1]):
        return whole, found[1:-1, 1:-1] > 0
    cv2.floodFill(labels, found, (col, row), 0, 0, 0, 4 | cv2.FLOODFILL_MASK_ONLY | (1 << 8))
    return whole, found[1:-1, 1:-1] > 0


def _clipped(shape: tuple[int, ...], low: NDArray[Any], high: NDArray[Any]) -> Box:
    """Return the box of the pixels between two points, as far as they are in the image."""
    top, left = (int(v) for v in np.clip(np.floor(low), 0, shape))
    bottom, right = (int(v) for v in np.clip(np.ceil(high), (top, left), shape))
    return top, left, bottom, right


def _packed(labels: LabelRaster) -> bytes:
    return zlib.compress(labels.tobytes(), 1)


@dataclass(frozen=True)
class Patch:
    """What one change did: the labels of a box before and after it, compressed."""

    box: Box
    before: bytes
    after: bytes

    def put(self, labels: LabelRaster, *, undone: bool) -> None:
        """Write one of the two into an image."""
        top, left, bottom, right = self.box
        data = zlib.decompress(self.before if undone else self.after)
        labels[top:bottom, left:right] = np.frombuffer(data, np.uint8).reshape(bottom - top, right - left)


class StrokesError(DatasetError):
    """Strokes that cannot be read or made."""


@final
class Strokes:
    """The strokes on one image: painted, undone, redone and stored; used by several threads.

    Parameters
    ----------
    file : Path
        The image of labels, scribbles/NAME.png.
    log : Path
        The history.
    shape : (M, N)
        Of the image.

    Attributes
    ----------
    labels : uint8 array of shape (M, N)
        Read under `lock`.
    version : int
        Grows with each change.
    """

    def __init__(self, file: Path, log: Path, shape: tuple[int, int]) -> None:
        """Read what is there.

        Raises
        ------
        StrokesError
            If the file holds no scribbles, or scribbles of another image.
        """
        self.lock = Lock()
        self.version = 0
        self._file, self._log = file, log
        self._saved_by: Timer | None = None
        self._dirty = False
        self._begin(np.zeros(shape, np.uint8))
        self._load()

    def _begin(self, labels: LabelRaster) -> None:
        self.labels = labels
        self._done: list[Patch] = []
        self._undone: list[Patch] = []
        self._ids: set[str] = set()

    def _load(self) -> None:
        entries = self._read_log()
        written = [entry["saving"] for entry in entries if "saving" in entry]
        finished = [entry["saved"] for entry in entries if "saved" in entry]
        data = read_bytes(self._file) if self._file.exists() else b""
        digest = _digest(data)
        # Without a file, either it was removed, or a kill came before it was first written.
        if digest not in written and (data or finished):
            # Somebody else has changed it: what is in the file counts, and our history is of something else.
            self._log.unlink(missing_ok=True)
            if data:
                self._begin(self._decoded(data))
                self._append({"base": _packed(self.labels).hex()})
                self._append({"saving": digest})
                self._append({"saved": digest})
            return
        for entry in entries:
            self._replay(entry)
        self._dirty = bool(entries) and (written[-1:] != [digest] or "saved" not in entries[-1])
        if self._dirty:
            self._save_soon()

    def _decoded(self, data: bytes) -> LabelRaster:
        found = label_image(decode_mask(self._file, data)).pixels
        if found.shape != self.labels.shape:
            raise StrokesError(
                f"{self._file}: {found.shape[0]} x {found.shape[1]} pixels, but its image has "
                f"{self.labels.shape[0]} x {self.labels.shape[1]}. Remove the file, or export it at the image's size."
            )
        from_scribbles(found, self._file)
        return found.astype(np.uint8)

    def _read_log(self) -> list[dict[str, Any]]:
        """Return the entries of the log.

        A line that a kill has cut short was never acknowledged; it is cut off, so that the next one begins anew.
        """
        if not self._log.exists():
            return []
        data = read_file(self._log, _MOST_BYTES, error=StrokesError)
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

    def _unreadable(self) -> StrokesError:
        return StrokesError(f"{self._log}: not a history of strokes. Remove it; {self._file.name} has the strokes.")

    def _replay(self, entry: dict[str, Any]) -> None:
        try:
            if "edit" in entry:
                self._paint(Edit.model_validate(entry["edit"]))
            elif "undo" in entry:
                self._step(undone=True)
            elif "redo" in entry:
                self._step(undone=False)
            elif "base" in entry:
                data = zlib.decompress(bytes.fromhex(entry["base"]))
                self.labels = np.frombuffer(data, np.uint8).reshape(self.labels.shape).copy()
        except (ValidationError, ValueError, TypeError, zlib.error) as error:
            raise self._unreadable() from error

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is a change that was taken back."""
        return bool(self._undone)

    def history(self) -> dict[str, Any]:
        """Return how far the history is, as values that JSON knows."""
        return {"version": self.version, "undo": self.can_undo, "redo": self.can_redo}

    @property
    def any(self) -> bool:
        """Whether anything is drawn."""
        return bool(self.labels.any())

    def add(self, edit: Edit) -> Box | None:
        """Make a change, durably, and return where; None if it changes nothing or was made before."""
        with self.lock:
            if edit.id in self._ids:
                return None
            self._append({"edit": edit.model_dump()})
            return self._changed(self._paint(edit))

    def undo(self) -> Box | None:
        """Take the last change back, durably, and return where; None if there is none."""
        return self._undo_or_redo("undo")

    def redo(self) -> Box | None:
        """Make the change again that was taken back last, durably, and return where; None if there is none."""
        return self._undo_or_redo("redo")

    def _undo_or_redo(self, word: str) -> Box | None:
        with self.lock:
            if not (self._done if word == "undo" else self._undone):
                return None
            self._append({word: True})
            return self._changed(self._step(undone=word == "undo"))

    def _changed(self, box: Box | None) -> Box | None:
        if box is not None:
            self.version += 1
            self._dirty = True
            self._save_soon()
        return box

    def _paint(self, edit: Edit) -> Box | None:
        self._ids.add(edit.id)
        patch = paint(self.labels, edit)
        if patch is None:
            return None
        self._done.append(patch)
        self._undone.clear()
        return patch.box

    def _step(self, *, undone: bool) -> Box | None:
        source, target = (self._done, self._undone) if undone else (self._undone, self._done)
        if not source:
            return None
        patch = source.pop()
        patch.put(self.labels, undone=undone)
        target.append(patch)
        return patch.box

    def _append(self, entry: dict[str, Any]) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as file:
            file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _save_soon(self) -> None:
        if self._saved_by is not None:
            self._saved_by.cancel()
        self._saved_by = Timer(_SAVE_AFTER_S, self._save_in_time)
        self._saved_by.daemon = True
        self._saved_by.start()

    def _save_in_time(self) -> None:
        with suppress(OSError):  # a full disk: the log has it, and the next change tries again
            self.save()

    def save(self) -> None:
        """Write the image file now, if it is not up to date; it is removed if nothing is drawn."""
        with self.lock:
            if self._saved_by is not None:
                self._saved_by.cancel()
            if not self._dirty:
                return
            png = [cv2.IMWRITE_PNG_COMPRESSION, 1]
            data = cv2.imencode(".png", self.labels, png)[1].tobytes() if self.labels.any() else b""
            # Noted before and after, so that whatever a kill leaves is known to be ours.
            self._append({"saving": _digest(data)})
            if data:
                self._file.parent.mkdir(exist_ok=True)
                with write_atomically(self._file) as file:
                    file.write(data)
            else:
                self._file.unlink(missing_ok=True)
            self._append({"saved": _digest(data)})
            self._dirty = False


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def groups_of(labels: LabelRaster) -> NDArray[np.int32]:
    """Return strokes, numbered from 1: what hangs together and has one label; 0 where nothing is drawn."""
    groups = np.zeros(labels.shape, np.int32)
    n = 0
    for label in np.unique(labels[labels > 0]).tolist():
        count, found = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=8)
        groups += np.where(found > 0, found + n, 0).astype(np.int32)
        n += count - 1
    return groups
