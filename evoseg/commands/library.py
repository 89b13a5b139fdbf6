"""`evoseg library`: the solved tasks that new searches begin with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from evoseg.library.task import SolvedTask

library = typer.Typer(
    help="List, show, add, share and remove solved tasks.", no_args_is_help=True, rich_markup_mode=None
)

_URL = typer.Option(
    "--library",
    metavar="URL",
    help="A library's file or postgresql:// URL; $EVOSEG_HOME/library.db.",
    show_default=False,
)
_TASK = typer.Argument(metavar="TASK", help="Name or id of a solved task.")
_JSON = typer.Option("--json", help="Print one JSON document.")


@library.command("list", epilog="Example: evoseg library list")
def list_tasks(url: Annotated[str, _URL] = "default", as_json: Annotated[bool, _JSON] = False) -> None:
    """List all solved tasks: those that come with evoseg, then your own."""
    import json

    from evoseg.app.solved import open_library

    with open_library(url) as shelf:
        entries = shelf.listed()
    if as_json:
        keys = ("id", "name", "origin", "added")
        print(json.dumps({"tasks": [dict(zip(keys, entry, strict=True)) for entry in entries]}, indent=1))
        return
    width = max((len(name) for _, name, _, _ in entries), default=4)
    for task, name, origin, added in entries:
        print(f"{name:{width}s}  {task}  {added[:10]:10s}  {origin}".rstrip())


@library.command("show", epilog="Example: evoseg library show crackforest")
def show_task(
    task: Annotated[str, _TASK], url: Annotated[str, _URL] = "default", as_json: Annotated[bool, _JSON] = False
) -> None:
    """Show a solved task: card, statistics, pipelines."""
    import json

    from evoseg.app.solved import open_library
    from evoseg.library.files import document_of, print_task

    with open_library(url) as shelf:
        found = shelf.find(task)
    print(json.dumps({"id": found.id} | document_of(found), indent=1) if as_json else print_task(found).rstrip())


@library.command("add", epilog="Example: evoseg library add shared_task.yaml")
def add_tasks(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="YAML files of solved tasks, or folders.")],
    url: Annotated[str, _URL] = "default",
) -> None:
    """Add solved tasks that others have shared.

    They are data and never run as they stand; a search scores their pipelines on its own images before it uses them.
    """
    from evoseg.app.solved import open_library
    from evoseg.library.shelf import read_shared

    tasks = read_shared(files)
    with open_library(url) as shelf:
        added = shelf.add(tasks)
    print(_counted(len(added), "task", "added", len(tasks) - len(added)))


@library.command("remove", epilog="Example: evoseg library remove plates")
def remove_task(task: Annotated[str, _TASK], url: Annotated[str, _URL] = "default") -> None:
    """Remove one of your own tasks, with what the ledger says of it."""
    from evoseg.app.solved import open_library

    with open_library(url) as shelf:
        found = shelf.find(task)
        shelf.remove(found)
    print(f"removed {found.name} ({found.id})")


@library.command("merge", epilog="Example: evoseg library merge colleague.db")
def merge_library(
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Another library: a file or a postgresql:// URL.")],
    url: Annotated[str, _URL] = "default",
) -> None:
    """Take over another library's tasks and ledger.

    The other one is not changed, every task keeps its origin, and merging again changes nothing.
    """
    from evoseg.app.runs import FilesError
    from evoseg.app.solved import open_library

    if "://" not in other and not Path(other).is_file():
        raise FilesError(f"{other}: there is no such file, so no library.")
    with open_library(url) as shelf, open_library(other) as source:
        tasks, rows = shelf.merge(source)
        there = source.counts()
    print(_counted(tasks, "task", "added", there[0] - tasks))
    print(_counted(rows, "row of the ledger", "added", there[1] - rows))


@library.command("export", epilog="Example: evoseg library export shared/")
def export_tasks(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files go, one for each task.")],
    task: Annotated[list[str] | None, typer.Option("--task", help="Only this one; may be repeated.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
    url: Annotated[str, _URL] = "default",
) -> None:
    """Write your own tasks as YAML files that others can add: words, numbers, pipelines and hashes, but no image."""
    from evoseg.app.runs import make_folder, refuse_existing
    from evoseg.app.solved import open_library
    from evoseg.library.files import write_task

    with open_library(url) as shelf:
        tasks = [shelf.find(name) for name in task] if task else shelf.own()
    paths = _paths(folder, tasks)
    make_folder(folder)
    refuse_existing(list(paths.values()), overwrite=overwrite)
    for found in tasks:
        write_task(found, paths[found.id])
    print(_counted(len(tasks), "task", f"written to {folder}", 0))


@library.command("import", epilog="Example: evoseg library import shared/")
def import_tasks(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Files that `library export` has written.")],
    url: Annotated[str, _URL] = "default",
) -> None:
    """Add all tasks of a folder; the counterpart of `library export`."""
    add_tasks([folder], url)


@library.command("rebuild", epilog="Example: evoseg library rebuild")
def rebuild_index(url: Annotated[str, _URL] = "default") -> None:
    """Make the index anew. It is only a cache, and made anew by itself where it does not fit the library."""
    from evoseg.app.solved import open_library

    with open_library(url) as shelf:
        for descriptor, n in shelf.rebuild().items():
            print(f"{descriptor}: {n} vectors")
        print(f"{shelf.size()} tasks with those that come with evoseg")


def _paths(folder: Path, tasks: "list[SolvedTask]") -> dict[str, Path]:
    """Return a file for each task; of tasks of one name, all but the first get their ids into theirs."""
    paths: dict[str, Path] = {}
    for task in tasks:
        plain = folder / f"{task.name}.yaml"
        paths[task.id] = plain if plain not in paths.values() else folder / f"{task.name}-{task.id[:8]}.yaml"
    return paths


def _counted(n: int, what: str, done: str, there: int) -> str:
    words = f"{n} {what if n == 1 else what.replace('task', 'tasks').replace('row', 'rows')} {done}"
    return f"{words}, {there} there already" if there else words
