"""A Dask cluster on this machine: a scheduler and workers as processes of their own, which can be killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0


class LocalCluster:
    """A scheduler, and workers that nobody but `start` replaces.

    Attributes
    ----------
    address : str
        Dask's own, as tcp://HOST:PORT.
    workers : list of Popen
        Living and dead.

    Parameters
    ----------
    folder : Path
        For logs and the workers' files.
    without_evoseg : str
        "scheduler" or "worker": a part that finds another package under that name.
    """

    def __init__(self, folder: Path, without_evoseg: str = "") -> None:
        self._folder = folder
        self._without_evoseg = without_evoseg
        self.workers: list[subprocess.Popen[bytes]] = []
        file = folder / "scheduler.json"
        self.scheduler = self._process(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file
        )
        wait_until(lambda: file.is_file() and "address" in file.read_text())
        self.address = str(json.loads(file.read_text())["address"])

    def start(self, n: int = 1, *options: object) -> "list[subprocess.Popen[bytes]]":
        """Start workers, one thread each if nothing else is said; return them at once."""
        options = options or ("--nthreads", 1)
        place = ("--local-directory", self._folder / "workers")
        made = [
            self._process("worker", self.address, "--no-nanny", "--no-dashboard", *place, *options) for _ in range(n)
        ]
        self.workers += made
        return made

    def wait_for(self, n: int) -> None:
        """Wait until so many workers are there."""
        from distributed import Client

        with Client(self.address, set_as_default=False, timeout=START_S) as client:
            client.wait_for_workers(n, timeout=START_S)

    def living(self) -> "list[subprocess.Popen[bytes]]":
        """Return the workers that have not ended."""
        return [worker for worker in self.workers if worker.poll() is None]

    def fill(self, n: int) -> None:
        """Start workers until there are n."""
        self.start(n - len(self.living()))
        self.wait_for(n)

    def packs(self, digest: str) -> list[Path]:
        """Return the files in which workers keep a pack."""
        return sorted(self._folder.rglob(f"{digest}.pack"))

    def close(self) -> None:
        """End all processes."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()

    def _process(self, part: str, *options: object) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", f"distributed.cli.dask_{part}", *map(str, options)]
        with (self._folder / f"{part}.log").open("ab") as log:
            found = [str(ROOT), *filter(None, sys.path)]
            if part == self._without_evoseg:
                (nothing := self._folder / "nothing" / "evoseg").mkdir(parents=True, exist_ok=True)
                (nothing / "__init__.py").touch()
                found.insert(0, str(nothing.parent))
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(found)}
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


@contextmanager
def local_cluster(folder: Path, n_workers: int, without_evoseg: str = "") -> Iterator[LocalCluster]:
    """Run a cluster as long as the block lasts; one part of it may find no evoseg worth the name."""
    cluster = LocalCluster(folder, without_evoseg)
    try:
        if n_workers:
            cluster.fill(n_workers)
        yield cluster
    finally:
        cluster.close()


def wait_until(so: Callable[[], bool]) -> None:
    """Ask until the answer is yes."""
    end = time.monotonic() + START_S
    while not so():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
