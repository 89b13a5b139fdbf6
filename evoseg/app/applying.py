"""Apply a pipeline to image files and write masks and pictures of them."""

import csv
import io
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.app.classes import ClassPipeline, read_program
from evoseg.app.measuring import Objects, columns, objects
from evoseg.app.pipelines import UNKNOWN, one_sided, share_of
from evoseg.app.runs import FilesError, make_folder, refuse_existing
from evoseg.base.ahead import ahead
from evoseg.base.errors import DatasetError, EvosegError, ImageWarning, PipelineError, SettingsError
from evoseg.base.kinds import Kind
from evoseg.base.notes import Note, grouped
from evoseg.base.untrusted import within
from evoseg.base.writing import whole_file
from evoseg.data.agreement import channels_of, mismatches
from evoseg.data.card import read_card
from evoseg.data.dataset import assemble
from evoseg.data.files import (
    page_readings,
    picture,
    read_header,
    read_image,
    stored_mask,
    write_image,
    write_labels,
    write_mask,
)
from evoseg.data.folder import Folder, scan
from evoseg.data.formats import FORMATS, SUFFIXES, explained, read_bytes
from evoseg.data.imageformat import Difference, notes_of, pixel_size_differences
from evoseg.data.layouts import plain
from evoseg.data.layouts.layout import image_folders
from evoseg.data.listing import clutter, stem_of
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

ALL = "all"
"""The page that stands for every page."""

_FILES = {Kind.MASK: ("masks", "png"), Kind.LABELS: ("masks", "tif"), Kind.POINTS: ("points", "csv")}
"""Folder and ending of the answers, by kind."""


@dataclass(frozen=True)
class Input:
    """One image to come.

    Attributes
    ----------
    stem : str
        Name of its outputs; with folders before it, such as "plate_1/a", if those are to be kept.
    path : Path
    read : callable () -> ArrayRows or TiffRows
    names : callable () -> tuple of str
        What its channels are called, by the file's header.
    pixel_size : str
        As `dataset.yaml` has it; "" if it is not known.
    """

    stem: str
    path: Path
    read: Callable[[], AnyRows]
    names: Callable[[], tuple[str, ...]]
    pixel_size: str = ""


@dataclass(frozen=True)
class Applied:
    """What became of one image.

    Attributes
    ----------
    stem : str
    name : str
        Of its file, for messages.
    answer, overlay : Path
        The files written.
    share : float
        Of the pixels that are foreground; 0 for points.
    count : int or None
        How many objects or points were found; None for a mask.
    pixels : int
    seconds : float, s
        For the pipeline alone; of an image that is read in bands, reading included.
    fault : str
        Why there is no answer; "" if there is one.
    objects : Objects or None
        Measurements, if they were asked for.
    skipped : bool
        Whether its files were there already and were left as they are.
    differences : tuple of Difference
        From the images that the pipeline was made for; if one of them is an error, it is why there is no answer.
    """

    stem: str
    name: str
    answer: Path
    overlay: Path
    share: float = 0.0
    count: int | None = None
    pixels: int = 0
    seconds: float = 0.0
    fault: str = ""
    objects: Objects | None = None
    skipped: bool = False
    differences: tuple[Difference, ...] = ()

    @property
    def unlike(self) -> bool:
        """Whether the image differs so much that there is no answer."""
        return any(fatal for _, fatal, _, _ in self.differences)


Told = Callable[[str, float], None]
"""Called with an image's stem and the share of its bands that are done."""


