"""Searches as the studio sees them: commands that it starts and stops, and any run that can be watched from its folder.

A search is `evoseg search` in a process of its own, so it goes on if the studio is closed or killed. All that is shown
comes from the run's folder, whoever searches in it.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from time import monotonic, strftime
from typing import Annotated, Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field

from evoseg.core.errors import EvosegError, legible
from evoseg.core.notes import escape_text
from evoseg.pipeline import Pipeline
from evoseg.report.results import SearchResult
from evoseg.runs.control import read_owner
from evoseg.runs.lineage import SCORED, StoredCandidate, read_candidates
from evoseg.runs.network_folders import load_networks
from evoseg.runs.pipeline_files import read_pipeline
from evoseg.runs.run_file import RUNNING
from evoseg.runs.run_folder import ANSWERS, DATABASE, PIPELINE, REPORT, FilesError
from evoseg.runs.stored import StoredRun, list_runs, open_run, read_result
from evoseg.studio.project import RUNS, Project

_LISTED_S = 15.0
"""How long a list of the runs in evoseg's own folder is good for: reading it opens every run."""
_LOG_BYTES = 4000
"""Of a command's messages, the last ones are shown."""
_POINTS = 400
"""Points of a curve or a cloud that are drawn, at most."""


class SearchRequest(BaseModel):
    """What to search for.

    Attributes
    ----------
    seconds : float, s
    task : str
        "" to let evoseg decide.
    networks : bool
        Whether small networks are trained as well.
    start : str
        Source of a pipeline that joins the candidates, as of `Sources`; "" for none.
    """

    model_config = ConfigDict(extra="forbid")

    seconds: Annotated[float, Field(ge=1, le=7 * 86400)] = 60
    task: Literal["", "binary", "instances"] = ""
    networks: bool = True
    start: Annotated[str, Field(max_length=60)] = ""


@final
@dataclass(frozen=True)
class Command:
    """A command of evoseg.

    Attributes
    ----------
    words : tuple of str
        Without the program's name.
    """

    words: tuple[str, ...]

    @property
    def line(self) -> str:
        """As a person types it."""
        return shlex.join(["evoseg", *self.words])

    @property
    def process_line(self) -> list[str]:
        """As a process is started with it, which finds the modules that this one finds.

        Only if this one looks for them in the working folder does the other: a user's random.py there must not stand
        in for Python's.
        """
        safely = [] if {"", os.getcwd()} & set(sys.path) else ["-P"]
        return [sys.executable, *safely, "-m", "evoseg", *self.words]

    def start(self, log: Path, out: Path | None = None) -> "subprocess.Popen[bytes]":
        """Start it in a process that outlives this one; its messages go to a file, its answer to `out` if named."""
        with log.open("ab") as messages, (out or log).open("ab") as answer:
            return subprocess.Popen(
                self.process_line,
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=messages,
                start_new_session=True,
            )


