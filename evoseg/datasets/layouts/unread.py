"""Recognise outlines in formats of other tools that are not read, and say how to convert them."""

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from evoseg.core.errors import DatasetError
from evoseg.core.notes import Note
from evoseg.datasets.documents import MOST_BYTES, read_json_value
from evoseg.datasets.outlines.recognising import Format, files_by_ending, recognise, with_words

_TRIED_JSON = 20
"""Number of JSON files that are read to see whether they are JSON."""
_TRIED = 3
"""Number of files per ending and folder that are examined; the others are assumed to be alike."""


@dataclass(frozen=True)
class UnreadFormat(Format):
    """A format that is not read; its name has a verb, as in "ASAP outlines are".

    Attributes
    ----------
    how : str
        What to do.
    """

    how: str


_MASKS = "Put masks into masks/, named like their images."

UNREAD_FORMATS = (
    UnreadFormat(
        "VGG Image Annotator (VIA) outlines in a table are",
        ("csv",),
        lambda head: b"shape_attributes" in head,
        "In VIA choose Annotation > Export Annotations (as JSON), which is read.",
    ),
    UnreadFormat(
        "V7 Darwin annotations are",
        ("json",),
        with_words('"item"', '"annotations"'),
        "In V7 export COCO, which is read.",
    ),
    UnreadFormat(
        "Labelbox annotations are",
        ("json", "ndjson"),
        with_words('"data_row"'),
        "Convert them to COCO, which is read.",
    ),
    UnreadFormat(
        "SuperAnnotate annotations are",
        ("json",),
        with_words('"metadata"', '"instances"'),
        "Export COCO, which is read.",
    ),
    UnreadFormat(
        "Pascal VOC annotations in XML are",
        ("xml",),
        with_words("<annotation", "<object"),
        "Most hold boxes only. For outlines, put the images of SegmentationClass/ or SegmentationObject/ beside "
        f"JPEGImages/, or export COCO. {_MASKS}",
    ),
    UnreadFormat(
        "ASAP outlines are",
        ("xml",),
        with_words("<ASAP_Annotations"),
        f"Export masks, as with ASAP's Python package. {_MASKS}",
    ),
    UnreadFormat(
        "Aperio ImageScope outlines are",
        ("xml",),
        with_words("<Annotations", "<Region"),
        "Import them into QuPath and export GeoJSON, which is read.",
    ),
    UnreadFormat(
        "run lengths in a table are",
        ("csv",),
        lambda head: b"EncodedPixels" in head or re.search(rb"(?i)(^|[,_])rle\b", head[:1000]) is not None,
        f"Decode them into a PNG per image. {_MASKS}",
    ),
)


def find_unread_outlines(root: Path) -> list[Note]:
    """Return a note for each file in a folder, or up to two folders deeper, that holds outlines which are not read."""
    notes: list[Note] = []
    for ending, paths in files_by_ending(root):
        found = next((f for path in paths[:_TRIED] if (f := recognise(path, root, UNREAD_FORMATS)) is not None), None)
        if found is not None:
            notes += [Note(path, f"{found.name} not read. {found.how}", (found.name, ending)) for path in paths]
    return notes


def find_broken_json(root: Path) -> list[Note]:
    """Return a note for each JSON file in a folder, or up to two folders deeper, that cannot be read at all."""
    paths = (path for ending, some in files_by_ending(root) if ending in ("json", "geojson") for path in some)
    notes = []
    for path in islice(paths, _TRIED_JSON):
        try:
            read_json_value(path, MOST_BYTES, root)
        except DatasetError as error:
            notes.append(Note.of(error, path))
    return notes
