"""Where runs are kept, and how their files get there: whole, and never over something else."""

import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import blake2b
from pathlib import Path
from shlex import quote
from typing import Any

from evoseg.core.disk import expand, write_atomically
from evoseg.core.errors import LONGEST, EvosegError, legible
from evoseg.core.untrusted import read_file

PIPELINE, RESULT, TEST, CURVE, REPORT = "pipeline.evo", "result.json", "test.png", "curve.svg", "report.html"
ANSWERS = {"readable": "readable.evo", "accurate": "accurate.evo"}
"""Pipelines by name; `PIPELINE` is the recommended one."""
CODE = "code"
"""The folder of the sources of Python operators."""
NETWORKS = "networks"
"""The folder of networks that a run has trained, and of their planes."""
DATABASE, LOCK, OWNER = "run.db", "run.lock", "run.owner"
_OLD_CURVE = "curve.png"
"""Of runs of version 0.1."""
OUTSIDE = "outside-runs.jsonl"
"""In `home`: the folders of runs that were started with `--out`, one a line."""
_MOST_OUTSIDE, _MOST_BYTES = 1000, 2**24
_SQLITE_ENDS = ("-wal", "-shm", "-journal")
CLASSES = "classes.json"
"""Of a search for several classes: its folder holds a run per class, and this document."""
_CODE_FILE = re.compile(r"[0-9a-f]{32}\.py|\.[0-9a-f]{32}\.py\..*part")
_NETWORK_FILE = re.compile(r"[0-9a-f]{32}\.(onnx|pack)|\.[0-9a-f]{32}\.(onnx|pack)\..*part")
"""A network, its planes, or what a kill has left of one of them."""
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
    drawn : bool
        Whether it has a report and pictures.
    """

    id: str
    path: Path
    new: bool = True
    drawn: bool = True

    @property
    def name(self) -> str:
        """What a command calls this run: its id, or its folder if that lies elsewhere."""
        known = runs_folder()
        inside = known in (self.path.parent, self.path.parent.parent)
        return self.path.relative_to(known).as_posix() if inside else str(self.path)

    @property
    def word(self) -> str:
        """The name as it is typed on a command line."""
        return quote(self.name)

    @property
    def files(self) -> dict[str, Path]:
        """All files of a finished run."""
        answers = {key: name for key, name in ANSWERS.items() if (self.path / name).is_file()}
        kept = {key: name for key, name in FILES.items() if self.drawn or key in ("pipeline", "result")}
        return {key: self.path / name for key, name in ({"pipeline": PIPELINE} | answers | kept).items()}

    def clear(self, *, database: bool = False) -> None:
        """Delete the results of an earlier run, so that those of two never lie side by side.

        Parameters
        ----------
        database : bool
            Whether to delete its database, its networks and its code as well. The database goes first: if this is
            killed, what is left belongs to no run, rather than to one that seems to be done.
        """
        for name in (*((DATABASE,) if database else ()), *FILES.values(), *ANSWERS.values(), _OLD_CURVE):
            self._delete(name)
        if database:
            self._delete_named(NETWORKS, _NETWORK_FILE)
            self._delete_named(CODE, _CODE_FILE)

    def _delete_named(self, name: str, pattern: re.Pattern[str]) -> None:
        """Delete what the run has in a folder inside its own, but nothing else that a folder of this name may hold."""
        folder = self.path / name
        if folder.is_symlink() or not folder.is_dir():
            return
        for file in folder.iterdir():
            if pattern.fullmatch(file.name) and file.is_file() and not file.is_symlink():
                file.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()

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
        self._delete(OWNER)
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
        return expand(given).absolute()
    from platformdirs import user_data_path

    return Path(user_data_path("evoseg", appauthor=False))


def pending_folder() -> Path:
    """Return the folder of what runs have yet to add to their libraries."""
    return home() / "pending"


def pending_file(run: str) -> Path:
    """Return the file of a run in it; ids come from files that anybody may have written, so they name no path."""
    return pending_folder() / f"{blake2b(os.fsencode(run), digest_size=12).hexdigest()}.json"


def runs_folder() -> Path:
    """Return the folder of all runs that were given no other."""
    return home() / "runs"


def run_id(dataset: str) -> str:
    """Return a new id: time, dataset, and a few random digits for searches of the same second."""
    slug = re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-")[:40].strip("-") or "run"
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}-{secrets.token_hex(2)}"


def create_run_folder(dataset: str, out: str | Path | None = None, *, overwrite: bool = False) -> RunFolder:
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
    path = expand(out).absolute() if out else runs_folder() / name
    folder = RunFolder(name, path, new=not path.exists())
    refuse_run(path, overwrite=overwrite)
    make_folder(folder.path)
    if folder.name == str(path) and not _is_scratch(path):
        _register_outside(path)
    return folder


def refuse_run(path: Path, *, overwrite: bool) -> None:
    """Make sure that a folder holds no run, or runs of several classes, unless they may be replaced.

    Raises
    ------
    FilesError
        Naming their files.
    """
    names = (*FILES.values(), *ANSWERS.values(), _OLD_CURVE, DATABASE, CLASSES)
    taken = [name for name in names if (path / name).exists()]
    taken += [f"{NETWORKS}/"] * any(map(_NETWORK_FILE.fullmatch, _names_in(path / NETWORKS)))
    taken += [f"{CODE}/"] * any(map(_CODE_FILE.fullmatch, _names_in(path / CODE)))
    if taken and not overwrite:
        raise FilesError(
            f"{path}: already contains a run ({', '.join(taken)}), which is not overwritten. Choose another folder, or "
            "replace it with --overwrite (out=evoseg.Output(folder, overwrite=True)); `evoseg runs resume` continues "
            "an unfinished search."
        )


def _names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def list_outside() -> list[Path]:
    """Return the folders outside of `runs_folder` that searches on this machine have written to, oldest first.

    Folders that have been moved or deleted, or that cannot be reached now, are left out.
    """
    try:
        lines = read_file(home() / OUTSIDE, _MOST_BYTES, error=FilesError).decode("utf-8", "replace").splitlines()
    except (OSError, EvosegError):
        return []
    found: dict[Path, None] = {}
    for line in lines[-_MOST_OUTSIDE:]:
        # Anybody may have written the file; a folder is looked at only if it holds a run.
        with suppress(ValueError, TypeError, RecursionError, OSError):
            path = Path(json.loads(line))
            if path.is_absolute() and (path / DATABASE).is_file():
                found[path] = None
    return list(found)


def _register_outside(path: Path) -> None:
    """Note that a folder will hold a run, so that `evoseg runs list` shows it."""
    if path in list_outside():
        return
    with suppress(OSError):  # a home that cannot be written to is no reason not to search
        home().mkdir(parents=True, exist_ok=True)
        with (home() / OUTSIDE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(str(path)) + "\n")


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
        raise FilesError(f"{path}: the folder cannot be created ({error.strerror}). Choose another.") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise FilesError(f"{path}: is not writable. Choose another folder.")


def find_run_folder(source: str | Path) -> RunFolder:
    """Return the folder of a run by its id, or by itself.

    Raises
    ------
    FilesError
        If there is none, or it holds no run; the message names the nearest ids.
    """
    path = expand(source)
    if not path.is_dir():
        path = find_run(str(source))
    refuse_classes(path)
    if not (path / DATABASE).is_file():
        rest = f" {nothing_in(path)}" if path.absolute().parent == runs_folder() else ""
        raise FilesError(f"{path}: holds no {DATABASE}, so it is not a run.{rest}")
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
        raise FilesError(f"{path}: contains a run for each class. Name one of them: {', '.join(runs)}.")


def how_to_continue(run: str) -> str:
    """Say how a run goes on that was broken off, on the command line and in Python."""
    return f"to continue: evoseg runs resume {quote(run)} (evoseg.resume({run!r}))"


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
    near = get_close_matches(name[:LONGEST], known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise FilesError(f"no file, folder or run is called '{legible(name)}'.{hint} `evoseg runs list` lists the runs.")


def write_whole(path: Path, content: str | bytes, *, overwrite: bool = False) -> None:
    """Write a file; it appears whole or not at all.

    Raises
    ------
    FilesError
        If it exists and `overwrite` is False, or cannot be written.
    """
    refuse_existing([path], overwrite=overwrite)
    try:
        with write_atomically(path) as file:
            file.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
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
            f"{taken[0]}{rest}: exists already and is not overwritten. Choose another place, or use --overwrite "
            "(overwrite=True)."
        )


def remove_scratch(left: Mapping[str, Any]) -> None:
    """Delete the packed images of a process that was killed, going by what it has left in its lock."""
    folder = Path(str(left.get("scratch", "")))
    # The name comes from a file that anybody may have written: nothing but our own scratch is ever deleted.
    if (
        _is_scratch(folder)
        and folder.is_dir()
        and not folder.is_symlink()
        and all(f.suffix in _SCRATCH_ENDS for f in folder.iterdir())
    ):
        shutil.rmtree(folder, ignore_errors=True)


def _is_scratch(folder: Path) -> bool:
    return folder.name.startswith(_SCRATCH) and folder.parent == Path(tempfile.gettempdir())


def scratch() -> "tempfile.TemporaryDirectory[str]":
    """Return a new folder for packed images, or for a run that nobody keeps."""
    return tempfile.TemporaryDirectory(prefix=_SCRATCH, ignore_cleanup_errors=True)