def last_words(log: Path) -> str:
    """Return the last messages of a command; "" if there are none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return escape_text(text).strip()


@final
class Searches:
    """The runs on a project's folder.

    Parameters
    ----------
    project : Project
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._processes: dict[Path, subprocess.Popen[bytes]] = {}
        self._elsewhere: tuple[float, list[Path]] = (-_LISTED_S, [])
        self._candidates: dict[Path, tuple[int, list[StoredCandidate]]] = {}
        self._lock = Lock()

    # Commands

    def command(self, request: SearchRequest, out: Path, start: str) -> Command:
        """Return the command of a search; `start` is the path of the pipeline to start from, "" for none."""
        words = ["search", str(self._project.root), "--seconds", f"{request.seconds:g}", "--out", str(out)]
        words += ["--task", request.task] if request.task else []
        words += [] if request.networks else ["--no-networks"]
        words += ["--warm-start", start] if start else []
        return Command(tuple(words))

    def start(self, request: SearchRequest, start: str) -> Path:
        """Start a search and return its folder; `start` as of `command`."""
        self._project.save()
        out = self._project.place(RUNS, strftime("%Y%m%d-%H%M%S"))
        self._run(out, self.command(request, out, start))
        return out

    def resume(self, folder: Path) -> None:
        """Go on with a run."""
        self._project.save()
        self._run(folder, Command(("runs", "resume", str(folder))))

    def _run(self, folder: Path, command: Command) -> None:
        self._processes[folder] = command.start(self._log(folder))

    def _log(self, folder: Path) -> Path:
        """Return the file of a run's messages: beside the folder, which the search itself makes."""
        return self._project.place(RUNS, f"{folder.name}.log")

    def stop(self, folder: Path) -> None:
        """Let a search end in good order, as Ctrl-C does.

        Raises
        ------
        FilesError
            If it runs on another machine.
        """
        process = self._processes.get(folder)
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)
            return
        run, owner = open_run(folder), read_owner(folder)
        if run.state.state != RUNNING:
            return
        if owner.get("host") != socket.gethostname() or not isinstance(owner.get("pid"), int) or owner["pid"] < 2:
            raise FilesError(
                f"{folder.name}: is running on {escape_text(str(owner.get('host', 'another machine')))}. Press Ctrl-C "
                "there."
            )
        with suppress(ProcessLookupError):
            os.kill(owner["pid"], signal.SIGINT)

    # What there is

    def folders(self) -> dict[str, Path]:
        """Return the folders of runs on this dataset by id, oldest first."""
        own = self._project.root / RUNS
        here = sorted(path for path in own.iterdir() if path.is_dir()) if own.is_dir() else []
        with self._lock:
            if monotonic() - self._elsewhere[0] > _LISTED_S:
                found = [r for r in list_runs()[0] if r.record.dataset_path and _same(r, self._project.root)]
                self._elsewhere = monotonic(), [run.folder.path for run in found]
            elsewhere = self._elsewhere[1]
        started = [path for path in self._processes if path not in here]
        return {id_of(path): path for path in dict.fromkeys([*elsewhere, *here, *started])}

    def folder(self, key: str) -> Path:
        """Return the folder of a run by its id.

        Raises
        ------
        FilesError
        """
        folders = self.folders()
        if key not in folders:
            raise FilesError(f"there is no run {legible(key)}. Reload the page.")
        return folders[key]

    def summaries(self) -> list[dict[str, Any]]:
        """Return what a list says of each run, as values that JSON knows."""
        return [self.summary(key, path) for key, path in self.folders().items()]

    def summary(self, key: str, folder: Path) -> dict[str, Any]:
        """Return how far a run is."""
        process = self._processes.get(folder)
        alive = process is not None and process.poll() is None
        found: dict[str, Any] = {"id": key, "name": folder.name, "folder": str(folder), "alive": alive}
        if not (folder / DATABASE).is_file():
            return found | {"state": "starting" if alive else "failed", "words": last_words(self._log_of(folder))}
        try:
            run = open_run(folder)
        except EvosegError as error:
            return found | {"state": "failed", "words": str(error)}
        settings, state = run.record.settings, run.state
        shown = "finishing" if alive and state.state != RUNNING else state.state
        budget = settings.get("seconds")
        return found | {
            "state": shown,
            "words": last_words(self._log_of(folder)).rpartition("\n")[2] if shown in (RUNNING, "finishing") else "",
            "evaluations": state.evaluations,
            "best": state.best,
            "answers": _answers(folder),
            "seconds": state.seconds,
            "budget": budget,
            "metric": settings.get("metric"),
            "task": settings.get("task"),
            "started": run.record.started,
        }

    def _log_of(self, folder: Path) -> Path:
        return self._project.root / RUNS / f"{folder.name}.log"

    def details(self, key: str) -> dict[str, Any]:
        """Return the course of a run and what it has found, as values that JSON knows.

        Raises
        ------
        EvosegError
            If there is no such run, or it cannot be read.
        """
        folder = self.folder(key)
        found = self.summary(key, folder)
        if not (folder / DATABASE).is_file():
            return found
        candidates = self._read_candidates(folder)
        scored = [one for one in candidates if one.outcome == SCORED and one.score is not None and not one.stage]
        found |= {
            "curve": _curve(scored),
            "proposers": _proposers(scored),
            "cloud": _cloud(scored),
            "program": scored[_best(scored)].program if scored else "",
        }
        result = read_result(folder)
        found |= {"has_pipeline": (folder / PIPELINE).is_file(), "report": (folder / REPORT).is_file()}
        if result is not None:
            found["scores"] = dict(SearchResult.from_json(result).scores)
            found["splits"] = {name: len(stems) for name, stems in open_run(folder).record.splits.items()}
        return found

    def _read_candidates(self, folder: Path) -> list[StoredCandidate]:
        """Return the candidates of a run; read again only if there are more."""
        entries = open_run(folder).state.entries
        if folder not in self._candidates or self._candidates[folder][0] != entries:
            self._candidates[folder] = entries, read_candidates(folder)
        return self._candidates[folder][1]

    # Pipelines and their answers

    def pipeline(self, key: str, answer: str = "") -> Pipeline:
        """Return the pipeline of a run: one of its two, or the recommended one, or the best so far while it runs.

        Raises
        ------
        EvosegError
            If there is none yet, or it cannot be read.
        """
        folder = self.folder(key)
        if answer in ANSWERS:
            return read_pipeline(f"{folder}#{answer}")
        if (folder / PIPELINE).is_file():
            return read_pipeline(folder)
        scored = [one for one in self._read_candidates(folder) if one.score is not None and one.outcome == SCORED]
        final = [one for one in scored if not one.stage] or scored
        if not final:
            raise FilesError(f"{folder.name}: nothing has been scored yet.")
        pipeline = final[_best(final)].pipeline
        load_networks(pipeline, folder)
        return pipeline


