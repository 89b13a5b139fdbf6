"""Where runs are kept, and how their files get there: whole, and never over something else."""

import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evoseg.base.errors import EvosegError, unknown
from evoseg.base.writing import whole_file

PIPELINE, RESULT, TEST, CURVE, REPORT = "pipeline.evo", "result.json", "test.png", "curve.png", "report.html"
DATABASE, LOCK = "run.db", "run.lock"
_SQLITE_ENDS = ("-wal", "-shm", "-journal")
CLASSES = "classes.json"
"""Of a search for several classes: its folder holds a run per class, and this document."""
_SCRATCH, _SCRATCH_ENDS = "evoseg-", {".pack", ".part"}
FILES = {"pipeline": PIPELINE, "result": RESULT, "test": TEST, "curve": CURVE, "report": REPORT}
"""What a search leaves, by the names that the result document uses."""


class FilesError(EvosegError, OSError):
    """A file or folder that cannot be read, or must not be written."""


@dataclass(frozen=True)
class RunFolder:
    """One run's folder.

    Attributes
    ----------
    id : str
        Begins with the time, so that names sort by it.
    path : Path
        Absolute.
    new : bool
        Whether the folder was made for this run.
    """

    id: str
    path: Path
    new: bool = True

    @property
    def name(self) -> str:
        """What a command calls this run: its id, or its folder if that lies elsewhere."""
        known = runs_folder()
        inside = known in (self.path.parent, self.path.parent.parent)
        return self.path.relative_to(known).as_posix() if inside else str(self.path)

    @property
    def files(self) -> dict[str, Path]:
        """All files of a finished run."""
        return {key: self.path / name for key, name in FILES.items()}

    def clear(self, *, database: bool = False) -> None:
        """Delete the results of an earlier run, so that those of two never lie side by side.

        Parameters
        ----------
        database : bool
            Whether to delete its database as well. That goes first: if this is killed, what is left belongs to no run,
            rather than to one that seems to be done.
        """
        for name in (*((DATABASE,) if database else ()), *FILES.values()):
            self._delete(name)

    def write(self, name: str, text: str) -> None:
        """Write one of the run's files."""
        write_whole(self.path / name, text, overwrite=True)

    def remove(self) -> None:
        """Delete the run: its whole folder, or only evoseg's own files in one that the user has chosen."""
        self.drop()
        if self.path.parent == runs_folder():
            shutil.rmtree(self.path)
        elif not any(self.path.iterdir()):
            self.path.rmdir()

    def drop(self) -> None:
        """Delete all that evoseg has written here, and the folder if it was made for this run."""
        self.clear(database=True)
        self._delete(LOCK)  # last: by this, a folder that was half deleted is known as evoseg's own
        if self.new and not any(self.path.iterdir()):
            self.path.rmdir()

    def _delete(self, name: str) -> None:
        """Delete a file, what SQLite keeps beside it, and what a kill left of it when it was written."""
        beside = [self.path / f"{name}{end}" for end in _SQLITE_ENDS] if name == DATABASE else []
        for file in (self.path / name, *beside, *self.path.glob(f".{name}.*part")):
            file.unlink(missing_ok=True)


def holds_run(path: Path) -> bool:
    """Return whether a folder holds a run, or what is left of one that was being made or deleted."""
    return any((path / name).is_file() for name in (DATABASE, RESULT, LOCK))


def home() -> Path:
    """Return evoseg's own folder: $EVOSEG_HOME, or where this system keeps users' data."""
    given = os.environ.get("EVOSEG_HOME")
    if given:
        return Path(given).expanduser().absolute()
    from platformdirs import user_data_path

    return Path(user_data_path("evoseg", appauthor=False))


def runs_folder() -> Path:
    """Return the folder of all runs that were given no other."""
    return home() / "runs"


def run_id(dataset: str) -> str:
    """Return a new id: time, dataset, and a few random digits for searches of the same second."""
    slug = re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-")[:40].strip("-") or "run"
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}-{secrets.token_hex(2)}"


