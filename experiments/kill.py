"""Kill commands with SIGKILL at random instants, repeat or resume them, and compare their end with an undisturbed one.

    python experiments/kill.py --kills 200
    python experiments/kill.py --what all --kills 100

Every kill hits a real command in a process of its own, and the work is killed again and again until it comes to its
end. The processes are forked from this one, which has imported everything already, so that the kills fall on work and
not on imports. `--what` says what is killed:

search    a search, then `runs resume`
remember  the end of a search, from when it writes down what its library is to keep; then `runs resume` or a search
add       `library add` of many files, into a library that exists or not
merge     `library merge`
classes   a search for two classes, then `runs resume`
delete    `runs delete` of a run, among the runs or elsewhere, and of a search for classes

After each kill, all databases must be sound, what was there before must be there still, and commands that list must
list. Prints one line per piece of work and one with the counts. Exit code 1 if anything was lost or ended differently.
"""

import argparse
import json
import os
import random
import select
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

# Imported for the forked processes.
import evoseg.api
import evoseg.class_search
import evoseg.cli.progress
import evoseg.drawing
import evoseg.report.page
import evoseg.report.text
import evoseg.runs.stored  # noqa: F401
from evoseg.cli.main import run
from evoseg.datasets.io.files import write_image
from evoseg.library.collection import Library, bundled_tasks
from evoseg.library.task import SolvedTask
from evoseg.library.task_files import TransferResult, write_task
from evoseg.synthetic import draw_dataset

LATE = 1.15
"""Kills come up to somewhat later than the work ends, so that some of it does, and every part of it is hit."""
Command = tuple[object, ...]


@dataclass
class Counts:
    """What has happened so far."""

    kills: int = 0
    works: int = 0
    equal: int = 0
    wrong: list[str] = field(default_factory=list)
    told: int = 0


def main() -> int:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=[*WORKS, "all"], default="search")
    parser.add_argument("--kills", type=int, default=200, help="of each kind of work")
    parser.add_argument("--evaluations", type=int, default=150)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10.0, help="for each kind of work, at most")
    asked = parser.parse_args()
    passed = True
    for what in WORKS if asked.what == "all" else [asked.what]:
        rng, counts, begun = random.Random(asked.seed), Counts(), time.monotonic()
        with TemporaryDirectory(prefix="kill-") as folder:
            work = WORKS[what](Lab(Path(folder), asked.evaluations, asked.workers))
            while counts.kills < asked.kills and time.monotonic() - begun < 60 * asked.minutes:
                work.one(rng, counts)
        minutes = (time.monotonic() - begun) / 60
        print(
            f"{what}: {counts.kills} kills in {counts.works} pieces of work, {minutes:.1f} min: {len(counts.wrong)} "
            f"states wrong, {counts.equal} of {counts.works} ends equal to the undisturbed one",
            flush=True,
        )
        passed &= counts.equal == counts.works and not counts.wrong
    return 0 if passed else 1


class Lab:
    """A folder to work in, and processes that are killed."""

    def __init__(self, folder: Path, evaluations: int, workers: int) -> None:
        self.folder = folder
        self.data = draw_dataset("nuclei", folder / "nuclei", 12, (60, 84), seed=3)
        self.budget = ("--evaluations", evaluations, "--workers", workers)

    def run(self, home: Path, *command: object, mark: str = "") -> float:
        """Run a command undisturbed; return how long it took from when it first opened a file that `mark` names."""
        child, marked = self._start(home, command, mark)
        begun = _wait_for(marked)
        code = _ended(child, 600, 0.001)
        if code != 0:
            raise SystemExit(f"{command} ended with {code}:\n{(self.folder / 'stderr').read_text()[-2000:]}")
        return time.monotonic() - begun

    def killed(self, home: Path, command: Command, mark: str, within_s: float, rng: random.Random) -> bool:
        """Run a command and kill it at a random instant; return whether that came before its end."""
        child, marked = self._start(home, command, mark)
        _wait_for(marked)
        code = _ended(child, rng.uniform(0.0, within_s), min(0.002, within_s / 50))
        if code not in (0, None):
            raise SystemExit(f"{command} ended with {code}:\n{(self.folder / 'stderr').read_text()[-2000:]}")
        return code is None

    def output(self, home: Path, *command: object) -> Any:
        """Return what a command prints as JSON."""
        self.run(home, *command)
        return json.loads((self.folder / "stdout").read_text())

    def _start(self, home: Path, command: Command, mark: str) -> tuple[int, int]:
        """Start a command; return its process, and where a byte can be read once it has opened a marked file."""
        reader, writer = os.pipe()
        child = os.fork()
        if child:
            os.close(writer)
            return child, reader
        code = 70
        try:
            os.environ.update(EVOSEG_HOME=str(home), TMPDIR=str(self.folder))
            for number, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.addaudithook(_marking(mark, writer))
            code = run([str(argument) for argument in command])
            sys.stdout.flush()
        finally:
            os._exit(code)