def _answers(folder: Path) -> list[str]:
    """Return which pipelines a run has if it has two, the recommended one first: the page chooses it."""
    texts = {}
    for name, file in ({"recommended": PIPELINE} | ANSWERS).items():
        with suppress(FileNotFoundError):  # a search may be replacing them
            texts[name] = (folder / file).read_bytes()
    recommended = texts.pop("recommended", b"")
    return sorted(texts, key=lambda name: texts[name] != recommended)


def _same(run: StoredRun, root: Path) -> bool:
    return Path(str(run.record.dataset_path)).absolute() == root


def id_of(path: Path) -> str:
    """Return what addresses call a path: a checksum of it, so that no request contains a path."""
    return blake2b(os.fsencode(path), digest_size=9).hexdigest()


def _best(scored: Sequence[StoredCandidate]) -> int:
    return max(range(len(scored)), key=lambda i: scored[i].score or float("-inf"))


def _curve(scored: Sequence[StoredCandidate]) -> list[dict[str, Any]]:
    """Return the best score over time: a point for each improvement, with who proposed it."""
    found: list[dict[str, Any]] = []
    best = float("-inf")
    for one in scored:
        if one.score is not None and one.score > best:
            best = one.score
            found.append({"seconds": one.seconds, "score": best, "proposer": one.proposer})
    return found[-_POINTS:]


def _proposers(scored: Sequence[StoredCandidate]) -> list[dict[str, Any]]:
    """Return what each proposer has contributed: candidates, improvements of the best, and its own best."""
    n = Counter(one.proposer for one in scored)
    improved = Counter(point["proposer"] for point in _curve(scored))
    best: Mapping[str, float] = {
        name: max(one.score for one in scored if one.proposer == name and one.score is not None) for name in n
    }
    return [{"name": name, "n": n[name], "improved": improved[name], "best": best[name]} for name in sorted(n)]


def _cloud(scored: Sequence[StoredCandidate]) -> list[dict[str, Any]]:
    """Return score and cost of candidates, those on the front first: no other one is both better and cheaper."""
    ordered = sorted(scored, key=lambda one: (one.cost, -(one.score or 0)))
    front, best = [], float("-inf")
    for one in ordered:
        if one.score is not None and one.score > best:
            best = one.score
            front.append(one)
    on_front = {one.number for one in front}
    rest = [one for one in scored if one.number not in on_front]
    shown = [*front, *rest[:: max(1, -(-len(rest) // _POINTS))]]
    return [
        {"cost": one.cost, "score": one.score, "steps": one.steps, "front": one.number in on_front} for one in shown
    ]
