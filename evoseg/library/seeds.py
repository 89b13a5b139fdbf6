"""The seed library: solved tasks and the ledger that come with evoseg."""

from functools import lru_cache
from pathlib import Path

from evoseg.base.resources import data_folder
from evoseg.library.files import read_file
from evoseg.library.ledger import LEDGER, Reuse, read_ledger
from evoseg.library.task import SolvedTask


def seed_folder() -> Path:
    """Return the folder of the seed library."""
    return data_folder("pipelines_db")


@lru_cache(maxsize=1)
def seed_tasks() -> tuple[SolvedTask, ...]:
    """Return the solved tasks that come with evoseg, by name.

    Raises
    ------
    TaskError
        If a file of this installation was damaged.
    """
    return tuple(read_file(path) for path in sorted(seed_folder().glob("*.yaml")))


@lru_cache(maxsize=1)
def seed_ledger() -> tuple[Reuse, ...]:
    """Return what is known of the seed tasks' pipelines on each other's images.

    Raises
    ------
    TaskError
        If the file of this installation was damaged.
    """
    return tuple(read_ledger(seed_folder() / LEDGER))
