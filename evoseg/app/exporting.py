"""Pipelines in other languages."""

from collections.abc import Callable

from evoseg.base.errors import SettingsError, unknown
from evoseg.export.cpp import export_cpp
from evoseg.export.python import export_python
from evoseg.pipeline import Pipeline, write_json

EXPORTERS: dict[str, Callable[[Pipeline], str]] = {
    "python": export_python,
    "cpp": export_cpp,
    "json": lambda pipeline: write_json(pipeline) + "\n",
}


def exported(pipeline: Pipeline, to: str) -> str:
    """Return the pipeline as text in the form `to`.

    Raises
    ------
    SettingsError
        If the form is unknown.
    ExportError
        If the pipeline cannot be written in it.
    """
    if to not in EXPORTERS:
        raise SettingsError(unknown("form", to, EXPORTERS))
    return EXPORTERS[to](pipeline)
