"""Recognise outlines in formats of other tools that are not read, and say how to convert them."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile

from evoseg.core.errors import DatasetError
from evoseg.core.notes import Note
from evoseg.core.untrusted import open_file
from evoseg.datasets.layouts.base import entries_of

_HEAD = 1 << 16
"""Bytes of a file that are looked at."""
_TRIED = 3
"""Number of files per ending and folder that are examined; the others are assumed to be alike."""
_MOST_ENTRIES = 5000
"""Files in each folder that are looked at."""
_MOST_FOLDERS = 50
_MOST_ZIP_BYTES = 64 * 2**20


@dataclass(frozen=True)
class _Format:
    """A format of outlines.

    Attributes
    ----------
    name : str
        With its verb: "LabelMe outlines are".
    endings : tuple of str
    is_it : callable (bytes) -> bool
        Whether the first bytes of a file are such.
    how : str
        What to do.
    """

    name: str
    endings: tuple[str, ...]
    is_it: Callable[[bytes], bool]
    how: str


def _with(*marks: str) -> Callable[[bytes], bool]:
    return lambda head: all(mark.encode() in head for mark in marks)


_NUMBER = rb"-?\d+(?:\.\d*)?(?:[eE]-?\d+)?"
_RESULT = re.compile(rb'"(result|annotations|completions)"')
_YOLO = re.compile(rb"\s*\d{1,4}(?:[ \t]+" + _NUMBER + rb"){4,}[ \t]*(?:\r?\n|$)")
_FROM_ANY = "Export COCO from the tool that wrote them (CVAT, Label Studio and Roboflow do), which is read."
_MASKS = "Put masks into masks/, named as their images."

_FORMATS = (
    _Format(
        "LabelMe outlines are",
        ("json",),
        lambda head: b'"shapes"' in head and (b'"version"' in head or b'"imagePath"' in head),
        "labelme2coco writes COCO, which is read.",
    ),
    _Format(
        "VGG Image Annotator (VIA) outlines are",
        ("json", "csv"),
        lambda head: b"shape_attributes" in head,
        "In VIA choose Annotation > Export Annotations (COCO format), which is read.",
    ),
    _Format(
        "Supervisely annotations are",
        ("json",),
        lambda head: b'"classTitle"' in head or (b'"objects"' in head and b'"tags"' in head and b'"size"' in head),
        "Export COCO or masks from Supervisely; COCO is read.",
    ),
    _Format(
        "GeoJSON outlines (as from QuPath) are",
        ("geojson", "json"),
        lambda head: b'"Feature' in head and (b'"geometry"' in head or b'"features"' in head),
        "In QuPath, export labelled images (LabeledImageServer in a script) and put them into masks/.",
    ),
    _Format(
        "this export of Label Studio is",
        ("json",),
        lambda head: b'"original_width"' in head or (b'"data"' in head and _RESULT.search(head) is not None),
        "In Label Studio choose Export > COCO, which is read, or Brush labels to PNG.",
    ),
    _Format(
        "V7 Darwin annotations are", ("json",), _with('"item"', '"annotations"'), "In V7 export COCO, which is read."
    ),
    _Format(
        "Labelbox annotations are", ("json", "ndjson"), _with('"data_row"'), "Convert them to COCO, which is read."
    ),
    _Format(
        "SuperAnnotate annotations are", ("json",), _with('"metadata"', '"instances"'), "Export COCO, which is read."
    ),
    _Format(
        "CVAT outlines in XML are",
        ("xml",),
        lambda head: b"<annotations" in head and (b"<image" in head or b"<meta>" in head),
        "In CVAT choose Export dataset > COCO 1.0, which is read, or Segmentation mask 1.1.",
    ),
    _Format(
        "Pascal VOC annotations in XML are",
        ("xml",),
        _with("<annotation", "<object"),
        "Most hold boxes only. For outlines, put the images of SegmentationClass/ or SegmentationObject/ beside "
        f"JPEGImages/, or export COCO. {_MASKS}",
    ),
    _Format(
        "ASAP outlines are",
        ("xml",),
        _with("<ASAP_Annotations"),
        f"Export masks, as with ASAP's Python package. {_MASKS}",
    ),
    _Format(
        "Aperio ImageScope outlines are",
        ("xml",),
        _with("<Annotations", "<Region"),
        f"Import them into QuPath and export labelled images. {_MASKS}",
    ),
    _Format(
        "run lengths in a table are",
        ("csv",),
        lambda head: b"EncodedPixels" in head or re.search(rb"(?i)(^|[,_])rle\b", head[:1000]) is not None,
        f"Decode them into a PNG per image. {_MASKS}",
    ),
    _Format("YOLO annotations are", ("txt",), lambda head: bool(_YOLO.match(head)), _FROM_ANY),
)
_ROIS = _Format(
    "ImageJ ROIs are",
    ("roi", "zip"),
    lambda head: head.startswith(b"Iout"),
    "In Fiji, the plugin LaRoMe (update site PTBIOP) makes a label image of them; in Python, roifile. " + _MASKS,
)


def find_unread_outlines(root: Path) -> list[Note]:
    """Return a note for each file in a folder, or up to two folders deeper, that holds outlines which are not read."""
    notes: list[Note] = []
    for folder in islice(_folders(root), _MOST_FOLDERS):
        by_ending: dict[str, list[Path]] = {}
        for path in entries_of(folder)[:_MOST_ENTRIES]:
            by_ending.setdefault(path.suffix[1:].lower(), []).append(path)
        for ending, paths in by_ending.items():
            found = next((f for path in paths[:_TRIED] if (f := format_of_outlines(path, root)) is not None), None)
            if found is not None:
                notes += [Note(path, f"{found.name} not read. {found.how}", (found.name, ending)) for path in paths]
    return notes


def format_of_outlines(path: Path, root: Path) -> _Format | None:
    """Return the format of outlines that a file in the folder `root` holds, by its first bytes; None for any other."""
    ending = path.suffix[1:].lower()
    known = [one for one in (*_FORMATS, _ROIS) if ending in one.endings]
    try:
        if not known:
            return None
        with open_file(path, inside=root) as file:
            if ending == "zip":
                return _ROIS if _holds_rois(file) else None
            head = file.read(_HEAD)
    except (OSError, DatasetError):
        return None
    return next((one for one in known if one.is_it(head)), None)


def _holds_rois(file: BinaryIO) -> bool:
    if file.seek(0, os.SEEK_END) > _MOST_ZIP_BYTES:
        return False
    try:
        with ZipFile(file) as archive:
            return any(name.lower().endswith(".roi") for name in islice(archive.namelist(), 10))
    except (BadZipFile, NotImplementedError, ValueError):
        return False


def _folders(root: Path) -> Iterator[Path]:
    yield root
    inner = [entry for entry in entries_of(root) if entry.is_dir() and not entry.is_symlink()]
    yield from inner
    for folder in inner:
        yield from (entry for entry in entries_of(folder) if entry.is_dir() and not entry.is_symlink())