def _marking(mark: str, writer: int) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that writes a byte when a marked file is opened, or anything at all if nothing is marked."""
    told = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal told
        if not told and event in ("open", "sqlite3.connect") and mark in str(arguments[0]):
            told = True
            os.write(writer, b"x")

    return hook


def _wait_for(marked: int) -> float:
    """Wait until a process has opened the marked file, or ended; return when."""
    select.select([marked], [], [], 600)
    os.close(marked)
    return time.monotonic()


def _ended(child: int, within_s: float, every_s: float) -> int | None:
    """Return the exit code of a process, or kill it after some time and return None."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(min(every_s, max(0.0, until - time.monotonic())))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


class Search:
    """A search is killed until it is done."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._search = ("search", lab.data, *lab.budget, "--seed")
        self._expected: dict[int, Any] = {}
        for seed in range(3):
            home = lab.folder / f"home{seed}"
            self._takes_s = lab.run(home, *self._search, seed)
            self._expected[seed] = untimed(result_in(home)), library_in(home)
        print(f"undisturbed, a search takes {self._takes_s:.1f} s", flush=True)

    def one(self, rng: random.Random, counts: Counts) -> None:
        """Kill one."""
        seed, home = rng.randrange(3), self._lab.folder / f"run{counts.works}"
        command: Command = (*self._search, seed)
        kills = entries = 0
        while self._lab.killed(home, command, "", LATE * self._takes_s, rng):
            kills += 1
            if databases := list(home.glob("runs/*/run.db")):
                (database,) = databases
                written, finished = inspected(database, counts)
                if written < entries:
                    counts.wrong.append(f"{entries - written} entries were lost")
                entries = written
                command = ("runs", "resume", database.parent.name)
                if finished and not pending_in(home):
                    break
        end = untimed(result_in(home)), library_in(home)
        _count(counts, kills, end == self._expected[seed], f"{entries} entries at the last")


class Remember:
    """A search is killed between its end and its library, until the library has its task."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._template = lab, lab.folder / "template"
        library = self._template / "library.db"
        with Library(library) as shelf:
            shelf.add(tasks("known", 3))
        self._before = library.read_bytes()
        # A short search, since it is not what is killed here.
        lab.run(self._template, "search", lab.data, "--evaluations", 20, "--workers", 0)
        self._expected = library_in(self._template)
        self._place = {path.name for path in (self._template / "places").iterdir()}
        shutil.rmtree(self._template / "places")
        library.write_bytes(self._before)
        (self._run,) = (path.parent for path in self._template.glob("runs/*/run.db"))
        with sqlite3.connect(self._run / "run.db") as connection:
            connection.execute("UPDATE run SET finished = NULL")
        connection.close()
        home = self._home(0)
        self._takes_s = lab.run(home, "runs", "resume", self._run.name, mark="/pending/")
        print(f"undisturbed, remembering takes {1000 * self._takes_s:.0f} ms", flush=True)

    def one(self, rng: random.Random, counts: Counts) -> None:
        """Kill one; some are not caught up with by resuming, but by another search."""
        home, kills = self._home(counts.works + 1), 0
        command: Command = ("runs", "resume", self._run.name)
        while self._lab.killed(home, command, "/pending/", LATE * self._takes_s, rng):
            kills += 1
            _, finished = inspected(home / "runs" / self._run.name / "run.db", counts)
            there = self._known(home, counts)
            if finished and not pending_in(home):
                if not there:
                    counts.wrong.append("done, but in no library and not pending")
                break
            if finished and rng.random() < 0.5:
                self._lab.run(home, "search", self._lab.data, "--evaluations", 2, "--workers", 0, "--no-remember")
                break
        end = library_in(home) == self._expected and not pending_in(home)
        end &= {path.name for path in (home / "places").iterdir() if path.suffix != ".part"} == self._place
        _count(counts, kills, end)

    def _home(self, number: int) -> Path:
        return Path(shutil.copytree(self._template, self._lab.folder / f"home{number}"))

    def _known(self, home: Path, counts: Counts) -> bool:
        """Return whether the library has the task; note if it has lost others."""
        sound(home / "library.db", counts)
        names = [name for name, _ in library_in(home)[0]]
        if names[:3] != [name for name, _ in self._expected[0][:3]]:
            counts.wrong.append(f"of the known tasks, the library holds {names} only")
        return len(names) > 3


