"""Where the jobs of a search run: on this machine, or on a Dask cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from evoseg.core.errors import SettingsError, legible
from evoseg.evolve.context import ExecutorFactory

LOCAL = "local"
"""The name of the executor that uses this machine."""


def check_executor(executor: str) -> None:
    """Raise if the executor is unknown.

    Raises
    ------
    SettingsError
    """
    if executor != LOCAL:
        _scheduler(executor)


@contextmanager
def open_executor(executor: str) -> Iterator[ExecutorFactory | None]:
    """Context manager that yields a factory of executors, or None for this machine.

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
    from evoseg.cluster.dask import connect_cluster

    with connect_cluster(_scheduler(executor)) as cluster:
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
            f"workers is '{legible(executor)}'; it must be a number of processes, or the scheduler of a Dask cluster "
            "as dask://HOST:PORT."
        )
    return f"tcp://{parts.netloc}"