def apply(
    pipeline: Pipeline | ClassPipeline | str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    recursive: bool = False,
    axes: str = "",
    page: int | str = "",
    channel: int | str = "",
    table: str | Path | None = None,
    skip_existing: bool = False,
    overwrite: bool = False,
    workers: int = 1,
    listed: Callable[[int], None] = lambda n_images: None,
    told: Told = lambda stem, share: None,
    done: Callable[[Applied], None] = lambda applied: None,
) -> list[Applied]:
    """Segment image files with a pipeline, and write the answers and overlays into a folder.

    A mask becomes OUT/masks/NAME.png (0 and 255; of classes, their values), labels become OUT/masks/NAME.tif (int32),
    points OUT/points/NAME.csv; beside them lies OUT/overlays/NAME.png. An image that cannot be read or segmented is
    reported and the others go on. TIFF files of any size are read and filtered in bands; of those beyond what is read
    at once, one is worked on at a time.

    Parameters
    ----------
    pipeline : Pipeline, ClassPipeline, path or str
        What a search found; or a pipeline file, or the folder or id of a run, whose way of reading files is taken over.
    images : path, or sequence of paths
        Image files and folders. A folder that holds a dataset gives its images, without masks; its planes are added to
        the channels.
    out : path
        Folder for the answers, made if need be.
    recursive : bool
        Whether to look into subfolders, which are kept below OUT/masks and OUT/overlays.
    axes, page, channel : optional
        As of `evoseg.search`. With page="all" every page of a stack gets an answer, called NAME_t0, NAME_t1 and so on,
        by its place along each axis.
    table : path, optional
        CSV file to write with the measurements of every object.
    skip_existing : bool
        Whether images whose answer and overlay exist are left as they are: goes on after a batch that was broken off.
    overwrite : bool
        Whether answers, overlays and the table may be replaced.
    workers : int
        Images that are worked on at a time, each in a thread.
    listed : callable
        Called with the number of images once they are listed.
    told : callable
        Hears how far large images are; called from the workers' threads.
    done : callable
        Called with each image's result as soon as it is there.

    Returns
    -------
    list of Applied
        One per image, in order; `fault` says why there is no answer.

    Raises
    ------
    SettingsError
        If the options cannot mean anything.
    FilesError
        Before anything is written: if no image is found, an output exists, or the folders cannot be made.
    PipelineError
        If the pipeline gives nothing that can be written, or measured if that is asked for, or no image has the
        channels that it was made for.

    Warns
    -----
    ImageWarning
        If images differ from those that the pipeline was made for, or every answer is empty or full.
    """
    if skip_existing and overwrite:
        raise SettingsError("skip_existing keeps what exists and overwrite replaces it. Ask for one of them.")
    reading = Reading(axes, "" if page == ALL else str(page), str(channel))
    if isinstance(pipeline, str | Path):
        pipeline, remembered = read_program(str(pipeline))
        reading = reading.or_else(remembered)
    out, sheet = Path(out).expanduser(), None if table is None else Path(table)
    given = inputs(
        [images] if isinstance(images, str | Path) else images,
        replace(reading, page="") if page == ALL else reading,
        recursive=recursive,
        every_page=page == ALL,
        besides=out,
    )
    listed(len(given))
    refuse_existing([sheet] if sheet else [], overwrite=overwrite)
    results: list[Applied] = []
    started = applied(
        pipeline,
        given,
        out,
        overwrite=overwrite,
        skip_existing=skip_existing,
        workers=workers,
        measured=table is not None,
        told=told,
    )
    if pipeline.made_for is None:
        warnings.warn(UNKNOWN, ImageWarning, stacklevel=2)
    with ObjectTable(sheet) as rows:
        for result in started:
            results.append(rows.taken(result))
            done(result)
    _stack_bytes.cache_clear()
    segmented = [result for result in results if not result.fault and not result.skipped]
    points = _output(pipeline) is Kind.POINTS
    shares = [0.5 * bool(result.count) if points else result.share for result in segmented]
    for line in filter(None, [*unlike(results, refused=False), one_sided(shares)]):
        warnings.warn(line, ImageWarning, stacklevel=2)
    return results


def unlike(results: Sequence[Applied], *, refused: bool) -> tuple[str, ...]:
    """Say how images differ from those that the pipeline was made for, a line for each kind of difference.

    Parameters
    ----------
    refused : bool
        Whether to tell of those that have no answer for it, or of all others.
    """
    told = [result for result in results if result.unlike == refused]
    return grouped(notes_of((result.name, result.differences) for result in told))


