"""A Dask cluster on this machine: a scheduler and workers as processes of their own, which can be killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_S = 120.0


class LocalCluster:
    """A scheduler, and workers that nobody but `start` replaces.

    Attributes
    ----------
    address : str
        As in dask://HOST:PORT.
    workers : list of Popen
        Living and dead.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        file = folder / "scheduler.json"
        self.scheduler = self._process(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file
        )
        address = str(wait_until(lambda: file.is_file() and json.loads(file.read_text() or "{}").get("address")))
        self._tcp = address
        self.address = address.replace("tcp://", "dask://")

    def start(self, n: int = 1, *options: object) -> "list[subprocess.Popen[bytes]]":
        """Start workers, one thread each if nothing else is said; return them at once."""
        options = options or ("--nthreads", 1)
        place = ("--local-directory", self._folder / "workers")
        made = [self._process("worker", self._tcp, "--no-nanny", "--no-dashboard", *place, *options) for _ in range(n)]
        self.workers += made
        return made

    def wait_for(self, n: int) -> None:
        """Wait until so many workers are there."""
        from distributed import Client

        with Client(self._tcp, set_as_default=False, timeout=START_S) as client:
            client.wait_for_workers(n, timeout=START_S)

    def close(self) -> None:
        """End all processes."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()

    def _process(self, part: str, *options: object) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", f"distributed.cli.dask_{part}", *map(str, options)]
        with (self._folder / f"{part}.log").open("ab") as log:
            environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


@contextmanager
def local_cluster(folder: Path, n_workers: int) -> Iterator[LocalCluster]:
    """Run a cluster as long as the block lasts."""
    cluster = LocalCluster(folder)
    try:
        cluster.start(n_workers)
        if n_workers:
            cluster.wait_for(n_workers)
        yield cluster
    finally:
        cluster.close()


def wait_until(found: "object", seconds: float = START_S) -> object:
    """Ask until the answer is true, and return it."""
    end = time.monotonic() + seconds
    while not (answer := found()):  # type: ignore[operator]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
    return answer
