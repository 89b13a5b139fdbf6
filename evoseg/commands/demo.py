"""`evoseg demo`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the drawn dataset and the results.")] = Path("demo"),
    seconds: Annotated[float, typer.Option(help="Length of the search.")] = 20.0,
    workers: Annotated[int | None, typer.Option(help="Processes; one per core.", min=0, show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Draw a dataset, search, and save pictures."""
    import sys

    from evoseg.app import demonstration
    from evoseg.app.api import search
    from evoseg.commands.progress import shown
    from evoseg.commands.search import exit_code, report
    from evoseg.evolve.budget import Budget

    Budget(seconds=seconds)  # refused before the earlier demo is replaced, not after
    folder = out.expanduser().absolute()
    replaced = demonstration.prepare(folder)
    dataset = folder / demonstration.DATASET
    print(
        f"{'replaced the demo in' if replaced else 'drew a dataset in'} {dataset}; now a search of {seconds:g} s",
        file=sys.stderr,
    )
    result = folder / demonstration.RESULT
    with shown() as watch:  # with no library: the next demo is not to begin with this one's answer
        found = search(
            dataset, seconds=seconds, workers=workers, library="none", remember=False, out=result, progress=watch
        )
    report(found, as_json=as_json)
    if not as_json:
        print(f"\nOpen {found.files['report']} in a browser: every step, every score, where it fails.")
    raise typer.Exit(exit_code(found, None))