class Add:
    """`library add` of many files is killed until it is done."""

    mark = "/library.db"

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._command = self._prepared()
        self._begun = lab.folder / "begun"
        with Library(self._begun / "library.db") as shelf:
            shelf.add(tasks("known", 3))
        (lab.folder / "empty").mkdir()
        self._expected, self._takes_s = {}, 0.0
        for template in (self._begun, lab.folder / "empty"):
            home = Path(shutil.copytree(template, lab.folder / f"undisturbed-{template.name}"))
            self._takes_s = max(self._takes_s, lab.run(home, *self._command, mark=self.mark))
            self._expected[template] = library_in(home)
        print(f"undisturbed, it takes {1000 * self._takes_s:.0f} ms", flush=True)

    def _prepared(self) -> Command:
        (self._lab.folder / "shared").mkdir()
        for task in tasks("shared", 40):
            write_task(task, self._lab.folder / "shared" / f"{task.name}.yaml")
        return "library", "add", self._lab.folder / "shared"

    def one(self, rng: random.Random, counts: Counts) -> None:
        """Kill one."""
        template, kills = rng.choice(list(self._expected)), 0
        home = Path(shutil.copytree(template, self._lab.folder / f"home{counts.works}"))
        known = 3 if template == self._begun else 0
        while self._lab.killed(home, self._command, self.mark, LATE * self._takes_s, rng):
            kills += 1
            if (home / "library.db").exists():
                sound(home / "library.db", counts)
            there = self._lab.output(home, "library", "list", "--json")["tasks"]
            own = [task["name"] for task in there if task["origin"] != "seed"]
            if len(own) not in (known, known + 40) or own[:known] != [f"known-{i}" for i in range(known)]:
                counts.wrong.append(f"the library holds {len(own)} tasks")
        _count(counts, kills, library_in(home) == self._expected[template] and self._untouched())

    def _untouched(self) -> bool:
        return True


class Merge(Add):
    """`library merge` is killed until it is done."""

    def _prepared(self) -> Command:
        self._other = self._lab.folder / "other.db"
        with Library(self._other) as shelf:
            added = tasks("theirs", 40)
            shelf.add(added)
            pairs = ((a, b) for a in added for b in added[:10])
            shelf.add_transfer_results(
                TransferResult(a.id, b.id, a.best.pipeline.form, 1.0, None, 0.5) for a, b in pairs
            )
        self._bytes = self._other.read_bytes()
        return "library", "merge", self._other

    def _untouched(self) -> bool:
        return self._other.read_bytes() == self._bytes


