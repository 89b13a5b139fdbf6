"""The library in the studio: solved tasks that are like the folder's images, and what their pipelines do on them.

Both are answered by commands in processes of their own, whose documents are kept in the folder, so that they are there
when the studio is opened again.
"""

import json
import subprocess
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Any, Literal, final

import numpy as np
from pydantic import BaseModel, ConfigDict

from evoseg.core.errors import PipelineError
from evoseg.core.untrusted import read_file
from evoseg.drawing import Rgb, draw_overlay, encode, resize_picture
from evoseg.library.collection import open_library
from evoseg.library.pictures import pictures_of
from evoseg.pipeline import Pipeline, read_text
from evoseg.report.reused import PAGE
from evoseg.runs.run_folder import FilesError
from evoseg.studio.project import OWN, RESULTS, BytesCache, Project
from evoseg.studio.searching import Command, last_words
from evoseg.studio.sources import Sources
from evoseg.studio.values import Values

REUSED = "reused"
"""Among the results: the folder of the picture and the page of all answers."""
_MOST_BYTES = 2**26
_SIDE = 120
"""Height of the pictures of a task, px."""
_GAP = 4
_PICTURE_BYTES = 2**24

Question = Literal["similar", "reuse"]


class ShelfRequest(BaseModel):
    """What is looked for in the images.

    Attributes
    ----------
    task : str
        What pipelines of solved tasks are to return; `similar` takes it from the labels, if there are any.
    """

    model_config = ConfigDict(extra="forbid")

    task: Literal["binary", "instances", "points"] = "binary"


@final
class Shelf:
    """What the library has for a project.

    Parameters
    ----------
    project : Project
    sources : Sources
    values : Values
    """

    def __init__(self, project: Project, sources: Sources, values: Values) -> None:
        self._project, self._sources, self._values = project, sources, values
        self._processes: dict[Question, subprocess.Popen[bytes]] = {}
        self._pictures = BytesCache[str, bytes](_PICTURE_BYTES)
        self._drawing = Lock()

    def command(self, question: Question, request: ShelfRequest) -> Command:
        """Return the command that answers a question."""
        root = self._project.root
        if question == "similar":
            return Command(("similar", str(root), "--json"))
        out = ("--out", str(root / RESULTS / REUSED), "--overwrite", "--json")
        return Command(("reuse", str(root), "--task", request.task, *out))

    def ask(self, question: Question, request: ShelfRequest) -> None:
        """Start to answer a question, unless that is under way."""
        if self._is_running(question):
            return
        self._project.save()
        self._document(question).unlink(missing_ok=True)
        self._log(question).unlink(missing_ok=True)
        command = self.command(question, request)
        self._processes[question] = command.start(self._log(question), self._document(question))

    def stop(self, question: Question) -> None:
        """Stop answering a question."""
        if self._is_running(question):
            self._processes[question].terminate()

    def answer(self, question: Question) -> dict[str, Any]:
        """Return what is known, as values that JSON knows.

        Returns
        -------
        dict
            Keys are `state` ("none", "running", "done" or "failed"), `words` (the command's last message) and, if it is
            done, those of the command's document. Each answer of `reuse` has the digest by which tiles are asked for.
        """
        if self._is_running(question):
            return {"state": "running", "words": last_words(self._log(question)).rpartition("\n")[2]}
        found = self._read(question)
        if found is None:
            words = last_words(self._log(question))
            return {"state": "failed" if words else "none", "words": words}
        for one in found.get("answers", ()):
            one["program"] = self._values.name(_parsed(one))
        return {"state": "done", "words": "", **found}

    def pick(self, number: int, name: str) -> Path:
        """Write the pipeline of an answer, numbered from 1, among the results.

        Raises
        ------
        EvosegError
            If there is no such answer, or the name cannot be used.
        """
        answers = (self._read("reuse") or {}).get("answers", [])
        if not 1 <= number <= len(answers):
            raise FilesError(f"there is no answer {number}. Run the stored pipelines again.")
        return self._sources.save(_parsed(answers[number - 1]), name)

    def page(self) -> bytes:
        """Return the page with all answers.

        Raises
        ------
        FilesError
            If it cannot be read.
        """
        path = self._project.root / RESULTS / REUSED / PAGE
        return read_file(path, _MOST_BYTES, inside=self._project.root, error=FilesError)

    def picture(self, task: str) -> bytes:
        """Return pictures of a solved task side by side, what it sought outlined, as a PNG file.

        Raises
        ------
        EvosegError
            If there is no such task.
        """
        with self._drawing:  # pages ask for several at once, and one opened library is enough
            return self._pictures.get(task, lambda: _drawn(task), len)

    def _is_running(self, question: Question) -> bool:
        process = self._processes.get(question)
        return process is not None and process.poll() is None

    def _document(self, question: Question) -> Path:
        return self._project.place(OWN, f"{question}.json")

    def _log(self, question: Question) -> Path:
        return self._project.place(OWN, f"{question}.log")

    def _read(self, question: Question) -> dict[str, Any] | None:
        try:
            data = read_file(self._document(question), _MOST_BYTES, inside=self._project.root, error=FilesError)
            found = json.loads(data)
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None


def _parsed(answer: Any) -> Pipeline:
    try:
        return read_text(str(answer["pipeline"]))
    except (KeyError, TypeError) as error:
        raise PipelineError("an answer has no pipeline. Run the stored pipelines again.") from error


def _drawn(task: str) -> bytes:
    with closing(open_library()) as library:
        pictures = pictures_of(library.find(task))
    tiles: list[Rgb] = []
    for one in pictures:
        tile = one.image if one.mask is None else draw_overlay(one.image, one.mask)
        height, width = tile.shape[:2]
        tile = resize_picture(tile, (_SIDE, max(1, round(width * _SIDE / height))))
        tiles += [tile, np.zeros((_SIDE, _GAP, 3), np.uint8)]
    return encode(np.concatenate(tiles[:-1], axis=1))
