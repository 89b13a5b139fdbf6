"""`evoseg library`: the solved tasks that new searches begin with."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evoseg.cli.shared import ALLOW_CODE, JSON, LIBRARY
from evoseg.core.disk import expand

if TYPE_CHECKING:
    from evoseg.library.task import SolvedTask

library = typer.Typer(
    help="List, show, add, share and remove solved tasks, which new searches start from.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_TASK = typer.Argument(metavar="TASK", help="Name or id of a solved task.")


@library.command("list", epilog="Example: evoseg library list")
def list_tasks(url: Annotated[str, LIBRARY] = "default", as_json: Annotated[bool, JSON] = False) -> None:
    """List all solved tasks: the bundled ones, then your own."""
    import json

    from evoseg.library.collection import BUNDLED, open_library

    with open_library(url, must_exist=True) as shelf:
        entries = shelf.list_tasks()
    if as_json:
        keys = ("id", "name", "origin", "added")
        print(json.dumps({"tasks": [dict(zip(keys, entry, strict=True)) for entry in entries]}, indent=1))
        return
    width = max((len(name) for _, name, _, _ in entries), default=4)
    digits = max((len(task) for task, _, _, _ in entries), default=2)
    print(f"{'name':{width}s}  {'id':{digits}s}  {'added':10s}  origin")
    for task, name, origin, added in entries:
        shown = "bundled" if origin == BUNDLED else origin or "yours"
        print(f"{name:{width}s}  {task}  {added[:10]:10s}  {shown}")


@library.command("show", epilog="Example: evoseg library show crackforest")
def show_task(
    task: Annotated[str, _TASK],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Write the task's pictures to this file (default: no file).", show_default=False
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    url: Annotated[str, LIBRARY] = "default",
    allow_code: Annotated[bool, ALLOW_CODE] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Show a solved task: its data card, statistics and pipelines; with --json, also its vectors."""
    import json

    from evoseg.library.collection import open_library
    from evoseg.library.pictures import write_task_pictures
    from evoseg.library.task_files import print_task, task_document
    from evoseg.runs.run_folder import refuse_existing

    refuse_existing([out] if out else [], overwrite=overwrite)
    with open_library(url, allow_code=allow_code, must_exist=True) as shelf:
        found = shelf.find(task)
    print(
        json.dumps({"id": found.id} | task_document(found), indent=1)
        if as_json
        else print_task(found, brief=True).rstrip()
    )
    if out:
        write_task_pictures(found, out)


@library.command("add", epilog="Example: evoseg library add shared_task.yaml")
def add_tasks(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="YAML files of solved tasks, or folders.")],
    url: Annotated[str, LIBRARY] = "default",
    allow_code: Annotated[bool, ALLOW_CODE] = False,
) -> None:
    """Add solved tasks that others have shared.

    The files are data; Python operators in them run only in a sandbox, and with --allow-code. A search scores
    their pipelines on its own images before it uses them.
    """
    from evoseg.library.collection import open_library, read_task_files

    tasks = read_task_files(files, allow_code=allow_code)
    with open_library(url) as shelf:
        added = shelf.add(tasks)
    print(_counted(len(added), "task", "added", len(tasks) - len(added)))


@library.command("remove", epilog="Example: evoseg library remove plates")
def remove_task(task: Annotated[str, _TASK], url: Annotated[str, LIBRARY] = "default") -> None:
    """Remove one of your own tasks, with its transfer results."""
    from evoseg.library.collection import open_library

    with open_library(url, must_exist=True) as shelf:
        found = shelf.find(task)
        shelf.remove(found)
    print(f"removed {found.name} ({found.id})")


@library.command("merge", epilog="Example: evoseg library merge colleague.db")
def merge_library(
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Another library: a file or a postgresql:// URL.")],
    url: Annotated[str, LIBRARY] = "default",
    allow_code: Annotated[bool, ALLOW_CODE] = False,
) -> None:
    """Copy another library's tasks and transfer results into this one.

    The other library is not changed, and each task keeps its origin. Merging twice is the same as merging once.
    """
    from evoseg.library.collection import open_library
    from evoseg.runs.run_folder import FilesError

    if "://" not in other and not Path(other).is_file():
        raise FilesError(f"{other}: no such file, so there is no library.")
    with open_library(url) as shelf, open_library(other, allow_code=allow_code) as source:
        tasks, rows = shelf.merge(source)
        there = source.counts()
    print(_counted(tasks, "task", "added", there[0] - tasks))
    print(_counted(rows, "transfer result", "added", there[1] - rows))


@library.command("export", epilog="Example: evoseg library export shared/")
def export_tasks(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write to, one file per task.")],
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Name or id of a task to export; may be repeated (default: all).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    url: Annotated[str, LIBRARY] = "default",
    allow_code: Annotated[bool, ALLOW_CODE] = False,
) -> None:
    """Write your own tasks as YAML files that others can add; they contain pipelines and statistics, but no images."""
    from evoseg.library.collection import open_library
    from evoseg.library.task_files import write_task
    from evoseg.runs.run_folder import make_folder, refuse_existing

    with open_library(url, allow_code=allow_code, must_exist=True) as shelf:
        tasks = [shelf.find(name) for name in task] if task else shelf.own()
    paths = _paths(folder, tasks)
    make_folder(folder)
    refuse_existing(list(paths.values()), overwrite=overwrite)
    for found in tasks:
        write_task(found, paths[found.id])
    print(_counted(len(tasks), "task", f"written to {folder}", 0))


@library.command("import", epilog="Example: evoseg library import shared/")
def import_tasks(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder that `library export` has written.")],
    url: Annotated[str, LIBRARY] = "default",
    allow_code: Annotated[bool, ALLOW_CODE] = False,
) -> None:
    """Add all tasks of a folder that `library export` has written."""
    add_tasks([folder], url, allow_code)


