"""`evoseg doctor`."""

from typing import Annotated

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Say what is installed, what works, what is missing, and how much disk is used.

    Takes a few seconds: filters and a worker process are tried. Exit code 1 if something that evoseg needs is broken.
    """
    import json

    from evoseg.app.checkup import BROKEN, checkup

    found = checkup()
    if as_json:
        print(json.dumps({"findings": [vars(finding) for finding in found]}, indent=1))
    else:
        width = max(len(finding.name) for finding in found)
        print("\n".join(f"{f.state:8s} {f.name:{width}s}  {f.words}" for f in found))
    raise typer.Exit(1 if any(finding.state == BROKEN for finding in found) else 0)
