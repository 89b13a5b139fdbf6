"""Files: the data folders of evoseg, atomic writing, and reading ahead in threads."""

import os
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

from evoseg.core.errors import EvosegError, SettingsError

Folder = Literal["agents", "pipelines_db"]
"""Name of a data folder: the roles of a language model, or the seed library."""

_PACKAGE = Path(__file__).resolve().parent.parent

_PART = ".part"
_LEFTOVER = re.compile(rf"\.(.+)\.[a-z0-9_]{{8}}{re.escape(_PART)}", re.DOTALL)
"""Names of `mkstemp` for files that are being written."""

T = TypeVar("T")
R = TypeVar("R")

THREADS = min(4, os.cpu_count() or 1)
"""By default. Decoders let threads run side by side; each holds an image, so more of them cost memory."""


class ResourceError(EvosegError, FileNotFoundError):
    """A data folder that should have come with evoseg and did not."""


def expand(path: str | Path) -> Path:
    """Return a path whose `~`, or `~name`, stands for somebody's home folder.

    Raises
    ------
    SettingsError
        If nobody has that name.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise SettingsError(
            f"{path}: {path.parts[0]} stands for a user's home folder, and none is known. For a file of this name in "
            f"the current folder, write ./{path}."
        ) from error


def data_folder(name: Folder, package: Path = _PACKAGE) -> Path:
    """Return the folder `name`, wherever this installation keeps it.

    Parameters
    ----------
    name : "agents" or "pipelines_db"
    package : Path, optional
        Folder of the package ``evoseg``; by default the one that is running.

    Raises
    ------
    ResourceError
        If neither the package nor a checkout around it holds the folder.
    """
    inside = package / "_data" / name
    if inside.is_dir():
        return inside
    beside = package.parent / name
    # Without this check, an installed package called `agents` would be mistaken for ours.
    if (package.parent / "pyproject.toml").is_file() and beside.is_dir():
        return beside
    raise ResourceError(
        f"the data folder '{name}' is missing: neither {inside} nor {beside} (in a checkout) exists. "
        "Install evoseg again, or run it from a complete checkout."
    )


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces `path` when the block ends; if the block fails, nothing is left behind.

    Bytes go into a hidden file beside it and to the disk first, so that no reader, and no crash, ever sees half of it.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
    try:
        os.close(handle)
        # Opened again, for a file object that knows its name: tifffile asks for it.
        with open(temporary, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes a private file; this one gets the rights that any new file would.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Delete what a killed process has left of files that it was writing with `write_atomically`, and no others."""
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(path.name)
    for folder, wanted in names.items():
        for part in folder.glob(f".*{_PART}"):
            found = _LEFTOVER.fullmatch(part.name)
            if found and found[1] in wanted:
                part.unlink(missing_ok=True)


def prefetch(function: Callable[[T], R], things: Iterable[T], threads: int = THREADS) -> Iterator[R]:
    """Yield `function(thing)` for each thing, in order, with at most one result per thread waiting to be asked for.

    An exception comes in the place of its result.
    """
    with ThreadPoolExecutor(threads) as pool:
        begun: deque[Future[R]] = deque()
        for thing in things:
            begun.append(pool.submit(function, thing))
            if len(begun) > threads:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
