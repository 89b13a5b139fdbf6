"""The objects of one image: begun from an answer, deleted, split, merged and drawn by hand, and saved as a mask.

Corrections are kept as strokes are, with their history; the mask is written only when it is asked for.
"""

import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal, final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter

from evoseg.core.errors import DatasetError
from evoseg.datasets.meaning import BINARY
from evoseg.studio.history import Box, Change, History, Patch, SavedFile, Trace, pack, put_values
from evoseg.studio.traces import Points, cover_line, cover_polygon

Objects = NDArray[np.uint16]
"""uint16 array of shape (M, N): the number of the object that a pixel belongs to, 0 for background."""

HIGHEST = np.iinfo(np.uint16).max
"""Highest number of an object."""
_CUT = 0.75
"""Half the width of a cut, px: about the least that separates 8-connected pixels."""
_BRIDGE = 1.5
"""Half the width of what joins two merged objects that do not touch, px."""
_LEAST = 0.01
"""Least share of an object that is a piece: a cut along its edge leaves crumbs."""

MaskTask = Literal["binary", "instances"]
"""What a mask says: where something is, or which object a pixel belongs to."""


class ObjectsError(DatasetError):
    """A correction that changes nothing, or a mask that cannot be written."""


class Correction(Change):
    """A change to objects.

    Attributes
    ----------
    tool : str
        "delete" (the objects that the trace touches), "split" (along the trace those that it crosses), "merge" (those
        that it touches; what lies between them under the trace joins them), or "draw" (the trace is the outline of an
        object, which belongs to the one that it begins in, if any; it takes background only).
    points : sequence of (row, col), px
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: Literal["delete", "split", "merge", "draw"]
    points: Trace


class Beginning(Change):
    """An answer whose objects replace what was there.

    Attributes
    ----------
    tool : str
    title : str
        Of the answer.
    task : str
        What a mask of it says unless something else is chosen.
    labels : str
        The objects: a uint16 array of the image's shape, compressed, as hexadecimal digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: Literal["begin"] = "begin"
    title: str
    task: MaskTask
    labels: str


_CHANGES: TypeAdapter[Correction | Beginning] = TypeAdapter(
    Annotated[Correction | Beginning, Field(discriminator="tool")]
)


def number(labels: NDArray[Any]) -> Objects:
    """Return objects numbered from 1 on, without gaps.

    Parameters
    ----------
    labels : integer array of shape (M, N)
        0 is background.

    Raises
    ------
    ObjectsError
        If there are more than 65,535.
    """
    there = np.bincount(labels.ravel(), minlength=1) > 0
    there[0] = False
    if np.count_nonzero(there) > HIGHEST:
        raise ObjectsError(f"There are more than {HIGHEST:,} objects. Choose an answer with fewer.")
    return np.asarray((np.cumsum(there) * there).astype(np.uint16)[labels])


def parts_of(mask: NDArray[np.bool_]) -> Objects:
    """Return the connected parts of a mask as objects; pixels that share a side or a corner are connected.

    Raises
    ------
    ObjectsError
        If there are more than 65,535.
    """
    return number(_parts(mask)[1])


def correct(labels: Objects, change: Correction | Beginning) -> Patch | None:
    """Make a change in place and return what it did; None if it changed nothing."""
    if isinstance(change, Beginning):
        values = np.frombuffer(zlib.decompress(bytes.fromhex(change.labels)), np.uint16).reshape(labels.shape)
        # Also if nothing is found, and nothing was there: it has begun.
        before, labels[:] = pack(labels), values
        return Patch((0, 0, *labels.shape), before, pack(labels))
    make = {"delete": _delete, "split": _split, "merge": _merge, "draw": _draw}[change.tool]
    found = make(labels, change.points)
    return None if found is None else put_values(labels, *found)


Corrected = tuple[Box, Objects] | None
"""New values of a box; None if nothing changes."""


def _delete(labels: Objects, points: Points) -> Corrected:
    chosen = _touched(labels, points)
    box = _box_of(labels, chosen)
    window = labels[box[0] : box[2], box[1] : box[3]]
    return box, np.where(np.isin(window, chosen), np.uint16(0), window)


def _split(labels: Objects, points: Points) -> Corrected:
    chosen = _touched(labels, points)
    box = _box_of(labels, chosen)
    window = labels[box[0] : box[2], box[1] : box[3]].copy()
    cut = _line_in(labels.shape, box, points, _CUT)
    free = int(labels.max()) + 1
    for label in chosen:
        pieces = _pieces(window == label, cut)
        # The largest keeps its number.
        for i in range(1, int(pieces.max())):
            if free > HIGHEST:
                return None
            window[pieces == i + 1] = free
            free += 1
    return box, window


