"""Apply a pipeline to image files and write masks and pictures of them."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.app.classes import ClassPipeline
from evoseg.app.measuring import Objects, objects
from evoseg.app.pipelines import check_channels
from evoseg.app.runs import FilesError, make_folder, refuse_existing
from evoseg.base.ahead import ahead
from evoseg.base.errors import DatasetError, EvosegError, PipelineError
from evoseg.base.kinds import Kind
from evoseg.base.writing import whole_file
from evoseg.data.agreement import channels_of, mismatches
from evoseg.data.card import read_card
from evoseg.data.dataset import assemble
from evoseg.data.files import read_header, read_image, write_image, write_labels, write_mask
from evoseg.data.folder import Folder, scan
from evoseg.data.formats import FORMATS, SUFFIXES
from evoseg.data.layouts import plain
from evoseg.data.listing import stem_of
from evoseg.data.objects import points_text
from evoseg.data.reading import PLAIN, Reading
from evoseg.data.rows import HUGE, TiffRows, is_huge
from evoseg.data.sources import FolderSource
from evoseg.pipeline import Pipeline
from evoseg.pipeline.bands import ArrayRows, run_in_bands

OVERLAY_PX = 4096
"""Longest side of overlays; larger images are shown reduced."""

IN_BANDS = 1 << 24
"""Pixels from which the pipeline runs band by band, which bounds its memory."""

logger = logging.getLogger(__name__)

AnyRows = ArrayRows | TiffRows

_FILES = {Kind.MASK: ("masks", "png"), Kind.LABELS: ("masks", "tif"), Kind.POINTS: ("points", "csv")}
"""Folder and ending of the answers, by kind."""


@dataclass(frozen=True)
class Input:
    """One image to come.

    Attributes
    ----------
    stem : str
        Name of its outputs.
    path : Path
    read : callable () -> ArrayRows or TiffRows
    channels : callable () -> int
        C, by the file's header.
    """

    stem: str
    path: Path
    read: Callable[[], AnyRows]
    channels: Callable[[], int]


@dataclass(frozen=True)
class Applied:
    """What became of one image.

    Attributes
    ----------
    stem : str
    answer, overlay : Path
        The files written.
    share : float
        Of the pixels that are foreground.
    count : int or None
        How many objects or points were found; None for a mask.
    pixels : int
    seconds : float, s
        For the pipeline alone; of an image that is read in bands, reading included.
    fault : str
        Why there is no answer; "" if there is one.
    objects : Objects or None
        Measurements, if they were asked for.
    """

    stem: str
    answer: Path
    overlay: Path
    share: float = 0.0
    count: int | None = None
    pixels: int = 0
    seconds: float = 0.0
    fault: str = ""
    objects: Objects | None = None


Told = Callable[[str, float], None]
"""Called with an image's stem and the share of its bands that are done."""


def inputs(sources: Sequence[str | Path], reading: Reading = PLAIN) -> list[Input]:
    """List the images that files and folders hold.

    A folder that holds a dataset gives its images, without masks; its planes are added to the channels.

    Parameters
    ----------
    sources : sequence of paths
    reading : Reading
        Which page of each file, and which channels.

    Raises
    ------
    FilesError
        If a path does not exist, no image is found, or two images have the same stem.
    """
    found = [image for source in sources for image in _images(Path(source).expanduser(), reading)]
    if not found:
        where = ", ".join(str(source) for source in sources) or "the list of paths"
        raise FilesError(f"{where}: no image found ({FORMATS}, by ending).")
    stem, n = Counter(image.stem for image in found).most_common(1)[0]
    if n > 1:
        same = [str(image.path) for image in found if image.stem == stem][:2]
        raise FilesError(
            f"{same[0]} and {same[1]} would both become the answer {stem}. Rename one, or apply the pipeline twice."
        )
    return found


