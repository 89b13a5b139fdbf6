"""`evoseg studio`: the local web application."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer


def studio(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of images, or a dataset.")] = Path("."),
    port: Annotated[
        int, typer.Option(help="Port to listen on, on this machine only; 0 takes any free one.", min=0, max=65535)
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the address in the browser as well as printing it.")
    ] = True,
) -> None:
    """Open the studio: paint on images in the browser, see the segmentation at once, search, apply and export.

    Strokes are saved in FOLDER/scribbles, runs in FOLDER/runs and results in FOLDER/results, where other commands can
    read them. The printed address contains a secret token and works on this machine only. Ctrl-C ends the studio; a
    search that is running continues, and is shown when the studio is opened again.
    """
    check_installed()
    from evoseg.studio.server import serve

    def on_ready(address: str) -> None:
        print(address, flush=True)
        print("the studio is open; Ctrl-C ends it", file=sys.stderr)
        if browser:
            import webbrowser

            webbrowser.open(address)

    serve(folder, port, on_ready=on_ready)


def check_installed() -> None:
    """Refuse to go on without the packages of the studio.

    Raises
    ------
    MissingPackageError
    """
    from importlib.util import find_spec

    from evoseg.core.errors import MissingPackageError

    if missing := [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]:
        raise MissingPackageError(
            f"the studio needs {' and '.join(missing)}: pip install 'evoseg[studio]', or `make studio` in a checkout."
        )


@contextmanager
def studio_beside(folder: Path) -> Iterator[None]:
    """Keep the studio open on a folder, in a process of its own, with its view of searches in the browser.

    On a terminal, it stays open afterwards until Ctrl-C.

    Raises
    ------
    EvosegError
        If it cannot be opened.
    """
    import signal
    import subprocess
    import webbrowser

    from evoseg.core.errors import SettingsError

    check_installed()
    from evoseg.studio.searching import Command

    command = Command(("studio", str(folder), "--no-browser"))
    # In a session of its own: Ctrl-C is meant for the search.
    process = subprocess.Popen(
        command.process_line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().decode().strip()
        if not address:
            by_hand = Command(("studio", str(folder))).line
            raise SettingsError(f"the studio cannot be opened on {folder}; `{by_hand}` says why.")
        print(f"the studio shows the search: {address}#search", file=sys.stderr, flush=True)
        webbrowser.open(f"{address}#search")
        yield
        if sys.stdin.isatty():
            print("the studio stays open; Ctrl-C closes it", file=sys.stderr, flush=True)
            with suppress(KeyboardInterrupt):
                process.wait()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        process.stdout.close()
