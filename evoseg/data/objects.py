"""Objects in truths: numbers of a label image, what touches, points in a file."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import DatasetError
from evoseg.data.scribbles import HIGHEST_CLASS, MOST_CLASSES

_COLUMNS = (("y", "x"), ("row", "col"), ("row", "column"), ("axis-0", "axis-1"), ("r", "c"))
"""Names of the columns that hold rows and columns of points, in lower case."""
_CORE = 0.65
"""Share of an object's largest half-width: where more than this is left on two sides of a neck, two objects touch."""
_MOST_PARTS = 6
"""Touching objects in one clump up to which it is taken for one."""
_COMPACT = 2.5
"""Area of an object, by that of the largest disk in it, up to which it is compact: 1 for a disk, 2 for an ellipse."""


@dataclass(frozen=True)
class Tally:
    """What the values of a mask look like.

    Attributes
    ----------
    n_values : int
        Distinct values above 0.
    n_touching : int
        Objects that touch another: of a label image by its numbers, of a mask by necks between round parts.
    values : tuple of int
        The values above 0, if they may be classes: few whole numbers up to 255. Else empty.
    """

    n_values: int
    n_touching: int
    values: tuple[int, ...] = ()


def objects_of(values: NDArray[Any]) -> NDArray[np.int32]:
    """Return objects numbered from 1: by the values above 0, or by what hangs together if there is only one.

    Parameters
    ----------
    values : array of shape (M, N)
        Of a mask file.

    Returns
    -------
    int32 array of shape (M, N)
    """
    import cv2

    foreground = values > 0
    found, number = np.unique(values[foreground], return_inverse=True)
    if len(found) == 1:
        labels: NDArray[Any] = cv2.connectedComponents(foreground.view(np.uint8), ltype=cv2.CV_32S)[1]
        return labels
    result = np.zeros(values.shape, np.int32)
    result[foreground] = number + 1
    return result


def tally(values: NDArray[Any]) -> Tally:
    """Return what the values of a mask of shape (M, N) look like."""
    foreground = values > 0
    found = np.unique(values[foreground])
    classes = _classes(found)
    if len(found) < 2:
        return Tally(len(found), _necks(foreground) if len(found) else 0, classes)
    touching = [
        np.stack([a[(a != b) & (a > 0) & (b > 0)], b[(a != b) & (a > 0) & (b > 0)]])
        for a, b in ((values[:, :-1], values[:, 1:]), (values[:-1], values[1:]))
    ]
    n_touching = len(np.unique(np.concatenate(touching, axis=1)))
    return Tally(len(found), n_touching, classes)


def _classes(found: NDArray[Any]) -> tuple[int, ...]:
    """Return values if they may be classes, else ()."""
    if len(found) > MOST_CLASSES or (found > HIGHEST_CLASS).any() or (found != np.round(found)).any():
        return ()
    return tuple(int(value) for value in found)


def _necks(mask: NDArray[np.bool_]) -> int:
    """Count compact parts that hang together over necks; networks and other long things have none."""
    import cv2

    found: tuple[int, Any] = cv2.connectedComponents(mask.view(np.uint8), ltype=cv2.CV_32S)
    n, labels = found
    # Without background, OpenCV answers with a huge number.
    width = np.minimum(cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5), np.float32(sum(mask.shape)))
    widest = np.zeros(n, np.float32)
    np.maximum.at(widest, labels.ravel(), width.ravel())
    cores = mask & (width > _CORE * np.take(widest, labels)) & (np.take(widest, labels) > 2)
    n_cores, numbered = cv2.connectedComponents(cores.astype(np.uint8), ltype=cv2.CV_32S)
    owner = np.zeros(n_cores, np.intp)
    owner[numbered.ravel()] = np.where(cores, labels, 0).ravel()
    parts = np.bincount(owner[1:], minlength=n)
    areas = np.bincount(labels.ravel(), minlength=n)
    compact = areas <= _COMPACT * np.maximum(parts, 1) * np.pi * np.maximum(widest, 1) ** 2
    compact[0] = False
    # Where few objects are single and compact, as in a network of lines, a neck means nothing.
    if (compact & (parts == 1)).sum() < 0.5 * (n - 1):
        return 0
    return int(parts[compact & (parts > 1) & (parts <= _MOST_PARTS)].sum())


def points_in(path: Path, data: bytes) -> NDArray[np.float64]:
    """Return the points of a CSV file, shape (n, 2), (row, col) in px.

    Parameters
    ----------
    path : Path
        For messages.
    data : bytes
        Text in UTF-8. The first line names the columns: y and x, row and col, or axis-0 and axis-1 (napari), among any
        others. A file with that line only says that there is no object.

    Raises
    ------
    DatasetError
        If the columns are not there, or a line does not hold two numbers; the message names the line.
    """
    try:
        lines = list(csv.reader(data.decode("utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: not a CSV text in UTF-8. Save it as plain text.") from error
    heads = [head.strip().lower() for head in lines[0]] if lines else []
    columns = next(([heads.index(row), heads.index(col)] for row, col in _COLUMNS if {row, col} <= {*heads}), None)
    if columns is None:
        raise DatasetError(
            f"{path}: the first line must name the columns, y,x or row,col; it is '{','.join(heads)[:60]}'. Without "
            "names, which number is the row would be a guess."
        )
    points = []
    for number, line in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in line):
            continue
        try:
            point = [float(line[column]) for column in columns]
        except (ValueError, IndexError):
            point = [np.nan]
        if not np.isfinite(point).all():
            raise DatasetError(f"{path}: line {number} holds no two numbers. Correct or remove it.")
        points.append(point)
    return np.array(points, np.float64).reshape(-1, 2)


def points_text(points: NDArray[np.float64]) -> str:
    """Return points (row, col) as the CSV text that `points_in` reads, to a thousandth of a pixel."""
    return "y,x\n" + "".join(f"{row:.3f},{col:.3f}\n" for row, col in points)
