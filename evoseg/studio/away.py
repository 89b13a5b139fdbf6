"""Taking it away: apply a pipeline to a folder, look at the results, and export it as code."""

import csv
import io
import re
import subprocess
from pathlib import Path
from time import strftime
from typing import Annotated, Any, final

from pydantic import BaseModel, ConfigDict, Field

from evoseg.core.disk import expand
from evoseg.core.errors import EvosegError, unknown
from evoseg.core.untrusted import read_file
from evoseg.exporters.targets import ENDINGS, EXPORTERS
from evoseg.inference.inputs import list_inputs
from evoseg.runs.network_folders import network_file
from evoseg.runs.pipeline_files import read_pipeline, write_pipeline
from evoseg.runs.run_folder import FilesError, write_whole
from evoseg.studio.live import Live, Model
from evoseg.studio.project import LIVE, RESULTS, Project
from evoseg.studio.searching import Command, last_words
from evoseg.studio.sources import Sources

_TABLE, _LINE, _OVERLAYS = "images.csv", ".line", "overlays"
_ROWS = 2000
"""Lines of a table that are shown."""
_MOST_BYTES = 2**26
ENDING_OF = {form: ending for ending, form in ENDINGS.items() if form in EXPORTERS}
"""Endings of files that are one text."""
_NAMING = {".evo", *ENDING_OF.values()}
"""Endings of files that may name a network which lies beside them."""


class ApplyRequest(BaseModel):
    """What to apply to what.

    Attributes
    ----------
    source : str
        As of `Sources`.
    images : str
        A folder or file; "" for the project's own images.
    table : bool
        Whether every object is measured.
    """

    model_config = ConfigDict(extra="forbid")

    source: Annotated[str, Field(max_length=60)]
    images: Annotated[str, Field(max_length=2000)] = ""
    table: bool = False


@final
class Away:
    """Results of a project.

    Parameters
    ----------
    project : Project
    sources : Sources
    live : Live
    """

    def __init__(self, project: Project, sources: Sources, live: Live) -> None:
        self._project, self._sources, self._live = project, sources, live
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._totals: dict[str, int] = {}

    def save_live(self, model: Model, name: str = LIVE) -> Path:
        """Write a live answer as a pipeline into the project's folder, replacing an earlier one.

        The network of the earlier one goes, too, unless another pipeline or exported file in the folder names it.

        Parameters
        ----------
        name : str
            Of the file.

        Raises
        ------
        FilesError
            If it consists of several classes, or cannot be written.
        """
        programs = self._live.programs(model)
        if len(programs) > 1:
            raise FilesError(
                "The live answer has several classes, with a pipeline for each. Search to get one result for all: "
                "evoseg search makes a run per class."
            )
        (program,) = programs.values()
        path = self._project.root / name
        before = _digests(path)
        write_pipeline(program, path, overwrite=True)
        unused = before - _digests(path)
        if unused:
            others = (file for file in path.parent.iterdir() if file.suffix.lower() in _NAMING)
            unused -= set[str]().union(*map(_digests, others))
        for digest in unused:
            network_file(path.parent, digest).unlink(missing_ok=True)
        return path

    def command(self, request: ApplyRequest, out: Path) -> Command:
        """Return the command that applies a pipeline."""
        images = str(expand(request.images)) if request.images else str(self._project.root)
        words = [
            "apply",
            self._sources.path_of(request.source),
            images,
            "--out",
            str(out),
            "--image-table",
            str(out / _TABLE),
        ]
        return Command((*words, *(["--table", str(out / "objects.csv")] if request.table else [])))

    def apply(self, request: ApplyRequest) -> str:
        """Start to apply a pipeline and return the name of the results.

        Raises
        ------
        EvosegError
            If there is no such pipeline, or no image.
        """
        n_images = len(list_inputs([expand(request.images) if request.images else self._project.root]))
        out = self._project.place(RESULTS, strftime("%Y%m%d-%H%M%S"))
        command = self.command(request, out)
        out.mkdir()
        write_whole(out / _LINE, command.line)
        self._totals[out.name] = n_images
        self._processes[out.name] = command.start(self._project.root / RESULTS / f"{out.name}.log")
        return out.name

    def stop(self, name: str) -> None:
        """Stop applying; what is there stays, and the same command with --skip-existing goes on."""
        process = self._processes.get(name)
        if process is not None and process.poll() is None:
            process.terminate()

    def results(self) -> list[dict[str, Any]]:
        """Return all results, the newest first, as values that JSON knows."""
        return [self.result(name) for name in sorted(self._names(), reverse=True)]

    def result(self, name: str) -> dict[str, Any]:
        """Return how far a result is, and its table if it is done.

        Raises
        ------
        FilesError
            If there is none of this name.
        """
        folder = self._folder(name)
        process = self._processes.get(name)
        running = process is not None and process.poll() is None
        n_done = len(self._overlays(name))
        rows = self._table(folder)
        return {
            "name": name,
            "folder": str(folder),
            "running": running,
            "done": n_done,
            "total": self._totals.get(name, n_done),
            "overlays": [path.stem for path in self._overlays(name)][:_ROWS],
            "rows": rows[:_ROWS],
            "line": _text(folder / _LINE),
            "words": "" if running else last_words(folder.parent / f"{name}.log"),
        }

    def overlay(self, name: str, index: int) -> bytes:
        """Return the picture of one result.

        Raises
        ------
        FilesError
            If there is none.
        """
        found = self._overlays(name)
        if not 0 <= index < len(found):
            raise FilesError(f"results {name} have no picture {index}.")
        return read_file(found[index], _MOST_BYTES, inside=self._project.root, error=FilesError)

    def _folder(self, name: str) -> Path:
        if name not in (known := self._names()):
            raise FilesError(unknown("result", name, known))
        return self._project.root / RESULTS / name

    def _names(self) -> list[str]:
        """Return the folders that pipelines were applied into, here or on the command line."""
        folder = self._project.root / RESULTS
        there = folder.iterdir() if folder.is_dir() else ()
        return [path.name for path in there if (path / _LINE).is_file() or (path / _OVERLAYS).is_dir()]

    def _overlays(self, name: str) -> list[Path]:
        folder = self._folder(name) / _OVERLAYS
        return sorted(folder.rglob("*.png")) if folder.is_dir() else []

    def _table(self, folder: Path) -> list[dict[str, str]]:
        text = _text(folder / _TABLE)
        return list(csv.DictReader(io.StringIO(text))) if text else []

    def export(self, source: str, to: str) -> tuple[str, str, str]:
        """Return a pipeline in another form: a name for the file, its text, and the command that does the same.

        Raises
        ------
        EvosegError
            If there is no such pipeline, or it cannot be written in this form.
        """
        from evoseg.api import export

        if to not in ENDING_OF:
            raise FilesError(unknown("form", to, ENDING_OF))
        path = self._sources.path_of(source)
        name = f"segment{ENDING_OF[to]}"
        line = Command(("export", path, "--to", to, "--out", name)).line
        return name, export(path, to=to), line

    def program(self, source: str) -> str:
        """Return the text of a pipeline.

        Raises
        ------
        EvosegError
            If there is none.
        """
        return str(read_pipeline(self._sources.path_of(source)))


def _digests(path: Path) -> set[str]:
    """Return the digests that a pipeline, or a file that was exported from one, names."""
    return set(re.findall(r"\b[0-9a-f]{32}\b", _text(path)))


def _text(path: Path) -> str:
    try:
        return read_file(path, _MOST_BYTES, inside=path.parent, error=FilesError).decode("utf-8", "replace")
    except (OSError, EvosegError):
        return ""
