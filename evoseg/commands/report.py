"""`evoseg report`."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id or folder of a run.")],
    dataset: Annotated[
        Path | None, typer.Option(help="Where the dataset is now, if it has moved.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; the run's report.html if left out.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    task: Annotated[
        Path | None,
        typer.Option(metavar="FILE.py", help="The run's task, if it is one of your own.", show_default=False),
    ] = None,
) -> None:
    """Write the report of a search anew.

    One HTML file that opens offline: the pipeline step by step, its scores, where it fails, how it was found.
    """
    from evoseg.app.reporting import write_report

    print(write_report(run, dataset, out, overwrite=overwrite, task=task))