@library.command("study", epilog="Example: evoseg library study plates/ welds/ leaves/ cells/ --out study")
def study_transfer(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Datasets with masks.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the study; it is created if missing.")],
    seconds: Annotated[
        float | None,
        typer.Option(
            help="Length in seconds of the search on each dataset without a solved task (default: 60, unless "
            "--evaluations is given).",
            show_default=False,
        ),
    ] = None,
    evaluations: Annotated[
        int | None,
        typer.Option(help="Maximum number of candidates of such a search (default: no limit).", show_default=False),
    ] = None,
    stored_only: Annotated[
        bool, typer.Option("--stored-only", help="Only try the pipelines that are already stored, without any search.")
    ] = False,
    test: Annotated[
        bool,
        typer.Option(
            "--test",
            help="Refit on all training images and score on the test images (default: refit on one half of the "
            "training images and score on the other).",
        ),
    ] = False,
    images: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Maximum number of images of a dataset to refit on, and as many to score (default: 8).",
            show_default=False,
        ),
    ] = 8,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Number of worker processes (default: one per CPU core).", show_default=False),
    ] = None,
    url: Annotated[
        str,
        typer.Option(
            "--library",
            metavar="URL",
            help="Library of solved tasks: a file or a postgresql:// URL, or none for the bundled tasks only (default: "
            "$EVOSEG_HOME/library.db).",
            show_default=False,
        ),
    ] = "default",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Measure how pipelines transfer between datasets, and whether likeness predicts it.

    Every stored pipeline (the bundled ones, your own, and those that short searches with filters find) is tried on
    every dataset, as it is and with its curves and thresholds refitted. A page, a heat map and tables are written to
    --out. The same command continues a study that was interrupted; datasets may be added later.
    """
    import json

    from evoseg.cli.progress import show_words
    from evoseg.core.errors import SettingsError
    from evoseg.evolve.budget import USUAL_S, Budget
    from evoseg.library.study import run_study
    from evoseg.library.study_tables import StudyTables
    from evoseg.report.study_page import summarise_study, write_study

    if stored_only and (seconds is not None or evaluations is not None):
        raise SettingsError("--stored-only searches nothing. Leave out --seconds and --evaluations.")
    unlimited = seconds is None and evaluations is None
    budget = None if stored_only else Budget(USUAL_S if unlimited else seconds, evaluations)
    try:
        with show_words() as tell:
            study = run_study(
                folders,
                out,
                budget=budget,
                on_test=test,
                n_images=images,
                library=url,
                workers=workers,
                progress=lambda status: tell(str(status)),
            )
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"the results so far are in {out}; the same command continues the study")
        raise
    tables = StudyTables(study)
    files = write_study(tables, expand(out))
    if as_json:
        document = tables.to_json() | {"files": {name: f"{path}" for name, path in files.items()}}
        print(json.dumps(document, indent=1, allow_nan=False))
        return
    print("\n".join(summarise_study(tables)), end="\n\n")
    print("\n".join(f"{name:9s} {path}" for name, path in files.items()))


@library.command("embedder", epilog="Example: evoseg library embedder --weights resnet18-f37072fd.pth")
def choose_embedder(
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="ResNet by which to compare tasks: a .pth or .safetensors file with torchvision's parameter names.",
            show_default=False,
        ),
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="Go back to the networks that come with evoseg.")] = False,
    url: Annotated[str, LIBRARY] = "default",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Show the networks by which images are compared, in order of preference, or choose one of your own.

    The network is copied to $EVOSEG_HOME, and your own tasks whose images are still in their folders are described with
    it at once; all other tasks are compared by the next network.
    """
    import json

    from evoseg.core.errors import SettingsError
    from evoseg.library.collection import open_library
    from evoseg.library.embedders import (
        describe_own_tasks,
        embedders,
        forget_own_weights,
        set_own_weights,
        time_per_image,
    )

    if weights is not None and default:
        raise SettingsError("--weights and --default contradict each other; give one of them.")
    if weights is not None:
        chosen = set_own_weights(weights)
        with open_library(url) as shelf:
            n, missing = describe_own_tasks(shelf, chosen)
        print(f"{_counted(n, 'task', 'described', 0)}, {missing} skipped, since images are missing", file=sys.stderr)
    if default:
        forget_own_weights()
    rows = [
        {"name": found.name, "dim": found.dim, "cpu_s_per_image": round(time_per_image(found), 3), "id": found.id}
        for found in embedders()
    ]
    if as_json:
        print(json.dumps({"embedders": rows}, indent=1))
        return
    print(f"{'network':20s}  numbers  CPU per image  id")
    for row in rows:
        print(f"{row['name']:20s}  {row['dim']:7d}  {row['cpu_s_per_image']:11.3f} s  {row['id']}")


@library.command("rebuild", hidden=True)
def rebuild_index(url: Annotated[str, LIBRARY] = "default") -> None:
    """Do nothing: the index is built from the database whenever a library is opened."""
    note = "`evoseg library rebuild` does nothing any more, since there are no index files. It will be removed."
    print(note, file=sys.stderr)


def _paths(folder: Path, tasks: "list[SolvedTask]") -> dict[str, Path]:
    """Return a file for each task; of tasks of one name, all but the first get their ids into theirs."""
    paths: dict[str, Path] = {}
    for task in tasks:
        plain = folder / f"{task.name}.yaml"
        paths[task.id] = plain if plain not in paths.values() else folder / f"{task.name}-{task.id[:8]}.yaml"
    return paths


def _counted(n: int, what: str, done: str, there: int) -> str:
    words = f"{n} {what if n == 1 else what + 's'} {done}"
    return f"{words}, {there} there already" if there else words