def open_run(dataset: str, out: str | Path | None = None, *, overwrite: bool = False) -> RunFolder:
    """Make the folder of a new run.

    Parameters
    ----------
    dataset : str
        Its name, for the id.
    out : path, optional
        The folder to use instead of one in `home`.
    overwrite : bool
        Whether `out` may hold the files of another run, which are then replaced.

    Raises
    ------
    FilesError
        If `out` holds a run already, or the folder cannot be made.
    """
    name = run_id(dataset)
    path = Path(out).expanduser().absolute() if out else runs_folder() / name
    folder = RunFolder(name, path, new=not path.exists())
    taken = [name for name in (*FILES.values(), DATABASE) if (path / name).exists()]
    if taken and not overwrite:
        raise FilesError(
            f"{folder.path}: holds {', '.join(taken)} already, and nothing is overwritten. Choose another folder, or "
            "allow it with --overwrite (overwrite=True); an unfinished search goes on with `evoseg runs resume`."
        )
    make_folder(folder.path)
    return folder


def make_folder(path: Path) -> None:
    """Make a folder that files can be written to.

    Raises
    ------
    FilesError
        If that is impossible.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FilesError(f"{path}: no folder can be made there ({error.strerror}). Choose another.") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise FilesError(f"{path}: may not be written to. Choose another folder.")


def run_folder(source: str | Path) -> RunFolder:
    """Return the folder of a run by its id, or by itself.

    Raises
    ------
    FilesError
        If there is none, or it holds no run; the message names the nearest ids.
    """
    path = Path(source).expanduser()
    if not path.is_dir():
        path = find_run(str(source))
    refuse_classes(path)
    if not (path / DATABASE).is_file():
        rest = f" {nothing_in(path)}" if path.absolute().parent == runs_folder() else ""
        raise FilesError(f"{path}: holds no {DATABASE}, so it is no run that evoseg has kept.{rest}")
    return RunFolder(path.name, path.absolute(), new=False)


def nothing_in(path: Path) -> str:
    """Say what to do about a folder among the runs that holds none."""
    return f"A search or a deletion may have been killed there; `evoseg runs delete {path.name}` removes what is left."


def refuse_classes(path: Path) -> None:
    """Refuse the folder of a search for several classes where one run is wanted.

    Raises
    ------
    FilesError
        Naming the runs.
    """
    if (path / CLASSES).is_file():
        runs = [f"{path.name}/{run.parent.name}" for run in sorted(path.glob(f"*/{DATABASE}"))]
        raise FilesError(f"{path}: holds a run per class. Name one of them: {', '.join(runs)}.")


def find_run(name: str) -> Path:
    """Return the folder of the run called `name`.

    Raises
    ------
    FilesError
        If there is none; the message names the nearest.
    """
    folder = runs_folder()
    # Other names with separators would lead out of the folder of runs.
    parts = Path(name).parts
    if 1 <= len(parts) <= 2 and not {"..", "/"} & {*parts} and (folder / name).is_dir():
        return folder / name
    known = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    hint = f" And {unknown('run', name, known)}" if known else ""
    raise FilesError(f"{name}: no such file or folder.{hint}")


def write_whole(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write a text file; it appears whole or not at all.

    Raises
    ------
    FilesError
        If it exists and `overwrite` is False, or cannot be written.
    """
    refuse_existing([path], overwrite=overwrite)
    try:
        with whole_file(path) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise FilesError(f"{path}: cannot be written ({error.strerror}).") from error


def refuse_existing(paths: list[Path], *, overwrite: bool) -> None:
    """Make sure that none of the files exists, unless they may be replaced.

    Raises
    ------
    FilesError
        Naming the first that does.
    """
    taken = [path for path in paths if path.exists()]
    if taken and not overwrite:
        rest = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
        raise FilesError(
            f"{taken[0]}{rest}: exists already and is left as it is. Choose another place, or allow it with "
            "--overwrite (overwrite=True)."
        )


def remove_scratch(left: Mapping[str, Any]) -> None:
    """Delete the packed images of a process that was killed, going by what it has left in its lock."""
    folder = Path(str(left.get("scratch", "")))
    # The name comes from a file that anybody may have written: nothing but our own scratch is ever deleted.
    ours = folder.name.startswith(_SCRATCH) and folder.parent == Path(tempfile.gettempdir())
    if (
        ours
        and folder.is_dir()
        and not folder.is_symlink()
        and all(f.suffix in _SCRATCH_ENDS for f in folder.iterdir())
    ):
        shutil.rmtree(folder, ignore_errors=True)


def scratch() -> "tempfile.TemporaryDirectory[str]":
    """Return a new folder for packed images."""
    return tempfile.TemporaryDirectory(prefix=_SCRATCH, ignore_cleanup_errors=True)
