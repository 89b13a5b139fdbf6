"""`evoseg show` and `evoseg export`: a pipeline for people and for other programs."""

from pathlib import Path
from typing import Annotated

import typer

_PIPELINE = typer.Argument(
    metavar="PIPELINE",
    help="Pipeline file (.evo or .json), or folder or id of a run; RUN#3 is number 3 of its front.",
)


def show(
    pipeline: Annotated[str, _PIPELINE],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print a pipeline, and what each step does.

    With each step's modelled cost, and how far around a pixel it looks.
    """
    import json

    from evoseg.app.describing import pipeline_json, pipeline_text
    from evoseg.app.pipelines import read_pipeline

    program = read_pipeline(pipeline)
    print(json.dumps(pipeline_json(program), indent=1) if as_json else pipeline_text(program))


def export(
    pipeline: Annotated[str, _PIPELINE],
    to: Annotated[
        str,
        typer.Option(help="python: one file for numpy and OpenCV; cpp: one for OpenCV; imagej: a macro; or json."),
    ],
    out: Annotated[Path | None, typer.Option(help="File to write; stdout if left out.", show_default=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a pipeline so that it runs without evoseg."""
    import sys

    from evoseg.app.exporting import exported, images_of
    from evoseg.app.pipelines import read_pipeline, reading_of
    from evoseg.app.runs import make_folder, write_whole

    text = exported(read_pipeline(pipeline), to, reading_of(pipeline), images_of(pipeline) if to == "python" else ())
    if out is None:
        sys.stdout.write(text)
        return
    make_folder(out.expanduser().absolute().parent)
    write_whole(out.expanduser(), text, overwrite=overwrite)
    print(out)
