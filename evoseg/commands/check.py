"""`evoseg check`."""

from pathlib import Path
from typing import Annotated

import typer

from evoseg.commands.options import AXES, CHANNEL, PAGE, chosen


def check(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder with images and masks.")],
    axes: Annotated[str, AXES] = "",
    page: Annotated[str, PAGE] = "",
    channel: Annotated[str, CHANNEL] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what is in a dataset, and every fault at once.

    The layout that was recognised, figures, splits, faults and warnings. Exit code 1 if there is a fault.
    """
    import json

    from evoseg.data.checking import check as check_folder

    found = check_folder(dataset.expanduser(), chosen(axes, page, channel))
    print(json.dumps(found.as_json(), indent=1) if as_json else found)
    raise typer.Exit(0 if found.ok else 1)
