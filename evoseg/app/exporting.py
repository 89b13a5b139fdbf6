"""Pipelines in other languages."""

import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from evoseg.app.kept import result_of
from evoseg.app.runs import runs_folder
from evoseg.base.errors import DatasetError, ImageWarning, SettingsError, unknown
from evoseg.base.notes import Note, grouped
from evoseg.data.files import places as places_in
from evoseg.data.files import read_image as evoseg_reads
from evoseg.data.folder import scan
from evoseg.data.reading import PLAIN, Reading
from evoseg.evolve.evaluator import evenly_spaced
from evoseg.export import cpp, imagej
from evoseg.export.blocks import Filters
from evoseg.export.python import export_python
from evoseg.export.reader import Places, read_image
from evoseg.pipeline import Pipeline, write_json

EXPORTERS: dict[str, Callable[[Pipeline, Places | None], str]] = {
    "python": export_python,
    "cpp": lambda pipeline, places: cpp.export_cpp(pipeline),
    "imagej": lambda pipeline, places: imagej.export_imagej(pipeline),
    "json": lambda pipeline, places: write_json(pipeline) + "\n",
}
LANGUAGES: dict[str, Filters] = {filters.target: filters for filters in (cpp.FILTERS, imagej.FILTERS)}
"""Those that do not carry every pipeline."""


LOOKED_AT = 100
"""Images of a dataset, at most, that the reader of an exported file is tried on."""


def exported(pipeline: Pipeline, to: str, reading: Reading = PLAIN, images: Sequence[Path] = ()) -> str:
    """Return the pipeline as text in the form `to`.

    Parameters
    ----------
    pipeline : Pipeline
    to : str
        One of `EXPORTERS`.
    reading : Reading
        How the images were read that it was made for; the text says so.
    images : sequence of Path
        Some of those images: a Python file reads them as evoseg does, as far as OpenCV can.

    Raises
    ------
    SettingsError
        If the form is unknown.
    ExportError
        If the pipeline cannot be written in it.

    Warns
    -----
    ImageWarning
        If a Python file cannot read some of the images, or reads other pixels.
    """
    if to not in EXPORTERS:
        raise SettingsError(unknown("form", to, EXPORTERS))
    places = _places(images, reading) if to == "python" else None
    text = EXPORTERS[to](pipeline, places)
    if to == "python":
        for line in grouped(_unread(pipeline, images, reading, places)):
            warnings.warn(line, ImageWarning, stacklevel=2)
    if to == "json":
        return json.dumps(json.loads(text) | {"reads": reading.chosen}) + "\n" if reading else text
    if reading:
        comment = "#" if to == "python" else "//"
        text = f"{comment} Made for images that evoseg read with {reading}: give it such images.\n{text}"
    if to != "python" and pipeline.made_for is not None:
        text = f"// Made for images of {pipeline.made_for}.\n{text}"
    return text


def images_of(source: str) -> list[Path]:
    """Return the image files of the dataset that a pipeline was found on, as far as its run says and they are there."""
    path = Path(source.partition("#")[0]).expanduser()
    folder = path if path.is_dir() else path.parent if path.is_file() else runs_folder() / path.name
    root = (result_of(folder) or {}).get("dataset_path") if folder.is_dir() else None
    if not isinstance(root, str) or not Path(root).is_dir():
        return []
    found = scan(Path(root))
    if found.planes:
        warnings.warn(
            f"{root}: its planes/ are channels as well, which no exported file puts together; from Python, hand "
            "pipeline(image) an array that holds them.",
            ImageWarning,
            stacklevel=2,
        )
        return []
    paths = [found.images[stem] for stem in sorted(found.images)]
    return [paths[i] for i in evenly_spaced(len(paths), LOOKED_AT)]


def _places(images: Sequence[Path], reading: Reading) -> Places | None:
    """Return where the channels lie in most of some files; None if each is one page that is read as it is."""
    found: Counter[Places] = Counter()
    for path in images:
        with suppress(DatasetError):
            at = places_in(path, reading)
            if at is not None and (at[0] > 1 or reading.channel):
                found[at] += 1
    return found.most_common(1)[0][0] if found else None


def _unread(pipeline: Pipeline, images: Sequence[Path], reading: Reading, places: Places | None) -> Iterator[Note]:
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
        yield Note(path.name, f"not read by the exported file as by the search ({why}). {advice}.", "unread")
