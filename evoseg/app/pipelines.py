"""Pipelines from files, runs and texts, and back into files."""

import json
import re
from pathlib import Path

from evoseg.app.kept import champion_file, member, reading_in
from evoseg.app.runs import CLASSES, FilesError, find_run, refuse_classes, write_whole
from evoseg.base.errors import PipelineError
from evoseg.base.untrusted import read_file
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
        return _parsed(member(*path))
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
