"""Strokes on one image: what they paint, and the file in scribbles/ that follows them within a second.

If somebody else writes that file, it replaces the history.
"""

from contextlib import suppress
from pathlib import Path
from threading import Lock, Timer
from typing import Annotated, Any, Literal, final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, FiniteFloat

from evoseg.core.disk import write_atomically
from evoseg.core.errors import DatasetError
from evoseg.datasets.annotations import BACKGROUND, UNKNOWN, from_scribbles, label_image
from evoseg.datasets.io.files import decode_mask
from evoseg.datasets.io.formats import read_bytes
from evoseg.datasets.reading import MOST_CLASSES
from evoseg.studio.history import Box, Change, History, Patch, Trace, digest_of, pack, put_values
from evoseg.studio.traces import cover_line, cover_polygon

LabelRaster = NDArray[np.uint8]
"""uint8 array of shape (M, N): 0 where nothing is drawn, 1 for background, 2 for foreground, 3 and more for classes."""

HIGHEST = BACKGROUND + MOST_CLASSES
"""Highest label."""
_SAVE_AFTER_S = 0.4
"""The image file is written when nothing has been painted for this long."""

Label = Annotated[int, Field(ge=UNKNOWN, le=HIGHEST)]


class Edit(Change):
    """A stroke, or the like.

    Attributes
    ----------
    tool : str
        "brush" (along the points), "polygon" (inside the points) or "fill" (what hangs together with the point and
        has the same label).
    label : int
        What is painted; 0 erases.
    radius : float, px
        Of the brush.
    points : sequence of (row, col), px
    protect : bool
        Whether pixels of other labels are left as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: Literal["brush", "polygon", "fill"]
    label: Label
    radius: Annotated[FiniteFloat, Field(gt=0, le=2000)] = 1.0
    points: Trace
    protect: bool = False


def paint(labels: LabelRaster, edit: Edit) -> Patch | None:
    """Make a change in place and return what it did; None if it changed nothing."""
    if edit.tool == "brush":
        box, inside = cover_line(labels.shape, edit.points, edit.radius)
    elif edit.tool == "polygon":
        box, inside = cover_polygon(labels.shape, edit.points)
    else:
        box, inside = _filled(labels, edit)
    window = labels[box[0] : box[2], box[1] : box[3]]
    if edit.protect and edit.label:
        inside = inside & ((window == UNKNOWN) | (window == edit.label))
    return put_values(labels, box, np.where(inside, np.uint8(edit.label), window))


def _filled(labels: LabelRaster, edit: Edit) -> tuple[Box, NDArray[np.bool_]]:
    """Return what hangs together with the first point, by sides, and has its label."""
    whole = (0, 0, *labels.shape)
    row, col = (int(np.floor(x)) for x in edit.points[0])
    found = np.zeros((labels.shape[0] + 2, labels.shape[1] + 2), np.uint8)
    if not (0 <= row < labels.shape[0] and 0 <= col < labels.shape[1]):
        return whole, found[1:-1, 1:-1] > 0
    cv2.floodFill(labels, found, (col, row), 0, 0, 0, 4 | cv2.FLOODFILL_MASK_ONLY | (1 << 8))
    return whole, found[1:-1, 1:-1] > 0


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
    lock : Lock
        Held while `labels` are read.
    """

    def __init__(self, file: Path, log: Path, shape: tuple[int, int]) -> None:
        """Read what is there.

        Raises
        ------
        DatasetError
            If the file holds no scribbles, or scribbles of another image.
        """
        self.lock = Lock()
        self._file, self._log = file, log
        self._saved_by: Timer | None = None
        self._dirty = False
        self._history = History(log, np.zeros(shape, np.uint8), Edit.model_validate, paint)
        self._load()

    def _load(self) -> None:
        entries = self._history.read()
        written = [entry["saving"] for entry in entries if "saving" in entry]
        finished = [entry["saved"] for entry in entries if "saved" in entry]
        data = read_bytes(self._file) if self._file.exists() else b""
        digest = digest_of(data)
        # Without a file, either it was removed, or a kill came before it was first written.
        if digest not in written and (data or finished):
            # Somebody else has changed it: what is in the file counts, and our history is of something else.
            self._log.unlink(missing_ok=True)
            if data:
                self._history.begin(self._decoded(data))
                self._history.append({"base": pack(self.labels).hex()})
                self._history.append({"saving": digest})
                self._history.append({"saved": digest})
            return
        for entry in entries:
            self._history.replay(entry)
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

    @property
    def labels(self) -> LabelRaster:
        """uint8 array of shape (M, N); read under `lock`."""
        return self._history.raster

    @property
    def version(self) -> int:
        """Grows with each change."""
        return self._history.version

    @property
    def last(self) -> Edit | None:
        """The last change that was not undone."""
        return self._history.changes[-1] if self._history.can_undo else None

    def history(self) -> dict[str, Any]:
        """Return its version and whether there is something to undo and to redo, as values that JSON knows."""
        return self._history.as_json()

    @property
    def any(self) -> bool:
        """Whether anything is drawn."""
        return bool(self.labels.any())

    def add(self, edit: Edit) -> Box | None:
        """Make a change, durably, and return where; None if it changes nothing or was made before."""
        with self.lock:
            return self._changed(self._history.add(edit))

    def undo(self, *, for_good: bool = False) -> Box | None:
        """Take the last change back, durably, and return where; None if there is none. `for_good`: without redo."""
        with self.lock:
            return self._changed(self._history.undo(for_good=for_good))

    def redo(self) -> Box | None:
        """Make the change again that was taken back last, durably, and return where; None if there is none."""
        with self.lock:
            return self._changed(self._history.redo())

    def _changed(self, box: Box | None) -> Box | None:
        if box is not None:
            self._dirty = True
            self._save_soon()
        return box

    def _save_soon(self) -> None:
        if self._saved_by is not None:
            self._saved_by.cancel()
        # No daemon: a thread inside OpenCV must not outlive the interpreter.
        self._saved_by = Timer(_SAVE_AFTER_S, self._save_in_time)
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
            self._history.append({"saving": digest_of(data)})
            if data:
                self._file.parent.mkdir(exist_ok=True)
                with write_atomically(self._file) as file:
                    file.write(data)
            else:
                self._file.unlink(missing_ok=True)
            self._history.append({"saved": digest_of(data)})
            self._dirty = False


def groups_of(labels: LabelRaster) -> NDArray[np.int32]:
    """Return strokes, numbered from 1: what hangs together and has one label; 0 where nothing is drawn."""
    groups = np.zeros(labels.shape, np.int32)
    n = 0
    for label in np.unique(labels[labels > 0]).tolist():
        count, found = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=8)
        groups += np.where(found > 0, found + n, 0).astype(np.int32)
        n += count - 1
    return groups
