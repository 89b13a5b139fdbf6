"""Where runs are kept, and how their files get there: whole, and never over something else."""

import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from evoseg.base.errors import EvosegError, unknown
from evoseg.base.writing import whole_file

PIPELINE, RESULT, TEST, CURVE = "pipeline.evo", "result.json", "test.png", "curve.png"
FILES = {"pipeline": PIPELINE, "result": RESULT, "test": TEST, "curve": CURVE}
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
    def files(self) -> dict[str, Path]:
        """All files of a finished run."""
        return {key: self.path / name for key, name in FILES.items()}

    def clear(self) -> None:
        """Delete the files of an earlier run, so that those of two runs never lie side by side."""
        for file in self.files.values():
            file.unlink(missing_ok=True)

    def write(self, name: str, text: str) -> None:
        """Write one of the run's files."""
        write_whole(self.path / name, text, overwrite=True)

    def drop_if_empty(self) -> None:
        """Remove the folder of a run that left nothing, if it was made for it."""
        if self.new and not any(self.path.iterdir()):
            self.path.rmdir()


def home() -> Path:
    """Return evoseg's own folder: $EVOSEG_HOME, or where this system keeps users' data."""
    given = os.environ.get("EVOSEG_HOME")
    if given:
        return Path(given).expanduser().absolute()
    from platformdirs import user_data_path

    return Path(user_data_path("evoseg", appauthor=False))


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
        Whether `out` may hold the files of another run; they are replaced when this one has an answer.

    Raises
    ------
    FilesError
        If `out` holds a run already, or the folder cannot be made.
    """
    name = run_id(dataset)
    path = Path(out).expanduser().absolute() if out else home() / "runs" / name
    folder = RunFolder(name, path, new=not path.exists())
    taken = [file.name for file in folder.files.values() if file.exists()]
    if taken and not overwrite:
        raise FilesError(
            f"{folder.path}: holds {', '.join(taken)} already, and nothing is overwritten. Choose another folder, or "
            "allow it with --overwrite (overwrite=True)."
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


def find_run(name: str) -> Path:
    """Return the folder of the run called `name`.

    Raises
    ------
    FilesError
        If there is none; the message names the nearest.
    """
    folder = home() / "runs"
    # A name with a separator would lead out of the folder of runs.
    if Path(name).name == name and (folder / name).is_dir():
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
            file.write(text.encode())
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