def inputs(
    sources: Sequence[str | Path],
    reading: Reading = PLAIN,
    *,
    recursive: bool = False,
    every_page: bool = False,
    besides: Path | None = None,
) -> list[Input]:
    """List the images that files and folders hold.

    A folder that holds a dataset gives its images, without masks; its planes are added to the channels.

    Parameters
    ----------
    sources : sequence of paths
    reading : Reading
        Which page of each file, and which channels.
    recursive : bool
        Whether to look into subfolders; names then begin with the folders on the way.
    every_page : bool
        Whether each page of a stack is an image of its own.
    besides : Path, optional
        A folder that is left out: the one for the answers may lie among the images.

    Raises
    ------
    FilesError
        If a path does not exist, no image is found, or two images have the same name.
    """
    paths = [Path(source).expanduser() for source in sources]
    folders = [path for path in paths if path.is_dir()]
    found: list[Input] = []
    for path in paths:
        if not path.exists():
            raise FilesError(f"{path}: no such file or folder.")
        if path not in folders:
            found += _file(path, reading, every_page=every_page)
        elif recursive:
            start = f"{path.resolve().name}/" if len(folders) > 1 else ""
            found += _below(path, start, reading, every_page, besides)
        else:
            found += _in_folder(path, reading, every_page)
    if not found:
        where = ", ".join(map(str, paths)) or "the list of paths"
        inner = [] if recursive else [sub.name for folder in folders for sub in _subfolders(folder, besides)]
        some = f"{', '.join(inner[:3])}{', ...' if len(inner) > 3 else ''}"
        there = f"1 subfolder ({some})" if len(inner) == 1 else f"{len(inner)} subfolders ({some})"
        hint = f" There {'is' if len(inner) == 1 else 'are'} {there}: --recursive (recursive=True) looks into them."
        raise FilesError(f"{where}: no image found ({FORMATS}, by ending).{hint if inner else ''}")
    stem, n = Counter(image.stem for image in found).most_common(1)[0]
    if n > 1:
        same = [image.path for image in found if image.stem == stem][:2]
        apart = not recursive and same[0].parent in folders and same[1].parent in folders
        apart = apart and same[0].parent != same[1].parent
        keep = ", or keep the folders apart with --recursive (recursive=True)" if apart else ""
        clash = f"{same[0]} and {same[1]} would both become the answer {stem}"
        raise FilesError(f"{clash}. Rename one, or apply the pipeline twice{keep}.")
    return found


def applied(
    pipeline: Pipeline | ClassPipeline,
    images: Sequence[Input],
    out: Path,
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    workers: int = 1,
    measured: bool = False,
    told: Told = lambda stem, share: None,
) -> Iterator[Applied]:
    """Write the answer for each image, and its overlay, as they are asked for; parameters and errors as of `apply`."""
    output = _output(pipeline)
    if output not in _FILES:
        raise PipelineError(f"the pipeline gives a {output} value; only masks, objects and points can be written.")
    if measured and isinstance(pipeline, ClassPipeline):
        raise PipelineError("objects are measured class by class: apply the run of one class with --table.")
    if measured and output is Kind.POINTS:
        raise PipelineError("the pipeline gives points, which have nothing to measure. Leave out --table.")
    grays_fit = _refuse_hopeless(pipeline, images)
    name, ending = _FILES[output]
    answers, overlays = out / name, out / "overlays"
    targets = [Applied(i.stem, _name_of(i), answers / f"{i.stem}.{ending}", overlays / f"{i.stem}.png") for i in images]
    if skip_existing:
        targets = [replace(t, skipped=t.answer.exists() and t.overlay.exists()) for t in targets]
    else:
        refuse_existing([path for t in targets for path in (t.answer, t.overlay)], overwrite=overwrite)
    for folder in dict.fromkeys(path.parent for t in targets for path in (t.answer, t.overlay)):
        make_folder(folder)
    work = _Work(pipeline, measured, told, grays_fit)
    pairs = zip(images, targets, strict=True)
    return ahead(lambda pair: work(*pair), pairs, workers) if workers > 1 else (work(*pair) for pair in pairs)


def _name_of(image: Input) -> str:
    """Return the name of an image's file, with the folders that are kept."""
    return f"{image.stem.rpartition('/')[0]}/{image.path.name}".removeprefix("/")


def _output(pipeline: Pipeline | ClassPipeline) -> Kind:
    """Return the kind of the answers; images of classes are masks of several values."""
    return Kind.MASK if isinstance(pipeline, ClassPipeline) else pipeline.output


def _refuse_hopeless(pipeline: Pipeline | ClassPipeline, images: Sequence[Input]) -> bool:
    """Refuse images of which none has the channels that the pipeline needs.

    Returns whether grey images count as colour ones: if nothing is known of the images that the pipeline was made for,
    a grey image among RGB images has three equal channels, as in a dataset.
    """
    known = pipeline.made_for
    if pipeline.channels == 1 and (known is None or len(known.channels) == 1):
        return False
    refused: list[tuple[str, list[Difference]]] = []
    n_read, counts = 0, set[int]()
    for image in images:
        with suppress(DatasetError):  # it will be named when its turn comes
            names = image.names()
            n_read += 1
            counts.add(len(names))
            fatal = [difference for difference in pipeline.lacks(len(names), names) if difference[1]]
            if known is not None and not fatal:
                return False
            if fatal:
                refused.append((_name_of(image), fatal[:1]))
    if n_read and len(refused) == n_read:
        raise PipelineError("\n".join(grouped(notes_of(refused))))
    return known is None and 3 in counts


