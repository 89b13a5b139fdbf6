"""Pipelines in other languages."""

import json
from collections.abc import Callable

from evoseg.base.errors import SettingsError, unknown
from evoseg.data.reading import PLAIN, Reading
from evoseg.export import cpp, imagej
from evoseg.export.blocks import Filters
from evoseg.export.python import export_python
from evoseg.pipeline import Pipeline, write_json

EXPORTERS: dict[str, Callable[[Pipeline], str]] = {
    "python": export_python,
    "cpp": cpp.export_cpp,
    "imagej": imagej.export_imagej,
    "json": lambda pipeline: write_json(pipeline) + "\n",
}
LANGUAGES: dict[str, Filters] = {filters.target: filters for filters in (cpp.FILTERS, imagej.FILTERS)}
"""Those that do not carry every pipeline."""


def exported(pipeline: Pipeline, to: str, reading: Reading = PLAIN) -> str:
    """Return the pipeline as text in the form `to`.

    Parameters
    ----------
    pipeline : Pipeline
    to : str
        One of `EXPORTERS`.
    reading : Reading
        How the images were read that it was made for; the text says so.

    Raises
    ------
    SettingsError
        If the form is unknown.
    ExportError
        If the pipeline cannot be written in it.
    """
    if to not in EXPORTERS:
        raise SettingsError(unknown("form", to, EXPORTERS))
    text = EXPORTERS[to](pipeline)
    if not reading:
        return text
    if to == "json":
        return json.dumps(json.loads(text) | {"reads": reading.chosen}) + "\n"
    comment = "#" if to == "python" else "//"
    return f"{comment} Made for images that evoseg read with {reading}: give it such images.\n{text}"
