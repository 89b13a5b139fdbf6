"""A table of files, manifest.csv, for any arrangement: a line per image."""

from dataclasses import replace
from pathlib import Path

from evoseg.base.errors import DatasetError, legible, unknown
from evoseg.base.notes import Note
from evoseg.base.untrusted import within
from evoseg.data.formats import FORMATS
from evoseg.data.layouts.documents import file_called, table_in
from evoseg.data.layouts.layout import SIDE_OF, Entry, Files, Layout, Look, gathered
from evoseg.data.listing import Notes, is_image, stem_of
from evoseg.data.truths import MaskFile

NAME = "manifest.csv"
_FILES = ("image", "mask", "labels", "known", "points")
_COLUMNS = (*_FILES, "split", "group")
_SPLIT_OF = SIDE_OF | {"search": "train", "selection": "selection"}
_MOST_BYTES = 64 * 2**20


def look(root: Path) -> Look:
    """Take folders with the table; it goes before all else, since somebody wrote it."""
    # A pipe or a link to a device is no table, but passing over it in silence would be wrong, too.
    if (root / NAME).exists() and not (root / NAME).is_dir():
        return Look(f"{NAME} lists the files", read)
    return Look(f"needs {NAME}, with the column image and some of {', '.join(_COLUMNS[1:])}")


def read(notes: Notes) -> Files:
    """List what the table names, and note each line that is wrong."""
    table = notes.root / NAME
    try:
        heads, lines = table_in(table, _MOST_BYTES, notes.root)
    except DatasetError as error:
        notes.faults.append(Note.of(error, table))
        return Files()
    if "image" not in heads:
        said = legible(",".join(heads))
        notes.faults.append(Note(table, f"the first line must name the columns, one of them image; it is '{said}'."))
        return Files()
    for head in heads:
        if head not in _COLUMNS:
            notes.warnings.append(Note(table, f"{unknown('column', head, _COLUMNS)} It is not used."))
    entries: list[Entry] = []
    first: dict[Path, int] = {}
    for number, cells in lines:
        try:
            entry = _entry(notes.root, cells)
        except DatasetError as error:
            notes.faults.append(Note(f"{table}: line {number}", str(error), error.worded_at))
            continue
        if (before := first.setdefault(entry.image, number)) != number:
            notes.faults.append(
                Note(f"{table}: line {number}", f"{entry.image.name} is on line {before} already. Keep one.")
            )
        else:
            entries.append(entry)
    if not lines:
        notes.faults.append(Note(table, "lists no image. Add a line for each."))
    return gathered(entries, notes)


LAYOUT = Layout("manifest", look)


def _entry(root: Path, cells: dict[str, str]) -> Entry:
    """Return what one line says."""
    files = {column: _file(root, cells[column]) for column in _FILES if cells.get(column)}
    if "image" not in files:
        raise DatasetError("names no image. Fill that cell, or remove the line.")
    for column in files.keys() - {"points"}:
        if not is_image(files[column]):
            raise DatasetError(f"{column}: {files[column].name} is not read; {FORMATS} are. Export it as one of them.")
    if "mask" in files and "labels" in files:
        raise DatasetError("has a mask and labels; both mean the mask, whose values may number objects. Keep one.")
    mask = files.get("mask") or files.get("labels")
    entry = Entry(stem_of(files["image"].name), files["image"], MaskFile(mask) if mask else None)
    word = cells.get("split", "").lower()
    if word and word not in _SPLIT_OF:
        raise DatasetError(unknown("split", word, ("train", "selection", "val", "test")))
    split, group = _SPLIT_OF.get(word, ""), cells.get("group", "")
    return replace(entry, known=files.get("known"), points=files.get("points"), split=split, group=group)


def _file(root: Path, cell: str) -> Path:
    """Return the file that a cell names, which must be there and in the folder."""
    path, shown = file_called(root, cell), legible(cell)
    if path is None:
        raise DatasetError(f"{shown}: no such file. Names are those from the dataset's folder on.")
    if not within(path, root):
        raise DatasetError(f"{shown} lies outside the dataset's folder. Copy the file, and name it from there on.")
    return path
