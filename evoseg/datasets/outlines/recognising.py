"""Recognise files of annotation tools by their first bytes."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar
from zipfile import BadZipFile, ZipFile

from evoseg.core.errors import DatasetError
from evoseg.core.untrusted import open_file
from evoseg.datasets.layouts.base import entries_of
from evoseg.datasets.outlines.annotated import Annotated

_HEAD = 1 << 16
"""Bytes of a file that are looked at."""
_MOST_ENTRIES = 5000
"""Files in each folder that are looked at."""
_MOST_FOLDERS = 50
"""Folders in which files of a format are looked for; once it is recognised, it is read from all."""
_MOST_ZIP_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Format:
    """A format of annotations.

    Attributes
    ----------
    name : str
        As people call it.
    endings : tuple of str
        Of its files, in lower case.
    is_it : callable (bytes) -> bool
        Whether the first bytes of a file are such; of an archive, the names in it, one a line.
    """

    name: str
    endings: tuple[str, ...]
    is_it: Callable[[bytes], bool]


def with_words(*words: str) -> Callable[[bytes], bool]:
    """Return a test whether all words are among the first bytes."""
    return lambda head: all(word.encode() in head for word in words)


@dataclass(frozen=True)
class ReadableFormat(Format):
    """A format that is read.

    Attributes
    ----------
    reader : callable (Path) -> callable (Path) -> list of Annotated
        For a dataset's folder, returns what reads a file in it, and raises a DatasetError that names file and place.
    per_image : bool
        Whether each file is about one image and, unless it says otherwise, is called as it.
    """

    reader: Callable[[Path], Callable[[Path], list[Annotated]]]
    per_image: bool = True


_F = TypeVar("_F", bound=Format)


def recognise(path: Path, root: Path, formats: Sequence[_F]) -> _F | None:
    """Return the format of a file in the folder `root`; None for any other, and for one that cannot be read."""
    ending = path.suffix[1:].lower()
    known = [one for one in formats if ending in one.endings]
    try:
        if not known:
            return None
        with open_file(path, inside=root) as file:
            head = (_names(file) if ending == "zip" else b"") or file.read(_HEAD)
    except (OSError, DatasetError):
        return None
    return next((one for one in known if one.is_it(head)), None)


def _names(file: BinaryIO) -> bytes:
    """Return the names in an archive; nothing if it is damaged or too large."""
    if file.seek(0, os.SEEK_END) > _MOST_ZIP_BYTES:
        file.seek(0)
        return b""
    try:
        with ZipFile(file) as archive:
            return "\n".join(islice(archive.namelist(), 10)).encode(errors="replace")
    except (BadZipFile, NotImplementedError, ValueError):
        file.seek(0)
        return b""


def files_by_ending(root: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield the files of a folder, and of those up to two folders deeper, by folder and ending, as far as is looked."""
    for folder in islice(folders_within(root), _MOST_FOLDERS):
        by_ending: dict[str, list[Path]] = {}
        for path in entries_of(folder)[:_MOST_ENTRIES]:
            by_ending.setdefault(path.suffix[1:].lower(), []).append(path)
        yield from by_ending.items()


def folders_within(root: Path) -> Iterator[Path]:
    """Yield a folder, and those up to two folders deeper; links are not followed."""
    yield root
    inner = [entry for entry in entries_of(root) if entry.is_dir() and not entry.is_symlink()]
    yield from inner
    for folder in inner:
        yield from (entry for entry in entries_of(folder) if entry.is_dir() and not entry.is_symlink())
