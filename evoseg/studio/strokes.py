"""Strokes on one image: what they paint, and the file in scribbles/ that follows them within a second.

If somebody else has written that file when it is opened, it replaces the history; afterwards it is left as it is.
"""

import logging
from contextlib import suppress
from pathlib import Path
from threading import Lock, Timer
from typing import Annotated, Any, Literal, final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, FiniteFloat

from evoseg.core.errors import DatasetError
from evoseg.datasets.annotations import BACKGROUND, UNKNOWN, from_scribbles, label_image
from evoseg.datasets.io.files import decode_mask
from evoseg.datasets.io.formats import read_bytes
from evoseg.datasets.reading import MOST_CLASSES
from evoseg.studio.history import Box, Change, History, Patch, SavedFile, Trace, digest_of, pack, put_values
from evoseg.studio.traces import cover_line, cover_polygon

logger = logging.getLogger(__name__)

LabelRaster = NDArray[np.uint8]
"""uint8 array of shape (M, N): 0 where nothing is drawn, 1 for background, 2 for foreground, 3 and more for classes."""

HIGHEST = BACKGROUND + MOST_CLASSES
"""Highest label."""
_SAVE_AFTER_S = 0.4
"""The image file is written when nothing has been painted for this long."""
_BLOCKED = "blocked"
"""Key of entries of the log: somebody else's file, which could not be used or replaced, was in the place of ours."""

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
    """Strokes that cannot be read or made, or whose file is somebody else's."""


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
        self._log = log
        self._saved_by: Timer | None = None
        self._dirty = False
        self._history = History(log, np.zeros(shape, np.uint8), Edit.model_validate, paint)
        self._file = SavedFile(file, self._history)
        self._load()

    def _load(self) -> None:
        entries = self._history.read()
        written = [entry["saving"] for entry in entries if "saving" in entry]
        notes = [key for entry in entries for key in ("saved", _BLOCKED) if key in entry]
        path = self._file.path
        data = read_bytes(path) if path.exists() else b""
        digest = digest_of(data)
        # Without a file, either it was removed, or a kill came before it was first written, or it was somebody else's,
        # which was moved away as we had advised.
        if digest not in written and (data or notes[-1:] == ["saved"]):
            try:
                self._start_over(data)
            except DatasetError as error:
                if not entries:
                    raise
                if notes[-1:] != [_BLOCKED]:
                    with suppress(OSError):  # what is wrong with the file is the error to report
                        self._history.append({_BLOCKED: True})
                raise StrokesError(f"{error} Move it away to get back what was painted in the studio.") from error
            return
        for entry in entries:
            self._history.replay(entry)
            self._file.replay(entry)
        self._dirty = bool(entries) and (written[-1:] != [digest] or "saved" not in entries[-1])
        if self._dirty:
            self._save_soon()

    def _start_over(self, data: bytes) -> None:
        """Begin anew with what somebody else has written into the file; without data, it was removed."""
        # Read before the history goes: if the file is damaged, it is all that is left of the strokes.
        base = self._decoded(data) if data else None
        self._log.unlink(missing_ok=True)
        if base is not None:
            self._history.begin(base)
            digest = digest_of(data)
            for entry in ({"base": pack(base).hex()}, {"saving": digest}, {"saved": digest}):
                self._history.append(entry)
                self._file.replay(entry)

    def _decoded(self, data: bytes) -> LabelRaster:
        found = label_image(decode_mask(self._file.path, data)).pixels
        if found.shape != self.labels.shape:
            raise StrokesError(
                f"{self._file.path}: {found.shape[0]} x {found.shape[1]} pixels, but its image has "
                f"{self.labels.shape[0]} x {self.labels.shape[1]}. Remove the file, or export it at the image's size."
            )
        from_scribbles(found, self._file.path)
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
        try:
            self.save()
        except OSError:
            pass  # a full disk: the log has it, and the next change tries again
        except DatasetError as error:
            logger.warning("%s", error)  # nobody waits for an answer here; who saves next gets it as an error

    def save(self) -> None:
        """Write the image file now, if it is not up to date; it is removed if nothing is drawn.

        Raises
        ------
        StrokesError
            If another program, or another studio, has written the file since.
        """
        with self.lock:
            if self._saved_by is not None:
                self._saved_by.cancel()
            if not self._dirty:
                return
            if (foreign := self._file.find_foreign()) is not None:
                self._history.append({_BLOCKED: True})
                raise StrokesError(
                    f"{foreign.parent.name}/{foreign.name}: written by another program or another studio, so it is "
                    "left as it is. Move it away to save what is painted here, or reopen the studio to go on from it."
                )
            png = [cv2.IMWRITE_PNG_COMPRESSION, 1]
            self._file.write(cv2.imencode(".png", self.labels, png)[1].tobytes() if self.labels.any() else b"")
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
