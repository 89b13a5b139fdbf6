"""Where the images of solved tasks lie on this machine.

Libraries hold no paths, since they are shared. A file per task, named by its id, holds the folder of its dataset.
"""

from collections.abc import Iterable
from pathlib import Path

from evoseg.app.runs import home
from evoseg.base.writing import whole_file

_FOLDER = "places"


def keep_place(task: str, folder: Path) -> None:
    """Remember the folder of the dataset that a task was solved on.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    path = home() / _FOLDER / task
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(str(folder.resolve()).encode("utf-8", "surrogateescape"))


def places(tasks: Iterable[str]) -> dict[str, Path]:
    """Return the folders that are known and still there, by the ids of tasks."""
    found = {}
    for task in tasks:
        try:
            folder = Path((home() / _FOLDER / task).read_bytes().decode("utf-8", "surrogateescape"))
        except FileNotFoundError:
            continue
        if folder.is_dir():
            found[task] = folder
    return found
