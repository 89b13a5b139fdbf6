"""`evoseg similar`."""

from pathlib import Path
from typing import Annotated

import typer

from evoseg.commands.options import AXES, CHANNEL, PAGE, chosen


def similar(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder with images/ and, if possible, masks/.")],
    k: Annotated[int, typer.Option("-k", help="How many tasks.")] = 5,
    library: Annotated[
        str,
        typer.Option(
            metavar="URL", help="A library's file or postgresql:// URL; $EVOSEG_HOME/library.db.", show_default=False
        ),
    ] = "default",
    task: Annotated[
        str, typer.Option(metavar="TASK", help="auto (what the data ask for), binary, instances or points.")
    ] = "auto",
    axes: Annotated[str, AXES] = "",
    page: Annotated[str, PAGE] = "",
    channel: Annotated[str, CHANNEL] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Also draw a picture of these images and theirs.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show solved tasks that are like this one, and why.

    The order is by the score that a task's best suited pipeline is expected to reach here. Without masks, images alone
    are compared. A picture shows, below your images, those of the tasks that were solved on this machine.
    """
    import json
    import sys

    from evoseg.app.runs import refuse_existing
    from evoseg.app.solved import similar as find_similar

    refuse_existing([out] if out else [], overwrite=overwrite)
    found = find_similar(dataset, k, task=task, library=library, reading=chosen(axes, page, channel))
    print(json.dumps(found.as_json(), indent=1) if as_json else found)
    if out:
        for name, reason in found.save(out).items():
            print(f"not in the picture: {name}: {reason}", file=sys.stderr)
