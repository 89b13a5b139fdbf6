"""Where pipelines come from in the studio: the live answer, runs, and files that were saved in the folder."""

import re
from pathlib import Path
from typing import Any, final

from evoseg.core.errors import unknown
from evoseg.core.notes import one_line
from evoseg.pipeline import Pipeline
from evoseg.report.results import SearchResult
from evoseg.runs.pipeline_files import read_pipeline, write_pipeline
from evoseg.runs.run_folder import ANSWERS, PIPELINE, FilesError
from evoseg.runs.stored import read_result
from evoseg.studio.project import LIVE, RESULTS, Project
from evoseg.studio.searching import Searches, id_of

LIVE_SOURCE = "live"
"""What the live answer is called among sources of pipelines; runs and saved files have ids."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,59}"


@final
class Sources:
    """The pipelines of a project, each by the name of its source.

    A source is "live", or the id of a run or of a saved pipeline; after the id of a run, #readable or #accurate names
    one of its two pipelines.

    Parameters
    ----------
    project : Project
    searches : Searches
    """

    def __init__(self, project: Project, searches: Searches) -> None:
        self._project, self._searches = project, searches

    def saved(self) -> dict[str, Path]:
        """Return the pipelines that were saved among the results, by id; links out of the folder are left out."""
        folder = self._project.root / RESULTS
        paths = sorted([*folder.glob("*.evo"), *folder.glob(f"*/{PIPELINE}")])
        inside = self._project.root.resolve()
        return {id_of(path): path for path in paths if path.is_file() and path.resolve().is_relative_to(inside)}

    def path_of(self, source: str) -> str:
        """Return what commands call the source of a pipeline: a file, or a run's folder, perhaps with #accurate.

        Raises
        ------
        FilesError
            If there is no such source.
        """
        if source == LIVE_SOURCE:
            return str(self._project.root / LIVE)
        if (path := self.saved().get(source)) is not None:
            return str(path)
        key, mark, answer = source.partition("#")
        if mark and answer not in ANSWERS:
            raise FilesError(unknown("pipeline", answer, ANSWERS))
        return f"{self._searches.folder(key)}{mark}{answer}"

    def read(self, source: str) -> Pipeline:
        """Return the pipeline of a source; of a run that is still going, the best so far.

        Raises
        ------
        EvosegError
            If there is none, or it cannot be read.
        """
        if source == LIVE_SOURCE or source in self.saved():
            return read_pipeline(self.path_of(source))
        key, _, answer = source.partition("#")
        return self._searches.pipeline(key, answer)

    def title(self, source: str) -> str:
        """Return what a source is called on the page."""
        if source == LIVE_SOURCE:
            return "live answer"
        if (path := self.saved().get(source)) is not None:
            return one_line(path.parent.name if path.name == PIPELINE else path.stem)
        key, _, answer = source.partition("#")
        return f"run {one_line(self._searches.folder(key).name)}{f', {answer}' if answer else ''}"

    def listed(self) -> list[dict[str, Any]]:
        """Return the saved pipelines, as values that JSON knows."""
        return [{"id": key, "name": self.title(key), "path": str(path)} for key, path in self.saved().items()]

    def held_out(self, source: str) -> dict[str, Any] | None:
        """Return what the run of a pipeline says of it; None for one that is of no finished run.

        Returns
        -------
        dict
            Keys are `metric`, `test` (None without test images), `n_test`, `expected` (the score to be expected on new
            images), `size_bytes`, `answer` and `other` (the run's other pipeline; None if there is one only).
        """
        key, _, answer = source.partition("#")
        if source == LIVE_SOURCE or source in self.saved():
            return None
        folder = self._searches.folder(key)
        if read_result(folder) is None:
            return None
        result = SearchResult.load(folder)
        answer = answer or result.recommended
        if (found := result.answers.get(answer)) is None:
            return None
        return {
            "metric": result.metric,
            "test": found.scores.get("test"),
            "n_test": len(result.splits.test),
            "expected": found.scores.get("selection"),
            "size_bytes": found.size_bytes,
            "answer": answer,
            "other": next((f"{key}#{name}" for name in result.answers if name != answer), None),
        }

    def save(self, pipeline: Pipeline, name: str) -> Path:
        """Write a pipeline among the results as NAME.evo.

        Raises
        ------
        FilesError
            If the name cannot be used, or there is such a file.
        """
        if not re.fullmatch(_NAME, name):
            raise FilesError(
                "A name has up to 60 letters, digits, '_', '-' and '.', and begins with a letter or digit."
            )
        path = self._project.place(RESULTS, f"{name}.evo")
        if path.exists():
            raise FilesError(f"{name}.evo exists already. Choose another name.")
        write_pipeline(pipeline.settled(), path)
        return path