def apply(
    pipeline: Pipeline | ClassPipeline,
    images: Sequence[Input],
    out: str | Path,
    *,
    overwrite: bool = False,
    workers: int = 1,
    measured: bool = False,
    told: Told = lambda stem, share: None,
) -> Iterator[Applied]:
    """Write the answer for each image, and OUT/overlays/<stem>.png, as they are asked for.

    A mask becomes OUT/masks/<stem>.png (0 and 255; of classes, their values), labels become OUT/masks/<stem>.tif
    (int32), points OUT/points/<stem>.csv.

    An image that cannot be read or segmented is reported and the others go on. TIFF files of any size are read and
    filtered in bands; of those beyond what is read at once, one is worked on at a time.

    Parameters
    ----------
    workers : int
        Images that are worked on at a time, each in a thread.
    measured : bool
        Whether to measure every object.
    told : callable
        Hears how far large images are; called from the workers' threads.

    Raises
    ------
    FilesError
        Before anything is written: if an output exists and `overwrite` is False, or the folders cannot be made.
    PipelineError
        If the pipeline gives nothing that can be written, or measured if that is asked for, or reads a channel that an
        image does not have.
    """
    output = _output(pipeline)
    if output not in _FILES:
        raise PipelineError(f"the pipeline gives a {output} value; only masks, objects and points can be written.")
    if measured and isinstance(pipeline, ClassPipeline):
        raise PipelineError("objects are measured class by class: apply the run of one class with --table.")
    if measured and output is Kind.POINTS:
        raise PipelineError("the pipeline gives points, which have nothing to measure. Leave out --table.")
    _check_channels(pipeline, images)
    name, ending = _FILES[output]
    answers, overlays = Path(out).expanduser() / name, Path(out).expanduser() / "overlays"
    targets = [Applied(i.stem, answers / f"{i.stem}.{ending}", overlays / f"{i.stem}.png") for i in images]
    refuse_existing([path for t in targets for path in (t.answer, t.overlay)], overwrite=overwrite)
    for folder in (answers, overlays):
        make_folder(folder)
    work = _Work(pipeline, measured, told)
    pairs = zip(images, targets, strict=True)
    return ahead(lambda pair: work(*pair), pairs, workers) if workers > 1 else (work(*pair) for pair in pairs)


def _output(pipeline: Pipeline | ClassPipeline) -> Kind:
    """Return the kind of the answers; images of classes are masks of several values."""
    return Kind.MASK if isinstance(pipeline, ClassPipeline) else pipeline.output


def _check_channels(pipeline: Pipeline | ClassPipeline, images: Sequence[Input]) -> None:
    if pipeline.channels == 1:
        return
    parts = [part.pipeline for part in pipeline.parts] if isinstance(pipeline, ClassPipeline) else [pipeline]
    found: dict[Path, int] = {}
    for image in images:
        with suppress(DatasetError):  # it will be named when its turn comes
            found[image.path] = image.channels()
    for path, channels in found.items():
        # As in a dataset, a grey image among colour ones has three equal channels.
        grey = channels == 1 and 3 in found.values()
        for part in parts:
            check_channels(part, 3 if grey else channels, str(path))


