"""A Dask cluster on this machine: a scheduler and workers as processes of their own, which can be killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import distributed
import psutil

FORKS = """
import os, signal, sys
import distributed.cli.dask_worker, evoseg.cluster.dask
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
for line in sys.stdin:
    if child := os.fork():
        print(child, flush=True)
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(2, 1)
    distributed.cli.dask_worker.main(line.split())
    os._exit(0)
"""
"""Has imported all that a worker needs, so that one is there soon, and kills hit work and not imports."""
ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0


class LocalCluster:
    """A scheduler, and workers that nobody but `start` replaces.

    Attributes
    ----------
    address : str
        Dask's own, as tcp://HOST:PORT.
    scheduler : Popen

    Parameters
    ----------
    folder : Path
        For logs and the workers' files.
    without_evoseg : str
        "scheduler": it finds another package under that name.
    """

    def __init__(self, folder: Path, without_evoseg: str = "") -> None:
        self._folder = folder
        self._started: list[psutil.Process] = []
        self._log = (folder / "log").open("ab")
        file = folder / "scheduler.json"
        options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        first = [_not_evoseg(folder)] if without_evoseg == "scheduler" else []
        self.scheduler = self._process(first, "-m", "distributed.cli.dask_scheduler", *options)
        self._nursery = self._process([], "-c", FORKS)
        wait_until(lambda: file.is_file() and "address" in file.read_text())
        self.address = str(json.loads(file.read_text())["address"])

    def start(self, n: int = 1) -> None:
        """Start workers of one thread each."""
        place = self._folder / "workers"
        options = f"{self.address} --no-nanny --no-dashboard --local-directory {place} --nthreads 1\n"
        assert self._nursery.stdin is not None and self._nursery.stdout is not None
        for _ in range(n):
            self._nursery.stdin.write(options)
            self._nursery.stdin.flush()
            self._started.append(psutil.Process(int(self._nursery.stdout.readline())))

    def living(self) -> list[psutil.Process]:
        """Return the workers that have not ended."""
        return [worker for worker in self._started if worker.is_running()]

    def fill(self, n: int) -> None:
        """Start workers until there are n, and wait for them."""
        self.start(n - len(self.living()))
        with distributed.Client(self.address, set_as_default=False, timeout=START_S) as client:
            client.wait_for_workers(n, timeout=START_S)

    def packs(self, digest: str) -> list[Path]:
        """Return the files in which living workers keep a pack."""
        return sorted(self._folder.rglob(f"{digest}.pack"))

    def close(self) -> None:
        """End all processes."""
        for worker in self.living():
            worker.kill()
        for process in (self._nursery, self.scheduler):
            process.kill()
            process.communicate()
        self._log.close()

    def _process(self, first: list[str], *arguments: str) -> "subprocess.Popen[str]":
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([*first, str(ROOT), *filter(None, sys.path)])}
        pipe = subprocess.PIPE
        # By -P, nothing of the folder that the tests are started in: it may be one with an evoseg.
        command = [sys.executable, "-P", *arguments]
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._log, env=environment, text=True)


def _not_evoseg(folder: Path) -> str:
    """Make a package of the same name, and return where."""
    (package := folder / "nothing" / "evoseg").mkdir(parents=True)
    (package / "__init__.py").touch()
    return str(package.parent)


@contextmanager
def local_cluster(folder: Path, n_workers: int, without_evoseg: str = "") -> Iterator[LocalCluster]:
    """Run a cluster as long as the block lasts."""
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
