"""`evoseg show`, `export`, `operators` and `report`: pipelines and results for people and for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from evoseg.cli.shared import ALLOW_CODE, JSON, PIPELINE_HELP
from evoseg.core.disk import expand

_PIPELINE = typer.Argument(metavar="PIPELINE", help=PIPELINE_HELP)


def show(
    pipeline: Annotated[str, _PIPELINE],
    allow_code: Annotated[bool, ALLOW_CODE] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Print a pipeline, and explain each step.

    Each step is shown with what it does, its estimated run time in ms per megapixel, and its receptive field.
    """
    import json

    from evoseg.pipeline.explaining import pipeline_json, pipeline_text
    from evoseg.runs.pipeline_files import read_pipeline

    program = read_pipeline(pipeline, allow_code=allow_code)
    print(json.dumps(pipeline_json(program), indent=1) if as_json else pipeline_text(program))


def export(
    pipeline: Annotated[str, _PIPELINE],
    to: Annotated[
        str,
        typer.Option(
            help="Format: python (one file for NumPy and OpenCV), cpp (one file for OpenCV), imagej (a macro), json, "
            "bundle (a .zip with the pipeline, its networks, the Python file and test images), or bioimageio (a .zip "
            "for bioimage.io: a model if there is a network, else an application)."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="File to write (default: stdout).", show_default=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    allow_code: Annotated[bool, ALLOW_CODE] = False,
) -> None:
    """Export a pipeline as code that runs without evoseg."""
    import sys

    from evoseg.exporters.targets import READS_IMAGES, exported
    from evoseg.runs.exports import write_export
    from evoseg.runs.pipeline_files import read_pipeline, reading_of
    from evoseg.runs.stored import list_source_images, read_held_out

    program, reading = read_pipeline(pipeline, allow_code=allow_code), reading_of(pipeline)
    images = list_source_images(pipeline) if to in READS_IMAGES else ()
    if out is None:
        sys.stdout.write(exported(program, to, reading, images))
        return
    held_out = read_held_out(pipeline, program)
    write_export(program, to, expand(out), reading, images, held_out, overwrite=overwrite)
    print(out)


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id or folder of a run.")],
    dataset: Annotated[
        Path | None,
        typer.Option(help="Folder of the dataset (default: where it was for the search).", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write (default: report.html in the run's folder).", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    task: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.py",
            help="Python file of the run's task, if it has one of your own; its code is run.",
            show_default=False,
        ),
    ] = None,
    allow_code: Annotated[bool, ALLOW_CODE] = False,
) -> None:
    """Write the report of a search again.

    The report is one HTML file that opens offline: the pipeline step by step, its scores, where it fails, and how it
    was found.
    """
    from evoseg.report.page import write_report

    print(write_report(run, dataset, out, overwrite=overwrite, task=task, allow_code=allow_code))


operators = typer.Typer(
    help="List and explain the image filters that pipelines consist of.", no_args_is_help=True, rich_markup_mode=None
)


@operators.command("list", epilog="Example: evoseg operators list")
def list_operators(
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """List all operators by family.

    Each one is listed with the kinds of its inputs and output, its estimated run time, and what it does.
    """
    import json

    import evoseg.operators  # noqa: F401  (registers them)
    from evoseg.operators import registry
    from evoseg.pipeline.explaining import operator_json, operators_text

    found = registry.operators(retired=True)
    print(
        json.dumps({"operators": [operator_json(op) for op in found]}, indent=1) if as_json else operators_text(found)
    )


@operators.command("show", epilog="Example: evoseg operators show threshold")
def show_operator(
    name: Annotated[str, typer.Argument(help="Name of the operator.")],
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Explain one operator: its documentation, and the range of each parameter."""
    import json

    import evoseg.operators  # noqa: F401  (registers them)
    from evoseg.operators import registry
    from evoseg.pipeline.explaining import operator_json, operator_text

    op = registry.get(name)
    print(json.dumps(operator_json(op), indent=1) if as_json else operator_text(op))
