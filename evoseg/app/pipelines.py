"""Pipelines from files, runs and texts, and back into files."""

import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from evoseg.app.kept import champion_file, made_for_in, member, reading_in
from evoseg.app.runs import CLASSES, FilesError, find_run, refuse_classes, write_whole
from evoseg.base.errors import ImageWarning, PipelineError
from evoseg.base.kinds import Kind
from evoseg.base.notes import grouped
from evoseg.base.untrusted import read_file
from evoseg.data.imageformat import Difference, ImageFormat, notes_of, pixel_size_differences
from evoseg.data.reading import Reading
from evoseg.pipeline import Pipeline, print_text, read_json, read_text, write_json
from evoseg.pipeline.reader import MAX_BYTES


def read_pipeline(source: str | Path) -> Pipeline:
    """Read a pipeline.

    Parameters
    ----------
    source : path or str
        An `.evo` file, its JSON twin, the folder or the id of a run, which stands for its champion, either with #3
        for number 3 of its front, or, if it has several lines, the text itself.

    Raises
    ------
    PipelineError
        If the text breaks a rule of the form; the message names line, word and nearest match.
    FilesError
        If there is no such file or run.
    """
    if isinstance(source, str) and "\n" in source:
        return _parsed(source)
    path = _path(source)
    if isinstance(path, tuple):
        return _parsed(member(*path)).for_images(made_for_in(path[0]))
    try:
        return _parsed(_content(path, source))
    except PipelineError as error:
        raise PipelineError(f"{path}: {error}") from None


def reading_of(source: str | Path) -> Reading:
    """Return how the images were read that a pipeline was made for, as far as its file or run says.

    Parameters
    ----------
    source : path or str
        As of `read_pipeline`.

    Raises
    ------
    EvosegError
        If there is no such file or run, or what it says cannot be understood.
    """
    if isinstance(source, str) and "\n" in source:
        return _reading_in(source)
    path = _path(source)
    return reading_in(path[0]).of_images if isinstance(path, tuple) else _reading_in(_content(path, source))


def _reading_in(text: str) -> Reading:
    if not text.lstrip().startswith("{"):
        return Reading.marked(text)
    try:
        return Reading(**json.loads(text).get("reads", {}))
    except (ValueError, TypeError) as error:
        raise PipelineError("what the document says under 'reads' cannot be understood. Remove it.") from error


def _content(path: Path, source: str | Path) -> str:
    """Return the text of a pipeline's file, which must not lead out of a run's folder unless it was named itself."""
    inside = None if path == Path(source).expanduser() else path.parent
    try:
        data = read_file(path, MAX_BYTES, inside=inside, error=FilesError, advice="Is it a pipeline?")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PipelineError("not a text in UTF-8, so not a pipeline.") from None
    except FilesError:
        raise
    except OSError as error:
        raise FilesError(f"{path}: cannot be read ({error.strerror}).") from error


def write_pipeline(pipeline: Pipeline, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a pipeline as canonical text, or as JSON if the name ends in .json.

    Raises
    ------
    FilesError
        If the file exists and `overwrite` is False, or cannot be written.
    """
    path = Path(path)
    text = write_json(pipeline) + "\n" if path.suffix.lower() == ".json" else print_text(pipeline)
    write_whole(path, text, overwrite=overwrite)


def check_channels(pipeline: Pipeline, channels: int, where: str) -> None:
    """Refuse images that lack a channel which a pipeline reads; it would take their last one instead.

    Raises
    ------
    PipelineError
    """
    if channels < pipeline.channels:
        raise PipelineError(
            f"{where}: {'1 channel' if channels == 1 else f'{channels} channels'}, but the pipeline reads channel "
            f"{pipeline.channels - 1}, counted from 0. Take images with the channels (planes/) that it was made for."
        )


class Program(Protocol):
    """A pipeline, or those of several classes, as far as its images matter."""

    @property
    def made_for(self) -> ImageFormat | None:
        """What images it was made for."""

    def differences(self, image: NDArray[Any], names: Sequence[str] = ()) -> list[Difference]:
        """Compare an image with them."""


UNKNOWN = (
    "the pipeline does not say which images it was made for (it is from an older version, or was written by hand), so "
    "these images are not compared with them."
)


class Comparison:
    """How images differ from those that a pipeline was made for, and whether it found anything, told at the end."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._found: list[tuple[str, list[Difference]]] = []
        self._shares: list[float] = []
        self._due = False

    def look(self, name: str, image: NDArray[Any], names: Sequence[str] = (), pixel_size: str = "") -> None:
        """Compare one image.

        Raises
        ------
        PipelineError
            If it cannot mean what those images meant.
        """
        found = self._program.differences(image, names)
        if self._program.made_for is not None and pixel_size:
            found += pixel_size_differences(self._program.made_for, pixel_size)
        if fatal := [difference for difference in found if difference[1]]:
            raise PipelineError(notes_of([(name, fatal)])[0])
        self._found.append((name, found))

    def answer(self, kind: Kind, answer: NDArray[Any], *, due: bool = True) -> None:
        """Take note of an answer; `due` says whether something was to be found."""
        self._due = self._due or due
        self._shares.append(share_of(kind, answer))

    def tell(self) -> None:
        """Warn of what was noted, a line for each kind of difference.

        Warns
        -----
        ImageWarning
        """
        told = [UNKNOWN] if self._program.made_for is None else [*grouped(notes_of(self._found))]
        told += [one_sided(self._shares)] if self._due else []
        for line in filter(None, told):
            warnings.warn(line, ImageWarning, stacklevel=3)


def share_of(kind: Kind, answer: NDArray[Any]) -> float:
    """Return the share of an answer that is foreground; of points, 0.5 if there are any."""
    return 0.5 * bool(len(answer)) if kind is Kind.POINTS else float((answer > 0).mean())


def one_sided(shares: Sequence[float]) -> str:
    """Say if answers are all empty, or all full; "" if they are not."""
    which = "the answer" if len(shares) == 1 else f"every one of the {len(shares)} answers"
    if shares and not any(shares):
        return f"{which} is empty: nothing was found. Are the images like those that the pipeline was made for?"
    if shares and all(share == 1 for share in shares):
        return f"{which} is full: all pixels count as found. Are the images like those that the pipeline was made for?"
    return ""


def _path(source: str | Path) -> Path | tuple[Path, int]:
    """Return the file that holds a pipeline, or the folder of a run and a number on its front."""
    path = Path(source).expanduser()
    numbered = re.fullmatch(r"(.+)#(\d{1,9})", str(source), re.DOTALL)
    if numbered and not path.exists():
        folder = Path(numbered[1]).expanduser()
        folder = folder if folder.is_dir() else find_run(numbered[1])
        return folder, int(numbered[2])
    if not path.exists():
        path = find_run(str(source))
    if path.is_dir():
        return champion_file(path)
    if path.name == CLASSES:
        refuse_classes(path.parent)
    return path


def _parsed(text: str) -> Pipeline:
    return read_json(text) if text.lstrip().startswith("{") else read_text(text)
