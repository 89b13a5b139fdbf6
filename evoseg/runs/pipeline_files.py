"""Pipelines from files, runs and texts, and back into files."""

import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from evoseg.core.disk import expand
from evoseg.core.errors import ImageWarning, PipelineError
from evoseg.core.kinds import Kind
from evoseg.core.notes import group_notes
from evoseg.core.untrusted import read_file
from evoseg.datasets.imageformat import Difference, ImageFormat, notes_of, pixel_size_differences
from evoseg.datasets.reading import ReadOptions
from evoseg.evolve.solve import READABLE
from evoseg.evolve.tasks.object_tasks import RADIUS_PX
from evoseg.pipeline import Pipeline, print_text, read_json, read_text, write_json
from evoseg.pipeline.textform import MAX_BYTES, find_codes
from evoseg.runs.code_files import is_known_code, load_codes, save_codes
from evoseg.runs.network_folders import load_networks, load_networks_if_there, save_networks
from evoseg.runs.run_folder import ANSWERS, CLASSES, FilesError, find_run, refuse_classes, refuse_existing, write_whole
from evoseg.runs.stored import (
    find_answer_file,
    find_pipeline_file,
    read_front,
    read_front_program,
    read_made_for,
    read_options_of,
    read_result,
)

MOST_ALTERNATIVES = 4
"""Other pipelines of a run that an answer is compared with: with more, worse ones speak as loudly."""


def read_pipeline(source: str | Path, *, allow_code: bool = False) -> Pipeline:
    """Read a pipeline.

    Parameters
    ----------
    source : path or str
        An `.evo` file, its JSON twin, the folder or the id of a run, which stands for its recommended pipeline, either
        with #readable or #accurate for one of its answers or #3 for number 3 of its front, or, if it has several
        lines, the text itself.
    allow_code : bool
        Whether Python operators in it may run that are neither from a search of this user nor were allowed before.

    Raises
    ------
    PipelineError
        If the text breaks a rule of the form; the message names line, word and nearest match.
    FilesError
        If there is no such file or run, or a network or the source of a Python operator that it names lies neither
        beside it nor in evoseg's own folder.
    ConsentError
        If it has a Python operator that has not been allowed.
    """
    if isinstance(source, str) and "\n" in source:
        load_codes(source)
        pipeline = _parsed(source)
        load_networks_if_there(pipeline)
        return pipeline
    path = _path(source)
    if isinstance(path, tuple):
        text = read_front_program(*path)
        load_codes(text, path[0], allow_code=allow_code)
        pipeline = _parsed(text).for_images(read_made_for(path[0]))
        load_networks(pipeline, path[0])
        return pipeline
    try:
        text = _content(path, source)
        load_codes(text, path.absolute().parent, allow_code=allow_code)
        pipeline = _parsed(text)
    except PipelineError as error:
        raise PipelineError(f"{path}: {error}") from None
    load_networks(pipeline, path.parent)
    return pipeline


def read_filters(source: str | Path, *, allow_code: bool = False) -> Pipeline:
    """Read a pipeline as `read_pipeline` does, but of a run its readable one: networks know their own images only."""
    path = expand(str(source))
    is_run = "\n" not in str(source) and "#" not in str(source) and (path.is_dir() or not path.exists())
    return read_pipeline(f"{source}#{READABLE}" if is_run else source, allow_code=allow_code)


def reading_of(source: str | Path) -> ReadOptions:
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
    return read_options_of(path[0]).of_images if isinstance(path, tuple) else _reading_in(_content(path, source))


@dataclass(frozen=True)
class Alternatives:
    """Other pipelines that were found for the same images.

    Attributes
    ----------
    pipelines : tuple of Pipeline
        Best first; empty if none are known.
    radius : float, px
        Within which points match.
    """

    pipelines: tuple[Pipeline, ...] = ()
    radius: float = RADIUS_PX


def read_alternatives(source: str | Path, pipeline: Pipeline) -> Alternatives:
    """Return the other pipelines of filters on the Pareto front of the run that a pipeline is from, the best few.

    Parameters
    ----------
    source : path or str
        As of `read_pipeline`. A file is of the run whose `result.json` lies beside it.
    pipeline : Pipeline
        What was read from there.

    Raises
    ------
    EvosegError
        If the result of that run cannot be read.
    """
    path = None if "\n" in str(source) else _path(source)
    folder = path[0] if isinstance(path, tuple) else path.parent if path is not None else None
    result = None if folder is None else read_result(folder)
    if folder is None or result is None or "front" not in result:
        return Alternatives()
    found = {}
    for program in sorted(read_front(folder), key=lambda program: -program.search):
        if not all(is_known_code(digest) for digest in find_codes(program.pipeline)):
            continue  # Python code that this user has not allowed
        other = _parsed(program.pipeline)
        if other.output is pipeline.output and not other.has_network:
            found[other.digest] = other
    found.pop(pipeline.digest, None)
    radius = result.get("radius_px")
    radius = float(radius) if isinstance(radius, int | float) else RADIUS_PX
    return Alternatives(tuple(found.values())[:MOST_ALTERNATIVES], radius)


def _reading_in(text: str) -> ReadOptions:
    if not text.lstrip().startswith("{"):
        return ReadOptions.marked(text)
    try:
        return ReadOptions(**json.loads(text).get("reads", {}))
    except (ValueError, TypeError, RecursionError) as error:
        raise PipelineError("the entry 'reads' cannot be read. Remove it.") from error


def _content(path: Path, source: str | Path) -> str:
    """Return the text of a pipeline's file, which must not lead out of a run's folder unless it was named itself."""
    inside = None if path == expand(source) else path.parent
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
    """Write a pipeline as canonical text, or as JSON if the name ends in .json, and beside it the files that it needs.

    Raises
    ------
    FilesError
        If the file exists and `overwrite` is False, or cannot be written.
    """
    path = expand(path)
    refuse_existing([path], overwrite=overwrite)
    save_networks(pipeline, path.absolute().parent)
    save_codes(pipeline, path.absolute().parent)
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
        told = [UNKNOWN] if self._program.made_for is None else [*group_notes(notes_of(self._found))]
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
    path = expand(source)
    part = re.fullmatch(rf"(.+)#(\d{{1,9}}|{'|'.join(ANSWERS)})", str(source), re.DOTALL)
    if part and not path.exists():
        folder = expand(part[1])
        folder = folder if folder.is_dir() else find_run(part[1])
        return find_answer_file(folder, part[2]) if part[2] in ANSWERS else (folder, int(part[2]))
    if not path.exists():
        path = find_run(str(source))
    if path.is_dir():
        return find_pipeline_file(path)
    if path.name == CLASSES:
        refuse_classes(path.parent)
    return path


def _parsed(text: str) -> Pipeline:
    return read_json(text) if text.lstrip().startswith("{") else read_text(text)
