"""Pipelines in other languages."""

import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from evoseg.core.errors import DatasetError, ImageWarning, SettingsError, unknown
from evoseg.core.notes import Note, group_notes
from evoseg.core.transforms import SHIFT
from evoseg.datasets.io.files import channel_places as places_in
from evoseg.datasets.io.files import read_image as evoseg_reads
from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions
from evoseg.exporters import cpp, imagej
from evoseg.exporters.bioimageio import HeldOutScore, export_bioimageio
from evoseg.exporters.blocks import Filters
from evoseg.exporters.bundle import export_bundle
from evoseg.exporters.python import export_python
from evoseg.exporters.standalone import Places, read_image
from evoseg.pipeline import Pipeline, write_json

EXPORTERS: dict[str, Callable[[Pipeline, Places | None, ReadOptions], str]] = {
    "python": lambda pipeline, places, reading: export_python(pipeline, places, transform=reading.transform or SHIFT),
    "cpp": lambda pipeline, *_: cpp.export_cpp(pipeline),
    "imagej": lambda pipeline, *_: imagej.export_imagej(pipeline),
    "json": lambda pipeline, *_: write_json(pipeline) + "\n",
}
BUNDLE, BIOIMAGEIO = "bundle", "bioimageio"
ARCHIVES = (BUNDLE, BIOIMAGEIO)
"""Forms that are a .zip of several files."""
FORMS = (*EXPORTERS, *ARCHIVES)
ENDINGS = {".py": "python", ".cpp": "cpp", ".ijm": "imagej", ".json": "json", ".zip": BUNDLE}
READS_IMAGES = ("python", *ARCHIVES)
"""Forms with a Python file that reads images itself."""
NETWORKS_BESIDE = ("cpp", "json")
"""Forms that name the networks which a pipeline asks, so that their files have to lie beside."""
LANGUAGES: dict[str, Filters] = {filters.target: filters for filters in (cpp.FILTERS, imagej.FILTERS)}
"""Those that do not carry every pipeline."""


def exported(pipeline: Pipeline, to: str, reading: ReadOptions = DEFAULT_OPTIONS, images: Sequence[Path] = ()) -> str:
    """Return the pipeline as text in the form `to`.

    Parameters
    ----------
    pipeline : Pipeline
    to : str
        One of `FORMS`, but none of `ARCHIVES`.
    reading : ReadOptions
        How the images were read that it was made for; the text says so.
    images : sequence of Path
        Some of those images: a Python file reads them as evoseg does, as far as OpenCV can.

    Raises
    ------
    SettingsError
        If the form is unknown, or a .zip, which is no text.
    ExportError
        If the pipeline cannot be written in it.

    Warns
    -----
    ImageWarning
        If a Python file cannot read some of the images, or reads other pixels.
    """
    _check_form(to)
    if to in ARCHIVES:
        raise SettingsError(f"--to {to} writes a .zip file. Name it with --out (path=).")
    places = _places(images, reading) if to == "python" else None
    text = EXPORTERS[to](pipeline, places, reading)
    if to == "python":
        _warn_of_unread(pipeline, images, reading, places)
    if to == "json":
        return json.dumps(json.loads(text) | {"reads": reading.chosen}) + "\n" if reading else text
    if reading:
        comment = "#" if to == "python" else "//"
        text = f"{comment} Made for images that evoseg read with {reading}: give it such images.\n{text}"
    if to != "python" and pipeline.made_for is not None:
        text = f"// Made for images of {pipeline.made_for}.\n{text}"
    return text


def packed(
    pipeline: Pipeline,
    to: str,
    reading: ReadOptions = DEFAULT_OPTIONS,
    images: Sequence[Path] = (),
    held_out: HeldOutScore | None = None,
) -> bytes:
    """Return the pipeline as one of `ARCHIVES`; parameters, errors and warnings as of `exported`.

    Parameters
    ----------
    held_out : HeldOutScore, optional
        What a package of bioimage.io says of the pipeline's score.
    """
    places = _places(images, reading)
    if to == BIOIMAGEIO:
        archive = export_bioimageio(pipeline, places, reading, held_out)
    else:
        archive = export_bundle(pipeline, places, reading)
    _warn_of_unread(pipeline, images, reading, places)
    return archive


def _check_form(to: str) -> None:
    if to not in FORMS:
        raise SettingsError(unknown("form", to, FORMS))


def _warn_of_unread(pipeline: Pipeline, images: Sequence[Path], reading: ReadOptions, places: Places | None) -> None:
    for line in group_notes(_unread(pipeline, images, reading, places)):
        warnings.warn(line, ImageWarning, stacklevel=3)


def _places(images: Sequence[Path], reading: ReadOptions) -> Places | None:
    """Return where the channels lie in most of some files; None if each is one page that is read as it is."""
    found: Counter[Places] = Counter()
    for path in images:
        with suppress(DatasetError):
            at = places_in(path, reading)
            if at is not None and (at[0] > 1 or reading.channel):
                found[at] += 1
    return found.most_common(1)[0][0] if found else None


def _unread(pipeline: Pipeline, images: Sequence[Path], reading: ReadOptions, places: Places | None) -> Iterator[Note]:
    """Say of images that an exported Python file reads otherwise than evoseg does, or not at all."""
    n_channels = 0 if pipeline.made_for is None else len(pipeline.made_for.channels)
    advice = "Convert such images, for instance in ImageJ by File > Save As > Tiff, to 8 or 16 bits, a file each"
    for path in images:
        try:
            ours = evoseg_reads(path, reading)
        except DatasetError:
            continue
        try:
            if np.array_equal(ours, read_image(path, places, n_channels)):
                continue
            why = "OpenCV gives other pixels"
        except (ValueError, OSError) as error:
            why = str(error).rstrip(".")
        yield Note(path.name, f"the exported file does not read it as the search does ({why}). {advice}.", "unread")