class Classes:
    """A search for two classes is killed until it is done."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._search = ("search", draw_classes(lab.folder / "classes"), *lab.budget, "--task", "classes", "--out")
        home = lab.folder / "home"
        self._takes_s = lab.run(home, *self._search, home / "runs" / "all")
        self._expected = self._end(home)
        print(f"undisturbed, a search for two classes takes {self._takes_s:.1f} s", flush=True)

    def one(self, rng: random.Random, counts: Counts) -> None:
        """Kill one."""
        home = self._lab.folder / f"home{counts.works}"
        folder = home / "runs" / "all"
        kills, entries = 0, dict[str, int]()
        command: Command = (*self._search, folder)
        while self._lab.killed(home, command, "", LATE * self._takes_s, rng):
            kills += 1
            runs = sorted(folder.glob("*/run.db"))
            for path in runs:
                written, _ = inspected(path, counts)
                if written < entries.get(path.parent.name, 0):
                    counts.wrong.append("entries were lost")
                entries[path.parent.name] = written
            listed = self._lab.output(home, "runs", "list", "--json")
            told = listed["runs"] + listed["damaged"]
            if folder.exists() and not any(entry["run"].startswith("all") for entry in told):
                counts.wrong.append("a search for classes is on no list")
            if runs:
                command = ("runs", "resume", "all")
            elif folder.exists():
                command = (*self._search, folder, "--overwrite")
        _count(counts, kills, self._end(home) == self._expected, f"{sum(entries.values())} entries at the last")

    def _end(self, home: Path) -> Any:
        document = json.loads((home / "runs" / "all" / "classes.json").read_text("utf-8"))
        results = [
            json.loads((home / "runs" / "all" / n / "result.json").read_text("utf-8")) for n in ("bright", "dark")
        ]
        entries = [{key: value for key, value in entry.items() if key != "run"} for entry in document["classes"]]
        return entries, document["combined_test"], [untimed(result) for result in results], library_in(home)


class Delete:
    """`runs delete` is killed until it is done."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._template = lab, lab.folder / "template"
        small = ("--evaluations", 20, "--workers", 0, "--library", "none", "--out")
        for name in ("one", "other"):
            lab.run(self._template, "search", lab.data, *small, self._template / "runs" / name)
        classes = draw_classes(lab.folder / "classes")
        lab.run(self._template, "search", classes, "--task", "classes", *small, self._template / "runs" / "all")
        shutil.copytree(self._template / "runs" / "one", self._template / "mine")
        (self._template / "mine" / "notes.txt").write_text("mine")
        home = Path(shutil.copytree(self._template, lab.folder / "undisturbed"))
        self._takes_s = lab.run(home, "runs", "delete", "all", mark="run.lock")
        print(f"undisturbed, a deletion takes {1000 * self._takes_s:.0f} ms", flush=True)

    def one(self, rng: random.Random, counts: Counts) -> None:
        """Kill one."""
        home = Path(shutil.copytree(self._template, self._lab.folder / f"home{counts.works}"))
        name = rng.choice(["one", "all", "mine"])
        place, kills = home / ("mine" if name == "mine" else f"runs/{name}"), 0
        while self._lab.killed(home, ("runs", "delete", place), "run.lock", LATE * self._takes_s, rng):
            kills += 1
            listed = self._lab.output(home, "runs", "list", "--json")
            told = {entry["run"].split("/")[0] for entry in listed["runs"] + listed["damaged"]}
            expected = {path.name for path in (home / "runs").iterdir()}
            if told != expected:
                counts.wrong.append(f"of {sorted(expected)}, {sorted(told)} are listed")
            self._lab.run(home, "runs", "show", "other")
            if not place.exists() or {path.name for path in place.iterdir()} == {"notes.txt"}:
                break
        others = {path.name for path in (home / "runs").iterdir()} == {"one", "other", "all"} - {name}
        gone = not place.exists() if name != "mine" else [path.name for path in place.iterdir()] == ["notes.txt"]
        _count(counts, kills, gone and others, name)
        shutil.rmtree(home)


