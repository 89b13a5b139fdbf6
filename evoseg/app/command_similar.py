"""`evoseg similar`."""

from pathlib import Path
from typing import Annotated

import typer


def similar(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder with images/ and, if possible, masks/.")],
    k: Annotated[int, typer.Option("-k", help="How many tasks.")] = 5,
    library: Annotated[
        str,
        typer.Option(
            metavar="URL", help="A library's file or postgresql:// URL; $EVOSEG_HOME/library.db.", show_default=False
        ),
    ] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show solved tasks that are like this one, and why.

    The order is by the score that a task's best suited pipeline is expected to reach here. Without masks, images alone
    are compared.
    """
    import json

    from evoseg.app.solved import similar as find_similar

    found = find_similar(dataset, k, library=library)
    print(json.dumps(found.as_json(), indent=1) if as_json else found)
