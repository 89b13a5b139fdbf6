"""Where the jobs of a search are done: on this machine, or on a cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from evoseg.base.errors import SettingsError, legible
from evoseg.evolve.solve import Hire

LOCAL = "local"
"""The executor that is this machine."""


def check_executor(executor: str, workers: int | None) -> None:
    """Refuse an executor that is none, or a number of processes beside one that has its own.

    Raises
    ------
    SettingsError
        Saying which.
    """
    if executor == LOCAL:
        return
    _scheduler(executor)
    if workers is not None:
        raise SettingsError(
            f"workers ({workers}) counts processes on this machine; {executor} has its own, one per thread of its Dask "
            "workers. Leave one out."
        )


@contextmanager
def hired(executor: str) -> Iterator[Hire | None]:
    """Have an executor at hand as long as the block lasts; None stands for this machine.

    Raises
    ------
    ClusterError
        If nothing answers there, there are no workers, or their versions are not those of this process.
    MissingPackageError
        If it needs a package that is not installed.
    """
    if executor == LOCAL:
        yield None
        return
    from evoseg.cluster.dask import connected

    with connected(_scheduler(executor)) as cluster:
        yield cluster.executor


def _scheduler(executor: str) -> str:
    """Return Dask's own address of dask://HOST:PORT."""
    try:
        parts = urlsplit(executor)
        valid = parts.scheme == "dask" and parts.hostname and parts.port and parts.netloc == executor[len("dask://") :]
    except ValueError:
        valid = False
    if not valid or "@" in executor:
        raise SettingsError(
            f"executor is '{legible(executor)}'; it must be {LOCAL}, or the scheduler of a Dask cluster as "
            "dask://HOST:PORT."
        )
    return f"tcp://{parts.netloc}"