class _Work:
    """Answers for images, in several threads perhaps."""

    def __init__(self, pipeline: Pipeline | ClassPipeline, measured: bool, told: Told, grays_fit: bool) -> None:
        self._compared = pipeline
        self._pipeline = pipeline.for_images(None)
        self._measured = measured
        self._told = told
        self._grays_fit = grays_fit
        self._one_at_a_time = Lock()

    def __call__(self, image: Input, target: Applied) -> Applied:
        try:
            if target.skipped and not self._measured:
                return target
            rows = image.read()
            if isinstance(rows, ArrayRows):
                return self._answer(image, rows, target)
            with self._one_at_a_time, closing(rows):
                return self._answer(image, rows, target)
        except EvosegError as error:
            return replace(target, fault=Note.of(error, image.path))
        except OSError as error:
            return replace(target, fault=str(error))

    def _answer(self, image: Input, rows: AnyRows, target: Applied) -> Applied:
        if target.skipped:
            return replace(target, objects=objects(_read_answer(self._pipeline, target.answer, rows), rows))
        found = self._differences(image, rows)
        if fatal := [difference for difference in found if difference[1]]:
            return replace(target, fault=notes_of([(str(image.path), fatal)])[0], differences=tuple(fatal[:1]))
        return replace(self._written(rows, target), differences=tuple(found))

    def _differences(self, image: Input, rows: AnyRows) -> list[Difference]:
        """Compare an image with those that the pipeline was made for."""
        made_for = self._compared.made_for
        seen = _some(rows)
        if made_for is None:
            return [] if self._grays_fit and seen.shape[2] == 1 else self._compared.lacks(seen.shape[2])
        names = image.names() if seen.shape[2] > 1 else ()
        return self._compared.differences(seen, names) + pixel_size_differences(made_for, image.pixel_size)

    def _written(self, rows: AnyRows, target: Applied) -> Applied:
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
            share=0.0 if kind is Kind.POINTS else share_of(kind, answer),
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


def _some(rows: AnyRows) -> NDArray[Any]:
    """Return an image, of a huge one a few rows."""
    if isinstance(rows, ArrayRows):
        return rows.array
    tops = np.linspace(0, rows.shape[0] - 1, min(8, rows.shape[0]), dtype=int)
    return np.concatenate([rows.rows(top, top + 1) for top in tops.tolist()])


def _read_answer(pipeline: Pipeline | ClassPipeline, path: Path, image: AnyRows) -> NDArray[Any]:
    """Return a mask or labels that an earlier call has written for an image."""
    values = stored_mask(path, read_bytes(path)).pixels
    if values.shape != image.shape[:2]:
        here, there = (" x ".join(map(str, shape)) for shape in (values.shape, image.shape[:2]))
        raise DatasetError(
            f"{path}: this answer from an earlier call is {here}, but its image is {there}. Delete the answer, or "
            "replace it with --overwrite (overwrite=True) in place of --skip-existing."
        )
    return values.astype(np.int32) if _output(pipeline) is Kind.LABELS else values > 0


def _in_folder(source: Path, reading: Reading, every_page: bool) -> list[Input]:
    """List the images of a dataset, whatever its layout, or those that lie in a folder."""
    folder, card = scan(source), read_card(source / "dataset.yaml")
    reading = reading.or_else(replace(card.reading, page="") if every_page else card.reading)
    if folder.planes:
        return [replace(image, pixel_size=card.pixel_size) for image in _with_planes(folder, reading)]
    if folder.images and folder.layout not in ("", plain.LAYOUT.name):
        if folder.faults:
            logger.warning("%s: faults in it may keep images out; `evoseg check` lists them", source)
        named = list(folder.images.items())
    else:
        inner = image_folders(source)
        named = [("", path) for path in _image_files(inner[0] if len(inner) == 1 else source)]
    if outside := [path for _, path in named if not within(path, source)]:
        raise DatasetError(
            f"{outside[0]}: a link out of the folder {source}, as are {len(outside)} of its {len(named)} images. Copy "
            "the files, or name them instead of the folder."
        )
    found = [image for stem, path in named for image in _file(path, reading, stem, every_page=every_page)]
    return [replace(image, pixel_size=card.pixel_size) for image in found]


