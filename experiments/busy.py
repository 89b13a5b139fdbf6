"""Search on a quiet core, beside CPU hogs on the same core, and with a worker that is stopped for a while.

    python experiments/busy.py DATASETS/drive_vessels DATASETS/vnc_mitochondria

Each dataset is searched three times with one seed and one budget of evaluations: undisturbed; at nice 19 on one core
that so many other processes use, too; and with its worker process stopped by SIGSTOP and continued after a minute. The
three must give the same pipeline, history and scores to the last bit, no candidate that failed, a result and a report.
Prints one line per search. Exit code 1 if any differs.

Linux only. Every hog has a session of its own, as programs of other users would have: kernels with autogroup share a
core among sessions first, and nice counts only within one.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments.kill import untimed

CONDITIONS = ("quiet", "busy", "stopped")
AT_WORK_S = 2.0
"""CPU time after which a worker is stopped: it has started, and the search is under way."""


@dataclass(frozen=True)
class Ended:
    """How a search ended; what it used counts its worker."""

    result: dict[str, Any]
    report: bool
    wall_s: float
    cpu_s: float


def main() -> int:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hogs", type=int, default=10)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--stop", type=float, default=60.0, help="for how long the worker is stopped, s")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    asked = parser.parse_args()
    print(
        "dataset, condition: pipeline, evaluations, failed, test score; CPU of wall time; same as the first", flush=True
    )
    wrong = 0
    for dataset in asked.datasets:
        first: dict[str, Any] | None = None
        for condition in asked.conditions:
            with TemporaryDirectory(prefix="busy-") as folder:
                ended = search(dataset, condition, Path(folder), asked)
            result = ended.to_json()
            first = first or untimed(result)
            fine = untimed(result) == first and not result["failed"] and not result["not_scored"] and ended.report
            wrong += not fine
            print(
                f"{dataset.name}, {condition}: {result['digest'][:12]}, {result['evaluations']}, {result['failed']}, "
                f"{result['scores']['test']:.4f}; {ended.cpu_s:.0f} s of {ended.wall_s:.0f} s; "
                f"{'same' if fine else 'DIFFERENT'}",
                flush=True,
            )
    return 1 if wrong else 0


def search(dataset: Path, condition: str, folder: Path, asked: argparse.Namespace) -> Ended:
    """Search under a condition."""
    command = [sys.executable, "-P", "-m", "evoseg.cli.main", "search", str(dataset.resolve())]
    command += ["--evaluations", str(asked.evaluations), "--seed", str(asked.seed), "--workers", "1"]
    command += ["--library", "none", "--out", str(folder / "run"), "--json"]
    environment = os.environ | {"EVOSEG_HOME": str(folder / "home"), "PYTHONPATH": sys.path[0]}
    busy = condition == "busy"
    with hogs(asked.hogs if busy else 0, asked.core), (folder / "result").open("wb") as out:
        begun = time.monotonic()
        process = subprocess.Popen(command, stdout=out, env=environment, start_new_session=True)
        if busy:
            os.sched_setaffinity(process.pid, {asked.core})
            os.setpriority(os.PRIO_PROCESS, process.pid, 19)
        if condition == "stopped":
            stop(process, asked.stop)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.monotonic() - begun
    if process.returncode:
        raise SystemExit(f"{dataset.name}, {condition}: the search ended with exit code {process.returncode}")
    result = json.loads((folder / "result").read_text("utf-8"))
    return Ended(result, Path(result["files"]["report"]).is_file(), wall_s, used.ru_utime + used.ru_stime)


@contextmanager
def hogs(n: int, core: int) -> Iterator[None]:
    """Keep a core busy by so many processes."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) for _ in range(n)]
    try:
        for hog in started:
            os.sched_setaffinity(hog.pid, {core})
        yield
    finally:
        for hog in started:
            hog.kill()
            hog.wait()


def stop(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Stop the worker of a search for some time, in the middle of its work."""
    while not (workers := [pid for pid in children(process.pid) if cpu_s(pid) > AT_WORK_S]):
        if process.poll() is not None:
            raise SystemExit("the search was over before its worker could be stopped; ask for more evaluations")
        time.sleep(0.05)
    os.kill(workers[0], signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(workers[0], signal.SIGCONT)


def children(parent: int) -> list[int]:
    """Return the child processes of a process."""
    return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text("utf-8").split()]


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process, s."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
