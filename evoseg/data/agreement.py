"""Whether the parts of a dataset fit together: channels over all images, sizes within one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import DatasetError
from evoseg.base.notes import Note
from evoseg.data.sources import Part, Source


def parts_of(source: Source, stem: str) -> list[str]:
    """Return the parts that an image has, its own pixels first."""
    every = ["image", *(f"planes/{name}" for name in source.planes), "mask", "known", "points", "moving", "shift"]
    return [part for part in every if source.has(part, stem)]


def channels_of(source: Source, stems: Sequence[str]) -> tuple[str, ...]:
    """Return the channel names on which the named images of a source agree.

    Raises
    ------
    DatasetError
        If two images differ in more than grey against RGB, or two files of a plane do at all.
    """
    first: dict[tuple[str, ...], str] = {}
    for stem in stems:
        for part in ("image", "moving"):
            if source.has(part, stem):
                first.setdefault(source.names(part, stem), source.where(part, stem))
    kinds = sorted(first, key=len, reverse=True)
    if len(kinds) > 1 and set(kinds) != {("R", "G", "B"), ("gray",)}:
        raise _unequal(first[kinds[0]], kinds[0], first[kinds[1]], kinds[1])
    names = kinds[0]
    for plane in source.planes:
        names += plane_channels(source, plane, stems)
    return names


def plane_channels(source: Source, plane: str, stems: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the channels that a plane adds: its own, with a suffix if there are several."""
    found: dict[tuple[str, ...], str] = {}
    for stem in stems:
        if source.has(f"planes/{plane}", stem):
            found.setdefault(source.names(f"planes/{plane}", stem), source.where(f"planes/{plane}", stem))
    if len(found) > 1:
        (names, where), (others, other) = list(found.items())[:2]
        raise _unequal(where, names, other, others)
    if not found:
        return ()
    (names,) = found
    return (plane,) if len(names) == 1 else tuple(f"{plane}.{name}" for name in names)


def _unequal(where: str, names: tuple[str, ...], other: str, others: tuple[str, ...]) -> DatasetError:
    return DatasetError(
        f"{where}: has the channels {' '.join(names)}, but {Path(other).name} has {' '.join(others)}; all images of a "
        "dataset need the same ones (only grey and RGB mix). Export them alike, or as two datasets."
    )


def known_of(parts: Mapping[str, Part]) -> NDArray[np.bool_] | None:
    """Return where the truth says anything, shape (M, N), None if everywhere.

    That is where the known area is above 0, and a mask of whole numbers is not below 0. Parts agree in size.
    """
    known: NDArray[np.bool_] | None = parts["known"].array > 0 if "known" in parts else None
    if "mask" in parts and parts["mask"].array.dtype.kind == "i":
        said = parts["mask"].array >= 0
        if not said.all():
            known = said if known is None else known & said
    return known


def mismatches(source: Source, stem: str, parts: Mapping[str, Part]) -> list[Note]:
    """Say which parts differ in size from their image."""
    image = parts["image"]
    rows_cols = image.array.shape[:2]
    faults: list[Note] = []
    for part, found in parts.items():
        if part == "points":
            faults += _outside(found, image)
        elif part == "shift":
            faults += _beyond(found, image)
        elif found.array.shape[:2] != rows_cols:
            what = "moving image" if part == "moving" else part.replace("planes/", "plane ")
            said = (
                f"{what} is {found.array.shape[:2]} but {Path(image.where).name} is {rows_cols}; a {what} must match "
                f"its image pixel for pixel. Re-export the {what} at the image's size."
            )
            faults.append(Note(found.where, said))
    return faults


def _outside(points: Part, image: Part) -> list[Note]:
    """Say if points lie beyond their image: rows and columns may have changed places."""
    rows, cols = image.array.shape[:2]
    beyond = int(np.sum(np.any((points.array < -0.5) | (points.array > np.array([rows, cols]) - 0.5), axis=1)))
    if not beyond:
        return []
    said = (
        f"{beyond} of {len(points.array)} points lie outside {Path(image.where).name}, which has {rows} rows and "
        f"{cols} columns. Are y (row) and x (column) in the columns that the first line names?"
    )
    return [Note(points.where, said)]


def _beyond(shift: Part, image: Part) -> list[Note]:
    """Say if a shift is more than half a side, which no correlation of these images could find."""
    rows, cols = image.array.shape[:2]
    dy, dx = np.abs(shift.array)
    if dy <= rows // 2 and dx <= cols // 2:
        return []
    said = (
        f"{Path(image.where).stem} is shifted by ({shift.array[0]:g}, {shift.array[1]:g}) px, more than half of its "
        f"{rows} rows or {cols} columns. Are dy and dx in pixels, and in the right columns?"
    )
    return [Note(shift.where, said)]
