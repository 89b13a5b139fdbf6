"""Tasks of a user's own: a Python file with a class `Task`.

The file is a program of the user's, run as such; whoever calls `load_task` makes sure that the user has named it.
"""

import copyreg
import importlib.util
import sys
import traceback
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import SettingsError
from evoseg.base.kinds import Kind
from evoseg.base.untrusted import read_file
from evoseg.data.dataset import Sample
from evoseg.evolve.ports import Task, inputs_of, judged

_MOST_BYTES = 16 * 2**20
NEEDED = ("item", "image", "truth", "judge", "score", "survey", "probe", "sweep")
"""Methods of a task; `evoseg.PlainTask` has all but item, judge and score."""
_EMPTY: dict[Kind, Callable[[tuple[int, ...]], NDArray[Any]]] = {
    Kind.MASK: lambda shape: np.zeros(shape, np.bool_),
    Kind.LABELS: lambda shape: np.zeros(shape, np.int32),
    Kind.POINTS: lambda shape: np.zeros((0, 2)),
    Kind.GRAY: lambda shape: np.zeros(shape, np.uint8),
}
"""What a pipeline returns that finds nothing."""


def digest_of(path: Path) -> str:
    """Return the sha256 of a file.

    Raises
    ------
    SettingsError
        If it cannot be read.
    """
    try:
        return sha256(read_file(path, _MOST_BYTES, error=SettingsError)).hexdigest()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}). Name a Python file with a Task.") from error


@cache
def load_task(path: Path, digest: str) -> Task:
    """Run a file and return its task; a worker process runs it once more, by this very function.

    Parameters
    ----------
    path : Path
        Absolute.
    digest : str
        The file's sha256: what a worker runs must be what its parent ran.

    Raises
    ------
    SettingsError
        If the file has changed, fails, or holds no usable `Task`; the message names the line.
    """
    if digest_of(path) != digest:
        raise SettingsError(f"{path}: has changed since the search began. Start anew.")
    module = _run(path, f"evoseg_own_task_{digest[:16]}")
    made = getattr(module, "Task", None)
    if not isinstance(made, type):
        raise SettingsError(f"{path}: holds no class named Task. See docs/own-task.md for one.")
    try:
        task: Task = made()
    except Exception as error:
        raise _fault(path, error) from error
    if missing := [name for name in NEEDED if not callable(getattr(task, name, None))]:
        raise SettingsError(f"{path}: Task has no method {missing[0]}. Derive it from evoseg.PlainTask, or write it.")
    if not isinstance(getattr(task, "output", None), Kind) or task.output is Kind.RAW:
        raise SettingsError(
            f"{path}: Task.output must say what a pipeline returns: Kind.MASK, LABELS, POINTS or GRAY, from "
            "evoseg.base.kinds."
        )
    # A class of a file cannot be imported by name, so its instances travel as the file.
    copyreg.pickle(made, lambda _: (load_task, (path, digest)))
    return task


def try_out(task: Task, sample: Sample, path: Path) -> None:
    """Have a user's task judge an empty answer to one sample, so that its faults come before a search.

    Raises
    ------
    SettingsError
        If that fails, or it gives images that no pipeline takes; the message names the line.
    """
    try:
        item = task.item(sample)
        inputs, truth = inputs_of(task, item), task.truth(item)
    except Exception as error:
        raise _fault(path, error, f" with {sample.stem}") from error
    for image in inputs:
        usable = isinstance(image, np.ndarray) and image.ndim == 3 and image.dtype in (np.uint8, np.uint16, np.float32)
        if not usable or not image.size:
            found = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise SettingsError(
                f"{path}: image() gives {found} for {sample.stem}; uint8, uint16 or float32 arrays of shape (M, N, C) "
                "are needed."
            )
    nothing = tuple(_EMPTY[task.output](image.shape[:2]) for image in inputs)
    try:
        task.score(judged(task, nothing, truth)[None])
    except Exception as error:
        raise _fault(path, error, f" with an empty answer to {sample.stem}") from error


def _fault(path: Path, error: Exception | SystemExit, when: str = "") -> SettingsError:
    """Return an error that names the line of the user's file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = lines[-1] if lines else getattr(error, "lineno", None)
    where = f", line {line}" if line else ""
    return SettingsError(f"{path}{where}{when}: {type(error).__name__}: {error}")


def _run(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SettingsError(f"{path}: not a Python file. A task is a file ending in .py.")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look for their module by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _fault(path, error) from error
    return module