def _pieces(part: NDArray[np.bool_], cut: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the pieces of an object along a cut, the largest first, from 1 on; zeros if the cut does not divide it."""
    from scipy.ndimage import distance_transform_edt

    least = _LEAST * np.count_nonzero(part)
    n, places, areas = _parts(part & ~cut)
    kept = [i for i in range(1, n) if areas[i] >= least]
    if len(kept) <= np.count_nonzero(_parts(part)[2][1:] >= least):
        return np.zeros(part.shape, np.intp)
    order = np.zeros(n, np.intp)
    order[sorted(kept, key=lambda i: -areas[i])] = np.arange(len(kept)) + 1
    pieces = order[places]
    # What is under the cut, and crumbs, belong to the nearest piece.
    nearest = distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
    return np.where(part, pieces[tuple(nearest)], 0)


def _merge(labels: Objects, points: Points) -> Corrected:
    chosen = _touched(labels, points)
    if len(chosen) < 2:
        return None
    line, _ = cover_line(labels.shape, points, _BRIDGE)
    box = _around(_box_of(labels, chosen), line)
    window = labels[box[0] : box[2], box[1] : box[3]]
    inside = np.isin(window, chosen)
    apart = _parts(inside)[1]
    n, gaps, _ = _parts(_line_in(labels.shape, box, points, _BRIDGE) & (window == 0))
    for i in range(1, n):
        # The ends of a trace on background join nothing.
        rim = cv2.dilate((gaps == i).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        if len(np.unique(apart[rim & (apart > 0)])) > 1:
            inside |= gaps == i
    first = _at(labels, points[0])
    return box, np.where(inside, np.uint16(first or chosen[0]), window)


def _draw(labels: Objects, points: Points) -> Corrected:
    first, free = _at(labels, points[0]), int(labels.max()) + 1
    if len(points) < 3 or (not first and free > HIGHEST):
        return None
    box, inside = cover_polygon(labels.shape, points)
    window = labels[box[0] : box[2], box[1] : box[3]]
    return box, np.where(inside & (window == 0), np.uint16(first or free), window)


def _parts(mask: NDArray[np.bool_]) -> tuple[int, NDArray[Any], NDArray[np.intp]]:
    """Return the number of 8-connected parts, background among them, the part of each pixel, and their areas (px)."""
    n, places, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask).view(np.uint8), connectivity=8)
    return n, places, stats[:, cv2.CC_STAT_AREA].astype(np.intp)


def _touched(labels: Objects, points: Points) -> list[int]:
    """Return the numbers of the objects under a trace."""
    box, line = cover_line(labels.shape, points, 0.5)
    found = np.unique(labels[box[0] : box[2], box[1] : box[3]][line])
    return [int(label) for label in found if label]


def _at(labels: Objects, point: tuple[float, float]) -> int:
    row, col = (int(np.floor(v)) for v in point)
    inside = 0 <= row < labels.shape[0] and 0 <= col < labels.shape[1]
    return int(labels[row, col]) if inside else 0


def _box_of(labels: Objects, chosen: Sequence[int]) -> Box:
    """Return the box of some objects; an empty one for none."""
    wanted = np.zeros(HIGHEST + 1, np.uint8)
    wanted[list(chosen)] = 1
    left, top, wide, high = cv2.boundingRect(wanted[labels])
    return top, left, top + high, left + wide


def _around(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _line_in(shape: tuple[int, ...], box: Box, points: Points, radius: float) -> NDArray[np.bool_]:
    """Return the part of a trace that is in a box."""
    place, line = cover_line(shape, points, radius)
    whole = _around(place, box)
    found = np.zeros((whole[2] - whole[0], whole[3] - whole[1]), bool)
    found[place[0] - whole[0] : place[2] - whole[0], place[1] - whole[1] : place[3] - whole[1]] = line
    return found[box[0] - whole[0] : box[2] - whole[0], box[1] - whole[1] : box[3] - whole[1]]


def as_mask(labels: Objects, task: MaskTask) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return objects as the pixels of a mask file.

    Parameters
    ----------
    labels : uint16 array of shape (M, N)
    task : str
        "instances": numbers from 1 on; "binary": 255 inside, with a gap of one pixel between objects that touch.

    Returns
    -------
    uint8 or uint16 array of shape (M, N)
    """
    if task == BINARY:
        around = np.where(labels > 0, labels, HIGHEST)
        lower = cv2.erode(around, np.ones((3, 3), np.uint8)) < labels
        return np.where((labels > 0) & ~lower, np.uint8(255), np.uint8(0))
    numbered = number(labels)
    return numbered if numbered.max() > 255 else numbered.astype(np.uint8)


@final
class ObjectStore:
    """The objects of one image with their history, and the mask that was made of them; used by several threads.

    Parameters
    ----------
    mask : Path
        The file that `save` writes, masks/NAME.png.
    log : Path
        The history.
    shape : (M, N)
        Of the image.

    Attributes
    ----------
    lock : Lock
        Held while `labels` are read.
    """

    def __init__(self, mask: Path, log: Path, shape: tuple[int, int]) -> None:
        """Read what is there.

        Raises
        ------
        DatasetError
            If the history cannot be read.
        """
        self.lock = Lock()
        self._history = History(log, np.zeros(shape, np.uint16), _CHANGES.validate_python, correct)
        self._mask = SavedFile(mask, self._history)
        self._is_current = False
        for entry in self._history.read():
            changed = self._history.replay(entry) is not None
            self._mask.replay(entry)
            self._is_current = "saved" in entry or (self._is_current and not changed)

    @property
    def labels(self) -> Objects:
        """uint16 array of shape (M, N); read under `lock`."""
        return self._history.raster

    @property
    def beginning(self) -> Beginning | None:
        """The answer that the objects are of."""
        found = (change for change in reversed(self._history.changes) if isinstance(change, Beginning))
        return next(found, None)

    @property
    def owns_mask(self) -> bool:
        """Whether the mask on disk was written here, and not changed since."""
        return self._mask.is_ours

    def as_json(self) -> dict[str, Any]:
        """Return the state as values that JSON knows: `title` is "" before the beginning."""
        begun = self.beginning
        with self.lock:
            n = np.count_nonzero(np.bincount(self.labels.ravel(), minlength=1)[1:])
        mask = ("current" if self._is_current else "older") if self.owns_mask else ""
        return self._history.as_json() | {"title": begun.title if begun else "", "objects": int(n), "mask": mask}

    def begin(self, change_id: str, labels: Objects, title: str, task: MaskTask) -> None:
        """Replace what is there by the objects of an answer, durably."""
        packed = pack(np.ascontiguousarray(labels)).hex()
        self._change(Beginning(id=change_id, title=title, task=task, labels=packed))

    def add(self, correction: Correction) -> None:
        """Make a correction, durably.

        Raises
        ------
        ObjectsError
            If it changes nothing.
        """
        self._change(correction)

    def _change(self, change: Correction | Beginning) -> None:
        with self.lock:
            if self._history.knows(change.id):
                return
            if self._history.add(change) is None:
                raise ObjectsError(_NOTHING[change.tool])
            self._is_current = False

    def undo(self) -> None:
        """Take the last change back, durably, if there is one."""
        with self.lock:
            self._is_current = self._history.undo() is None and self._is_current

    def redo(self) -> None:
        """Make the change again that was taken back last, durably, if there is one."""
        with self.lock:
            self._is_current = self._history.redo() is None and self._is_current

    def save(self, task: MaskTask) -> None:
        """Write the objects as the image's mask, in place of one that was written here.

        Raises
        ------
        ObjectsError
            If the image has another mask.
        """
        with self.lock:
            if (foreign := self._mask.find_foreign()) is not None:
                raise ObjectsError(
                    f"{foreign.parent.name}/{foreign.name}: not made in the studio, so it is left as it is. Move "
                    "it away, and save again."
                )
            self._mask.write(cv2.imencode(".png", as_mask(self.labels, task))[1].tobytes())
            self._is_current = True

    def withdraw(self) -> None:
        """Remove the mask that was written here; the objects stay.

        Raises
        ------
        ObjectsError
            If there is none.
        """
        with self.lock:
            if not self.owns_mask:
                raise ObjectsError(f"{self._mask.path.name}: no mask was saved here, or it was changed since.")
            self._mask.path.unlink()
            with suppress(OSError):  # An empty folder of masks would be an error of the dataset.
                self._mask.path.parent.rmdir()
            self._history.append({"withdrawn": True})
            self._is_current = False


_NOTHING = {
    "delete": "There is no object here.",
    "split": "No object was split. Draw across one, from one side to the other.",
    "merge": "Drag from one object to another one.",
    "draw": "Draw an outline on background; other objects keep their pixels.",
}
"""The error if a correction changes nothing, by its tool."""
