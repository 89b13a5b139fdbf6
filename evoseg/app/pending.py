"""Solved tasks on their way to a library: written down before a run is finished, and kept until the library has them.

Before a search notes in `run.db` that it is finished, it writes what its library is to keep into a file of
`$EVOSEG_HOME/pending`; afterwards it adds that to the library and deletes the file. So a kill between any two of these
steps loses nothing, and neither does a library that is locked or out of reach: `evoseg runs resume`, or the next search
with the same library, adds what is still there. Adding twice changes nothing.
"""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from evoseg.app.places import keep_place
from evoseg.app.runs import FilesError, home
from evoseg.base.untrusted import read_file
from evoseg.base.writing import whole_file
from evoseg.library.files import document_of, task_of
from evoseg.library.ledger import Reuse
from evoseg.library.shelf import Library
from evoseg.library.task import SolvedTask
from evoseg.store.database import StoreError
from evoseg.store.runs import read_run

logger = logging.getLogger(__name__)

_FOLDER = "pending"
MAX_BYTES = 64 * 2**20
"""Far more than any solved task takes."""


@dataclass(frozen=True)
class Pending:
    """What a search adds to its library.

    Attributes
    ----------
    run : str
        Id of the run.
    folder : Path
        Of the run, absolute.
    library : str
        "default", an absolute path, or a URL.
    task : SolvedTask
    reuses : tuple of Reuse
        What became of the programs that the search began with.
    images : Path or None
        Folder of the dataset; None for arrays.
    """

    run: str
    folder: Path
    library: str
    task: SolvedTask
    reuses: tuple[Reuse, ...]
    images: Path | None

    def save(self) -> None:
        """Write it to the disk.

        Raises
        ------
        OSError
            If that is impossible.
        """
        path = _file_of(self.run)
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "run": self.run,
            "folder": str(self.folder),
            "library": self.library,
            "task": document_of(self.task),
            "reuses": [vars(row) for row in self.reuses],
            "images": None if self.images is None else str(self.images),
        }
        with whole_file(path) as file:
            file.write(json.dumps(document).encode())

    def add_to(self, library: Library) -> None:
        """Add the task and its rows of the ledger to an open library, and forget that they were to be added.

        Raises
        ------
        EvosegError, OSError
            If the library cannot be written; then nothing is forgotten.
        """
        library.add([self.task])
        library.record(self.reuses)
        if self.images is not None:
            keep_place(self.task.id, self.images)
        path = _file_of(self.run)
        for file in (path, *path.parent.glob(f".{path.name}.*.part")):  # of a process that was killed
            file.unlink(missing_ok=True)

    def is_due(self) -> bool:
        """Return whether the run has finished, or is no more; one that was killed just before that is resumed first."""
        try:
            record = read_run(self.folder)
        except StoreError:
            return True
        return record.id != self.run or record.finished is not None


def pending_of(run: str) -> Pending | None:
    """Return what a run has yet to add to its library, None if there is nothing.

    Raises
    ------
    FilesError
        If the file about it cannot be read.
    """
    return _read(_file_of(run))


def is_pending(run: str) -> bool:
    """Return whether a run has yet to add something to its library."""
    return _file_of(run).is_file()


def all_pending() -> Iterator[Pending]:
    """Yield what finished runs have yet to add to libraries, the oldest first; warn of files that cannot be read."""
    for path in sorted((home() / _FOLDER).glob("*.json"), key=_written):
        try:
            pending = _read(path)
        except FilesError as error:
            logger.warning("%s", error)
            continue
        if pending is not None and pending.is_due():
            yield pending


def _file_of(run: str) -> Path:
    """Return the file of a run; ids come from files that anybody may have written, so they name no path."""
    return home() / _FOLDER / f"{blake2b(os.fsencode(run), digest_size=12).hexdigest()}.json"


def _written(path: Path) -> int:
    """Return when a file was written; another process may have deleted it meanwhile."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _read(path: Path) -> Pending | None:
    """Return what a file holds, None if there is no such file."""
    try:
        document = json.loads(read_file(path, MAX_BYTES, error=FilesError))
        images = document["images"]
        return Pending(
            run=str(document["run"]),
            folder=Path(document["folder"]),
            library=str(document["library"]),
            task=task_of(document["task"]),
            reuses=tuple(Reuse(**row) for row in document["reuses"]),
            images=None if images is None else Path(images),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise FilesError(
            f"{path}: cannot be read ({error}), so a solved task is not added to the library. Delete this file, and "
            "search again to solve the task anew."
        ) from error
