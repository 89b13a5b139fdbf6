"""Kill a search with SIGKILL at random instants, resume it, and compare its end with that of an undisturbed one.

    python experiments/kill.py --kills 200

Every kill hits a real `evoseg search` or `evoseg runs resume` in a process of its own; a run is killed again and again
until it comes to its end. The processes are forked from this one, which has imported everything already, so that the
kills fall on work and not on imports. Prints one line per run and one with the counts. Exit code 1 if any was lost.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# Imported for the forked processes.
import evoseg.app.api
import evoseg.app.replaying
import evoseg.report.curve
import evoseg.report.sheet  # noqa: F401
from evoseg.commands.main import run
from evoseg.data.scenes import draw_dataset


@dataclass
class Counts:
    """What has happened so far."""

    kills: int = 0
    before_it_began: int = 0
    runs: int = 0
    equal: int = 0
    unsound: int = 0
    lost: int = 0


def main() -> int:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--evaluations", type=int, default=150)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10.0)
    asked = parser.parse_args()
    rng, counts, begun = random.Random(asked.seed), Counts(), time.monotonic()
    with TemporaryDirectory(prefix="kill-") as folder:
        lab = Lab(Path(folder), asked.evaluations, asked.workers)
        lab.learn()
        while counts.kills < asked.kills and time.monotonic() - begun < 60 * asked.minutes:
            lab.one_run(rng, counts)
    print(
        f"{counts.kills} kills in {counts.runs} runs ({counts.before_it_began} before there was a run), "
        f"{(time.monotonic() - begun) / 60:.1f} min: {counts.unsound} databases unsound, {counts.lost} times written "
        f"entries lost, {counts.equal} of {counts.runs} results equal to the undisturbed one in every bit"
    )
    return 0 if counts.equal == counts.runs and not counts.unsound and not counts.lost else 1


class Lab:
    """A drawn dataset, and searches on it."""

    def __init__(self, folder: Path, evaluations: int, workers: int) -> None:
        self._folder = folder
        self._data = draw_dataset("nuclei", folder / "nuclei", 12, (60, 84), seed=3)
        self._search = ("search", self._data, "--evaluations", evaluations, "--workers", workers, "--seed")
        self._expected: dict[int, Any] = {}
        self._takes_s = 0.0

    def learn(self) -> None:
        """Run a few searches undisturbed."""
        for seed in range(3):
            begun = time.monotonic()
            home = self._folder / f"home{seed}"
            assert self._ended(self._start(home, *self._search, seed), 600) == 0
            self._takes_s = time.monotonic() - begun
            self._expected[seed] = untimed(result_in(home))
        print(f"undisturbed, a search takes {self._takes_s:.1f} s", flush=True)

    def one_run(self, rng: random.Random, counts: Counts) -> None:
        """Kill a search until it is done."""
        seed, home = rng.randrange(3), self._folder / f"run{counts.runs}"
        home.mkdir()
        command: tuple[object, ...] = (*self._search, seed)
        kills = entries = 0
        while True:
            # Up to somewhat more than it needs; so some come to their end, and kills fall on every phase.
            code = self._ended(self._start(home, *command), rng.uniform(0.0, 1.15 * self._takes_s))
            if code == 0:
                break
            if code is not None:
                raise SystemExit(f"{command} ended with {code}")
            kills += 1
            runs = list(home.glob("runs/*/run.db"))
            if not runs:
                counts.before_it_began += 1
                continue
            (database,) = runs
            sound, written, finished = inspected(database)
            counts.unsound += not sound
            counts.lost += written < entries
            entries = written
            if finished:
                break
            command = ("runs", "resume", database.parent.name)
        equal = untimed(result_in(home)) == self._expected[seed]
        counts.kills += kills
        counts.runs += 1
        counts.equal += equal
        print(
            f"run {counts.runs}: {kills} kills, {entries} entries at the last, {'equal' if equal else 'DIFFERENT'}",
            flush=True,
        )

    def _start(self, home: Path, *arguments: object) -> int:
        child = os.fork()
        if child:
            return child
        code = 70
        try:
            os.environ.update(EVOSEG_HOME=str(home), TMPDIR=str(self._folder))
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(os.open(self._folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            code = run([str(argument) for argument in arguments])
        finally:
            os._exit(code)

    def _ended(self, child: int, within_s: float) -> int | None:
        """Return the exit code of a process, or kill it after some time and return None."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None


def result_in(home: Path) -> dict[str, Any]:
    """Return the result document of the one run there."""
    (file,) = home.glob("runs/*/result.json")
    document: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return document


def inspected(database: Path) -> tuple[bool, int, bool]:
    """Return whether SQLite finds no fault, how many entries there are, and whether the run is done."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        sound = connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        (written,) = connection.execute("SELECT count(*) FROM entry").fetchone()
        (finished,) = connection.execute("SELECT finished IS NOT NULL FROM run").fetchone()
    finally:
        connection.close()
    return sound, written, bool(finished)


def untimed(result: dict[str, Any]) -> dict[str, Any]:
    """Return what must be equal."""
    keys = ("pipeline", "role", "scores", "test_per_image", "front", "finalists", "evaluations", "decided", "proposers")
    history = [(evaluations, score) for evaluations, _, score in result["history"]]
    return {key: result[key] for key in (*keys, "reproducible", "stopped_by")} | {"history": history}


if __name__ == "__main__":
    sys.exit(main())
