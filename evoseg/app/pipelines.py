"""Pipelines from files, runs and texts, and back into files."""

from pathlib import Path

from evoseg.app.runs import PIPELINE, FilesError, find_run, write_whole
from evoseg.base.errors import PipelineError
from evoseg.pipeline import Pipeline, print_text, read_json, read_text, write_json
from evoseg.pipeline.reader import MAX_BYTES


def read_pipeline(source: str | Path) -> Pipeline:
    """Read a pipeline.

    Parameters
    ----------
    source : path or str
        An `.evo` file, its JSON twin, the folder of a run, the id of a run, or, if it has several lines, the text
        itself.

    Raises
    ------
    PipelineError
        If the text breaks a rule of the form; the message names line, word and nearest match.
    FilesError
        If there is no such file or run.
    """
    if isinstance(source, str) and "\n" in source:
        return _parsed(source)
    path = _file(source)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            size = path.stat().st_size
            raise PipelineError(f"the text has {size} bytes; at most {MAX_BYTES} are read. Is it a pipeline?")
        return _parsed(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise PipelineError(f"{path}: not a text in UTF-8, so not a pipeline.") from None
    except PipelineError as error:
        raise PipelineError(f"{path}: {error}") from None
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


def _file(source: str | Path) -> Path:
    path = Path(source).expanduser()
    if not path.exists():
        path = find_run(str(source))
    if not path.is_dir():
        return path
    if not (path / PIPELINE).is_file():
        raise FilesError(f"{path}: holds no {PIPELINE}. Name a pipeline's file, or the folder or id of a run.")
    return path / PIPELINE


def _parsed(text: str) -> Pipeline:
    return read_json(text) if text.lstrip().startswith("{") else read_text(text)