def _below(source: Path, start: str, reading: Reading, every_page: bool, besides: Path | None) -> list[Input]:
    """List the images of a folder and of all below it; `start` is what their names begin with."""
    found = [replace(image, stem=start + image.stem) for image in _in_folder(source, reading, every_page)]
    here = {image.path.parent.resolve() for image in found}
    if found and here != {source.resolve()}:
        return found  # a dataset: its other folders hold masks and the like
    for folder in _subfolders(source, besides):
        found += _below(folder, f"{start}{folder.name}/", reading, every_page, besides)
    return found


def _subfolders(folder: Path, besides: Path | None) -> list[Path]:
    """Return the folders within a folder, links and hidden ones left out, so that there is an end to them."""
    left_out = None if besides is None else besides.resolve()
    inner = (path for path in folder.iterdir() if path.is_dir() and not path.is_symlink() and not clutter(path.name))
    return sorted(path for path in inner if path.resolve() != left_out)


def _image_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.suffix[1:].lower() in SUFFIXES and not path.name.startswith(".")
    )


def _file(path: Path, reading: Reading, stem: str = "", *, every_page: bool = False) -> list[Input]:
    """List the image in a file, or every page of it as one."""
    stem = stem or stem_of(path.name)
    pages: Mapping[str, Reading] = {}
    if every_page:
        with suppress(DatasetError):  # it will be named when its turn comes
            pages = page_readings(path, reading)
    if not pages:
        return [Input(stem, path, partial(_read, path, reading), partial(_names, path, reading))]
    return [
        Input(f"{stem}_{ending}", path, partial(_read_page, path, page), partial(_names, path, page))
        for ending, page in pages.items()
    ]


def _names(path: Path, reading: Reading) -> tuple[str, ...]:
    """Return what the channels of a file are called, by itself if it says so."""
    header = read_header(path, HUGE, reading)
    return header.labels or header.names


def _read(path: Path, reading: Reading) -> AnyRows:
    return TiffRows(path, reading) if is_huge(path, reading) else ArrayRows(read_image(path, reading))


def _read_page(path: Path, reading: Reading) -> AnyRows:
    """Return a page of a stack, whose bytes are kept for the next page."""
    with explained(path):
        changed_ns = path.stat().st_mtime_ns
    return ArrayRows(picture(path, _stack_bytes(path, changed_ns), reading=reading).image)


@lru_cache(maxsize=1)
def _stack_bytes(path: Path, changed_ns: int) -> bytes:
    return read_bytes(path)


def _with_planes(folder: Folder, reading: Reading) -> list[Input]:
    """List the images of a dataset whose planes are channels, too; it needs no masks."""
    source = FolderSource(folder, reading)
    channels = channels_of(source, source.stems)
    return [
        Input(stem, folder.images[stem], partial(_assembled, source, stem, channels), lambda: channels)
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


class ObjectTable:
    """A CSV file with a line per object, which appears whole when the block ends; nothing without a path.

    Images may differ in their channels, so lines are kept as text until the last is known.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path.expanduser() if path else None
        self._channels = 0

    def __enter__(self) -> "ObjectTable":
        self._lines = io.StringIO()
        self._writer = csv.writer(self._lines, lineterminator="\n")
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if self._path is None or kind is not None:
            return
        make_folder(self._path.absolute().parent)
        header = ",".join(("image", "object", *columns(self._channels))) + "\n"
        with whole_file(self._path) as file:
            file.write((header + self._lines.getvalue()).encode("utf-8", "backslashreplace"))

    def taken(self, result: Applied) -> Applied:
        """Write the objects of one image and return the rest of the result."""
        if result.objects is None:
            return result
        self._channels = max(self._channels, len(result.objects.columns) - len(columns(0)))
        for number, row in enumerate(result.objects.rows(), 1):
            self._writer.writerow([_inert(result.stem), number, *row])
        return replace(result, objects=None)


def _inert(name: str) -> str:
    """Return a name with an apostrophe before it if a spreadsheet would run it as a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else name