WORKS: dict[str, Callable[[Lab], Any]] = {
    "search": Search,
    "remember": Remember,
    "add": Add,
    "merge": Merge,
    "classes": Classes,
    "delete": Delete,
}


def _count(counts: Counts, kills: int, equal: bool, more: str = "") -> None:
    """Count a piece of work that is done, and say so."""
    counts.kills += kills
    counts.works += 1
    counts.equal += equal
    words = [f"{kills} kills", *([more] if more else []), "equal" if equal else "DIFFERENT"]
    print(f"{counts.works}: {', '.join(words)}", flush=True)
    for wrong in counts.wrong[counts.told :]:
        print(f"   WRONG: {wrong}", flush=True)
    counts.told = len(counts.wrong)


def tasks(name: str, n: int) -> list[SolvedTask]:
    """Return solved tasks that do not come with evoseg."""
    seeds = bundled_tasks()
    names = [f"{name}-{i}" for i in range(n)]
    hashes = [blake2b(name.encode(), digest_size=32).hexdigest() for name in names]
    return [replace(seeds[i % len(seeds)], name=names[i], hashes=(hashes[i],)) for i in range(n)]


def draw_classes(folder: Path) -> Path:
    """Draw bright and dark squares in noise, and a mask of both classes."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for i in range(8):
        rng = np.random.default_rng(i)
        classes = np.zeros((48, 61), np.uint8)
        for value, cols in ((1, (3, 20)), (4, (35, 50))):
            for col in cols:
                row = int(rng.integers(2, 34))
                classes[row : row + 10, col : col + 9] = value
        image = rng.normal(128, 8, classes.shape) + 70 * (classes == 1) - 70 * (classes == 4)
        write_image(folder / "images" / f"s{i}.png", np.clip(image, 0, 255).astype(np.uint8))
        write_image(folder / "masks" / f"s{i}.png", classes)
    (folder / "dataset.yaml").write_text("classes: {1: bright, 4: dark}\n")
    return folder


def result_in(home: Path) -> dict[str, Any]:
    """Return the result document of the one run there."""
    (file,) = home.glob("runs/*/result.json")
    document: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return document


def library_in(home: Path) -> Any:
    """Return all that a library holds, but when it was added: tasks, vectors, and rows of the ledger."""
    connection = sqlite3.connect(f"file:{home / 'library.db'}?mode=ro", uri=True)
    try:
        task = connection.execute("SELECT name, document FROM task ORDER BY number").fetchall()
        rest = [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("vector", "state", "reuse")
        ]
    finally:
        connection.close()
    return task, rest


def pending_in(home: Path) -> list[Path]:
    """Return what has yet to be added to a library."""
    return list(home.glob("pending/*.json"))


def sound(database: Path, counts: Counts) -> None:
    """Note if SQLite finds a database damaged."""
    connection = sqlite3.connect(database)
    try:
        if (said := connection.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            counts.wrong.append(f"{database.name}: {said}")
    finally:
        connection.close()


def inspected(database: Path, counts: Counts) -> tuple[int, bool]:
    """Return how many entries a run has, and whether it is done; note if its database is damaged."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        if (said := connection.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            counts.wrong.append(f"{database.name}: {said}")
        (written,) = connection.execute("SELECT count(*) FROM entry").fetchone()
        (finished,) = connection.execute("SELECT finished IS NOT NULL FROM run").fetchone()
    finally:
        connection.close()
    return written, bool(finished)


def untimed(result: dict[str, Any]) -> dict[str, Any]:
    """Return what must be equal."""
    keys = ("pipeline", "role", "scores", "test_per_image", "front", "finalists", "evaluations", "decided", "proposers")
    history = [(evaluations, score) for evaluations, _, score in result["history"]]
    return {key: result[key] for key in (*keys, "reproducible", "stopped_by")} | {"history": history}


if __name__ == "__main__":
    sys.exit(main())
