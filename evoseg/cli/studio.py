"""`evoseg studio`: the local web application."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def studio(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of images, or a dataset.")] = Path("."),
    port: Annotated[
        int, typer.Option(help="Port of this machine to listen on (0 for any that is free).", min=0, max=65535)
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the address in the browser, besides printing it.")
    ] = True,
) -> None:
    """Paint on images in the browser, see the answer at once, search, apply and export.

    Strokes are saved in FOLDER/scribbles, runs in FOLDER/runs and results in FOLDER/results, where all other commands
    read them. The address that is printed lets a browser on this machine in; nothing can be reached from other
    machines. Ctrl-C ends the studio; a search that is running goes on, and the studio shows it when it is opened again.
    """
    from importlib.util import find_spec

    from evoseg.core.errors import MissingPackageError

    if missing := [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]:
        raise MissingPackageError(
            f"the studio needs {' and '.join(missing)}: pip install 'evoseg[studio]', or `make studio` in a checkout."
        )
    from evoseg.studio.server import serve

    def on_ready(address: str) -> None:
        print(address, flush=True)
        print("the studio is open; Ctrl-C ends it", file=sys.stderr)
        if browser:
            import webbrowser

            webbrowser.open(address)

    serve(folder, port, on_ready=on_ready)