class _Work:
    """Answers for images, in several threads perhaps."""

    def __init__(self, pipeline: Pipeline | ClassPipeline, measured: bool, told: Told) -> None:
        self._pipeline = pipeline
        self._measured = measured
        self._told = told
        self._one_at_a_time = Lock()

    def __call__(self, image: Input, target: Applied) -> Applied:
        try:
            rows = image.read()
            if isinstance(rows, ArrayRows):
                return self._answer(rows, target)
            with self._one_at_a_time, closing(rows):
                return self._answer(rows, target)
        except (EvosegError, OSError) as error:
            return replace(target, fault=str(error))

    def _answer(self, rows: AnyRows, target: Applied) -> Applied:
        from evoseg.report.overlays import drawable, overlay
        from evoseg.report.sheet import save_png

        start = perf_counter()
        answer = self._run(rows, target.stem)
        seconds = perf_counter() - start
        kind = _output(self._pipeline)
        _write(kind, target.answer, answer)
        step = -(-max(rows.shape) // OVERLAY_PX)
        # Places are scaled first, so that circles on a reduced picture are as large as on any other.
        shown = answer / step if kind is Kind.POINTS else answer[::step, ::step]
        picture = _every(rows, step)
        save_png(overlay(picture, drawable(shown, picture.shape)), target.overlay)
        return replace(
            target,
            share=0.0 if kind is Kind.POINTS else float((answer > 0).mean()),
            count={Kind.LABELS: _highest, Kind.POINTS: len}[kind](answer) if kind is not Kind.MASK else None,
            pixels=rows.shape[0] * rows.shape[1],
            seconds=seconds,
            objects=objects(answer, rows) if self._measured else None,
        )

    def _run(self, rows: AnyRows, stem: str) -> NDArray[Any]:
        """Return the answer for an image, a large one's band by band."""
        if isinstance(self._pipeline, ClassPipeline):
            return self._pipeline.combined(lambda pipeline: self._run_one(pipeline, rows, stem))
        return self._run_one(self._pipeline, rows, stem)

    def _run_one(self, pipeline: Pipeline, rows: AnyRows, stem: str) -> NDArray[Any]:
        if isinstance(rows, ArrayRows) and rows.shape[0] * rows.shape[1] < IN_BANDS:
            return pipeline(rows.array)
        return run_in_bands(pipeline, rows, partial(self._told, stem))


def _highest(labels: NDArray[Any]) -> int:
    return int(labels.max())


def _write(kind: Kind, path: Path, answer: NDArray[Any]) -> None:
    if answer.dtype == np.uint8:
        write_image(path, answer, overwrite=True)
    elif kind is Kind.MASK:
        write_mask(path, answer, overwrite=True)
    elif kind is Kind.LABELS:
        write_labels(path, answer, overwrite=True)
    else:
        with whole_file(path) as file:
            file.write(points_text(answer).encode())


def _every(rows: AnyRows, step: int) -> NDArray[Any]:
    """Return every so many-th row and column."""
    if isinstance(rows, ArrayRows):
        return rows.array[::step, ::step]
    height = 256 * step
    tops = range(0, rows.shape[0], height)
    return np.concatenate([rows.rows(top, min(rows.shape[0], top + height))[::step, ::step] for top in tops])


def _images(source: Path, reading: Reading) -> list[Input]:
    if source.is_dir():
        return _in_folder(source, reading)
    if not source.exists():
        raise FilesError(f"{source}: no such file or folder.")
    return [_file(source, reading)]


def _in_folder(source: Path, reading: Reading) -> list[Input]:
    """List the images of a dataset, whatever its layout, or those that lie in a folder."""
    folder = scan(source)
    reading = reading.or_else(read_card(source / "dataset.yaml").reading)
    if folder.planes:
        return _with_planes(folder, reading)
    if folder.images and folder.layout not in ("", plain.LAYOUT.name):
        if folder.faults:
            logger.warning("%s: faults in it may keep images out; `evoseg check` lists them", source)
        return [_file(path, reading, stem) for stem, path in folder.images.items()]
    inner = source / "images"
    return [_file(path, reading) for path in _image_files(inner if inner.is_dir() else source)]


def _image_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.suffix[1:].lower() in SUFFIXES and not path.name.startswith(".")
    )


def _file(path: Path, reading: Reading, stem: str = "") -> Input:
    read = partial(_read, path, reading)
    return Input(stem or stem_of(path.name), path, read, lambda: len(read_header(path, HUGE, reading).names))


def _read(path: Path, reading: Reading) -> AnyRows:
    return TiffRows(path, reading) if is_huge(path, reading) else ArrayRows(read_image(path, reading))


def _with_planes(folder: Folder, reading: Reading) -> list[Input]:
    """List the images of a dataset whose planes are channels, too; it needs no masks."""
    source = FolderSource(folder, reading)
    channels = channels_of(source, source.stems)
    return [
        Input(stem, folder.images[stem], partial(_assembled, source, stem, channels), lambda: len(channels))
        for stem in source.stems
    ]


def _assembled(source: FolderSource, stem: str, channels: tuple[str, ...]) -> ArrayRows:
    names = ("image", *(f"planes/{name}" for name in source.planes))
    if missing := [part for part in names if not source.has(part, stem)]:
        raise DatasetError(f"{source.where('image', stem)}: has no file in {missing[0]}/. Add it.")
    parts = {part: source.read(part, stem) for part in names}
    if faults := mismatches(source, stem, parts):
        raise DatasetError(faults[0])
    return ArrayRows(assemble(stem, parts, channels).image)
