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
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from evoseg.core.deprecation import rename_keywords
from evoseg.core.disk import prefetch, write_atomically
from evoseg.core.errors import DatasetError, EvosegError, ImageWarning, PipelineError, SettingsError
from evoseg.core.kinds import Kind
from evoseg.core.notes import Note, group_notes
from evoseg.core.untrusted import within
from evoseg.datasets.card import read_card
from evoseg.datasets.dataset import assemble
from evoseg.datasets.documents import points_text
from evoseg.datasets.figures import PATCH, UNFAMILIAR
from evoseg.datasets.folder import Folder, scan
from evoseg.datasets.imageformat import Difference, notes_of, pixel_size_differences, size_text
from evoseg.datasets.io.files import (
    decode_mask,
    decode_picture,
    list_pages,
    read_header,
    read_image,
    write_image,
    write_labels,
    write_mask,
)
from evoseg.datasets.io.formats import FORMATS, ending_of, explain_errors, read_bytes
from evoseg.datasets.io.tiff_rows import HUGE, TiffRows, is_huge
from evoseg.datasets.layouts.base import image_folders, is_clutter, stem_of
from evoseg.datasets.layouts.subfolders import PLAIN_LAYOUT
from evoseg.datasets.reading import ALL_PAGES, DEFAULT_OPTIONS, ReadOptions
from evoseg.datasets.sources import FolderSource, channels_of, mismatches
from evoseg.inference.measure import Objects, column_names, measure_objects
from evoseg.inference.multiclass import ClassPipeline, Others, read_others, read_program
from evoseg.inference.trust import Opinions, network_step, run_keeping
from evoseg.pipeline import Pipeline
from evoseg.pipeline.running import ArrayRows, run_in_bands, values_in_bands
from evoseg.runs.pipeline_files import UNKNOWN, Alternatives, one_sided, share_of
from evoseg.runs.run_folder import FilesError, make_folder, refuse_existing

OVERLAY_PX = 4096
"""Longest side of overlays; larger images are shown reduced."""

IN_BANDS = 1 << 24
"""Pixels from which the pipeline runs band by band, which bounds its memory."""

_SOME_ROWS = 64
"""Rows of a huge image that are read at a time where only a part of each is needed."""

logger = logging.getLogger(__name__)

AnyRows = ArrayRows | TiffRows

_FILES = {Kind.MASK: ("masks", "png"), Kind.LABELS: ("masks", "tif"), Kind.POINTS: ("points", "csv")}
"""Folder and ending of the results, by kind."""


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
        As `dataset.yaml` has it; "" if it does not say it.
    file_pixel_size : callable () -> str
        The same, as the file says it.
    """

    stem: str
    path: Path
    read: Callable[[], AnyRows]
    names: Callable[[], tuple[str, ...]]
    pixel_size: str = ""
    file_pixel_size: Callable[[], str] = lambda: ""


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
    distance : float or None
        How far the image is from those that the pipeline was made for (`evoseg.datasets.figures`); None if it is not
        known what these look like.
    trust : float or None
        How far the answer can be trusted, 0 to 1 (`evoseg.inference.trust`); None if there is nothing to compare it
        with.
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
    distance: float | None = None
    trust: float | None = None

    @property
    def unfamiliar(self) -> bool | None:
        """Whether the image looks unlike those that the pipeline was made for; None if that is not known."""
        return None if self.distance is None else self.distance > UNFAMILIAR

    @property
    def unlike(self) -> bool:
        """Whether the image differs so much that there is no answer."""
        return any(fatal for _, fatal, _, _ in self.differences)


OnProgress = Callable[[str, float], None]
"""Called with an image's stem and the share of its bands that are done."""


@rename_keywords(listed="on_listed", told="on_progress", done="on_result")
def apply(
    pipeline: Pipeline | ClassPipeline | str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    recursive: bool = False,
    axes: str = "",
    page: int | str = "",
    channel: int | str = "",
    series: int | str = "",
    table: str | Path | None = None,
    image_table: str | Path | None = None,
    trust: bool = True,
    others: Others | None = None,
    doubt: str | Path | None = None,
    skip_existing: bool = False,
    overwrite: bool = False,
    workers: int = 1,
    allow_code: bool = False,
    on_listed: Callable[[int], None] = lambda n_images: None,
    on_progress: OnProgress = lambda stem, share: None,
    on_result: Callable[[Applied], None] = lambda applied: None,
) -> list[Applied]:
    """Segment image files with a pipeline, and write the results and overlays into a folder.

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
        Folder for the results, made if need be.
    recursive : bool
        Whether to look into subfolders, which are kept below OUT/masks and OUT/overlays.
    axes, page, channel, series : optional
        As of `evoseg.search`. With page="all" every page of a stack gets an answer, called NAME_t0, NAME_t1 and so on,
        by its place along each axis.
    table : path, optional
        CSV file to write with the measurements of every object.
    image_table : path, optional
        CSV file to write with a line per image: how much was found, how far that can be trusted, and whether the image
        is unfamiliar.
    trust : bool
        Whether to run other pipelines as well, to tell how far each answer can be trusted.
    others : mapping of str to Alternatives, optional
        These, by the digest of the pipeline that each is compared with (default: those of the run that a path or id
        names, at most four for each class; none for a `Pipeline`).
    doubt : path, optional
        Folder for a grey picture per image, NAME.png, that is bright where the answer is in doubt.
    skip_existing : bool
        Whether images whose result and overlay exist are left as they are: continues an interrupted batch.
    overwrite : bool
        Whether results, overlays and the table may be replaced.
    workers : int
        Images that are worked on at a time, each in a thread.
    allow_code : bool
        Whether Python operators in the pipeline may run that are neither from a search of yours nor allowed before.
    on_listed : callable
        Called with the number of images once they are listed.
    on_progress : callable
        Called with the stem of a large image and the share of it that is done; from the workers' threads.
    on_result : callable
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
        channels that it was made for, or pictures of doubt are asked for and there is nothing to compare answers with.

    Warns
    -----
    ImageWarning
        If images differ from those that the pipeline was made for, or every answer is empty or full.
    """
    if skip_existing and overwrite:
        raise SettingsError("skip_existing keeps existing files and overwrite replaces them. Choose one.")
    if doubt is not None and not trust:
        raise SettingsError("pictures of doubt show what trust is found by. Ask for both, or for neither.")
    reading = ReadOptions(axes, str(page), str(channel), series=str(series))
    if isinstance(pipeline, str | Path):
        source = str(pipeline)
        pipeline, remembered = read_program(source, allow_code=allow_code)
        reading = reading.or_else(remembered)
        if trust and others is None:
            others = read_others(source, pipeline)
    out, sheet = Path(out).expanduser(), None if table is None else Path(table)
    per_image = None if image_table is None else Path(image_table).expanduser()
    given = list_inputs(
        [images] if isinstance(images, str | Path) else images,
        reading,
        recursive=recursive,
        besides=out,
    )
    on_listed(len(given))
    refuse_existing([path for path in (sheet, per_image) if path], overwrite=overwrite)
    results: list[Applied] = []
    started = apply_inputs(
        pipeline,
        given,
        out,
        overwrite=overwrite,
        skip_existing=skip_existing,
        workers=workers,
        measured=table is not None,
        others=(others or {}) if trust else None,
        doubt=None if doubt is None else Path(doubt).expanduser(),
        on_progress=on_progress,
    )
    if pipeline.made_for is None:
        warnings.warn(UNKNOWN, ImageWarning, stacklevel=3)
    with ObjectTable(sheet) as rows:
        for result in started:
            results.append(rows.taken(result))
            on_result(result)
    _stack_bytes.cache_clear()
    if per_image is not None:
        write_image_table(results, per_image)
    segmented = [result for result in results if not result.fault and not result.skipped]
    points = _output(pipeline) is Kind.POINTS
    shares = [0.5 * bool(result.count) if points else result.share for result in segmented]
    for line in filter(None, [*describe_differences(results, refused=False), one_sided(shares)]):
        warnings.warn(line, ImageWarning, stacklevel=3)
    return results


def describe_differences(results: Sequence[Applied], *, refused: bool) -> tuple[str, ...]:
    """Say how images differ from those that the pipeline was made for, a line for each kind of difference.

    Parameters
    ----------
    refused : bool
        Whether to tell of those that have no answer for it, or of all others.
    """
    shown = [result for result in results if result.unlike == refused]
    return group_notes(notes_of((result.name, result.differences) for result in shown))


def list_inputs(
    sources: Sequence[str | Path],
    reading: ReadOptions = DEFAULT_OPTIONS,
    *,
    recursive: bool = False,
    besides: Path | None = None,
) -> list[Input]:
    """List the images that files and folders hold.

    A folder that holds a dataset gives its images, without masks; its planes are added to the channels.

    Parameters
    ----------
    sources : sequence of paths
    reading : ReadOptions
        Which page of each file, and which channels; with the page "all", each page of a stack is an image of its own.
    recursive : bool
        Whether to look into subfolders; names then begin with the folders on the way.
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
            found += _file(path, reading)
        elif recursive:
            start = f"{path.resolve().name}/" if len(folders) > 1 else ""
            found += _below(path, start, reading, besides)
        else:
            found += _in_folder(path, reading)
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


def apply_inputs(
    pipeline: Pipeline | ClassPipeline,
    images: Sequence[Input],
    out: Path,
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    workers: int = 1,
    measured: bool = False,
    others: Others | None = None,
    doubt: Path | None = None,
    on_progress: OnProgress = lambda stem, share: None,
) -> Iterator[Applied]:
    """Write the answer for each image, and its overlay, as they are asked for; parameters and errors as of `apply`.

    Without `others`, nothing is said of trust.
    """
    output = _output(pipeline)
    if output not in _FILES:
        raise PipelineError(f"the pipeline returns a {output} value; only masks, objects and points can be written.")
    if measured and isinstance(pipeline, ClassPipeline):
        raise PipelineError("objects are measured class by class: apply the run of one class with --table.")
    if measured and output is Kind.POINTS:
        raise PipelineError("the pipeline gives points, which have nothing to measure. Leave out --table.")
    if doubt is not None and not _is_comparable(pipeline, others):
        raise PipelineError(
            "there is nothing that shows doubt: the pipeline asks no network, and no result.json of its search lies "
            "beside it, with other pipelines. Name the run, or leave out --doubt."
        )
    grays_fit = _refuse_hopeless(pipeline, images)
    name, ending = _FILES[output]
    answers, overlays = out / name, out / "overlays"
    targets = [Applied(i.stem, _name_of(i), answers / f"{i.stem}.{ending}", overlays / f"{i.stem}.png") for i in images]
    if skip_existing:
        targets = [replace(t, skipped=t.answer.exists() and t.overlay.exists()) for t in targets]
    else:
        refuse_existing([path for t in targets for path in _files_of(t, doubt)], overwrite=overwrite)
    for folder in dict.fromkeys(path.parent for t in targets for path in _files_of(t, doubt)):
        make_folder(folder)
    work = _Work(pipeline, measured, on_progress, grays_fit, others, doubt)
    pairs = zip(images, targets, strict=True)
    return prefetch(lambda pair: work(*pair), pairs, workers) if workers > 1 else (work(*pair) for pair in pairs)


def _files_of(target: Applied, doubt: Path | None) -> list[Path]:
    """Return the files that become of one image."""
    return [target.answer, target.overlay, *([] if doubt is None else [_picture_of_doubt(target, doubt)])]


def _picture_of_doubt(target: Applied, doubt: Path) -> Path:
    return doubt / f"{target.stem}.png"


def _is_comparable(pipeline: Pipeline | ClassPipeline, others: Others | None) -> bool:
    """Return whether there is something that answers can be compared with."""
    if others is None:
        return False
    if isinstance(pipeline, ClassPipeline):
        return any(_is_comparable(part.pipeline, others) for part in pipeline.parts)
    return bool(others.get(pipeline.digest, Alternatives()).pipelines) or network_step(pipeline) is not None


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
        raise PipelineError("\n".join(group_notes(notes_of(refused))))
    return known is None and 3 in counts


class _Work:
    """Answers for images, in several threads perhaps."""

    def __init__(
        self,
        pipeline: Pipeline | ClassPipeline,
        measured: bool,
        on_progress: OnProgress,
        grays_fit: bool,
        others: Others | None,
        doubt: Path | None,
    ) -> None:
        self._compared = pipeline
        self._pipeline = pipeline.for_images(None)
        self._measured = measured
        self._on_progress = on_progress
        self._grays_fit = grays_fit
        self._others = others
        self._doubt = doubt
        self._one_at_a_time = Lock()

    def __call__(self, image: Input, target: Applied) -> Applied:
        try:
            if target.skipped and not self._measured:
                return target
            rows = image.read()
            image = replace(image, pixel_size=image.pixel_size or image.file_pixel_size())
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
            return replace(target, objects=measure_objects(_read_answer(self._pipeline, target.answer, rows), rows))
        found = self._differences(image, rows)
        if fatal := [difference for difference in found if difference[1]]:
            return replace(target, fault=notes_of([(str(image.path), fatal)])[0], differences=tuple(fatal[:1]))
        made_for = self._compared.made_for
        distance = None if made_for is None else made_for.distance(_middle(rows))
        return replace(self._written(rows, replace(target, distance=distance)), differences=tuple(found))

    def _differences(self, image: Input, rows: AnyRows) -> list[Difference]:
        """Compare an image with those that the pipeline was made for."""
        made_for = self._compared.made_for
        seen = _some(rows)
        if made_for is None:
            return [] if self._grays_fit and seen.shape[2] == 1 else self._compared.lacks(seen.shape[2])
        names = image.names() if seen.shape[2] > 1 else ()
        return self._compared.differences(seen, names) + pixel_size_differences(made_for, image.pixel_size)

    def _written(self, rows: AnyRows, target: Applied) -> Applied:
        from evoseg.drawing import as_outlines, draw_overlay, save_png

        answer, seconds, doubts = self._answered(rows, target)
        if doubts.picture is not None and self._doubt is not None:
            write_image(_picture_of_doubt(target, self._doubt), doubts.picture, overwrite=True)
        kind = _output(self._pipeline)
        _write(kind, target.answer, answer)
        step = -(-max(rows.shape) // OVERLAY_PX)
        # Places are scaled first, so that circles on a reduced picture are as large as on any other.
        shown = answer / step if kind is Kind.POINTS else answer[::step, ::step]
        picture = _every(rows, step)
        save_png(draw_overlay(picture, as_outlines(shown, picture.shape)), target.overlay)
        return replace(
            target,
            share=0.0 if kind is Kind.POINTS else share_of(kind, answer),
            count={Kind.LABELS: _highest, Kind.POINTS: len}[kind](answer) if kind is not Kind.MASK else None,
            pixels=rows.shape[0] * rows.shape[1],
            seconds=seconds,
            objects=measure_objects(answer, rows) if self._measured else None,
            trust=doubts.trust,
        )

    def _answered(self, rows: AnyRows, target: Applied) -> tuple[NDArray[Any], float, "_Doubts"]:
        """Return the answer for an image, the time in s that the pipelines took, and what is in doubt."""
        doubts = _Doubts(target.distance, pictured=self._doubt is not None)
        seconds = 0.0

        def run(pipeline: Pipeline) -> NDArray[Any]:
            nonlocal seconds
            start = perf_counter()
            answer, plane = self._run(pipeline, rows, target.stem)
            seconds += perf_counter() - start
            if self._others is not None and _is_comparable(pipeline, self._others):
                doubts.add(self._opinions(pipeline, answer, plane, rows))
            return answer

        answer = run(self._pipeline) if isinstance(self._pipeline, Pipeline) else self._pipeline.combined(run)
        return answer, seconds, doubts

    def _run(self, pipeline: Pipeline, rows: AnyRows, stem: str) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Return the answer for an image, a large one's band by band, and the plane of a network if that is needed."""
        on_progress = partial(self._on_progress, stem)
        place = None if self._others is None else network_step(pipeline)
        if place is None:
            return _run_whole_or_in_bands(pipeline, rows, on_progress), None
        if _fits_memory(rows):
            return run_keeping(pipeline, rows.array, place)
        answer, plane = values_in_bands(pipeline, rows, (len(pipeline) - 1, place), on_progress)
        return answer, plane

    def _opinions(
        self, pipeline: Pipeline, answer: NDArray[Any], plane: NDArray[np.uint8] | None, rows: AnyRows
    ) -> Opinions:
        """Compare the answer of a pipeline with others."""
        others = (self._others or {}).get(pipeline.digest, Alternatives())
        opinions = Opinions(pipeline.output, answer, rows.shape, others.radius)
        if plane is not None:
            opinions.add_plane(plane)
        for other in others.pipelines:
            opinions.add(_run_whole_or_in_bands(other, rows))
        return opinions


class _Doubts:
    """What is in doubt of an image: the least that any of its pipelines can be trusted, and where each is in doubt.

    Attributes
    ----------
    trust : float or None
    picture : uint8 array of shape (M, N) or None
    """

    def __init__(self, distance: float | None, *, pictured: bool) -> None:
        self.trust: float | None = None
        self.picture: NDArray[np.uint8] | None = None
        self._distance = distance
        self._pictured = pictured

    def add(self, opinions: Opinions) -> None:
        """Take in what is thought of the answer of one pipeline."""
        trust = opinions.trust(self._distance)
        if trust is not None:
            self.trust = trust if self.trust is None else min(trust, self.trust)
        if self._pictured:
            picture = opinions.picture()
            self.picture = picture if self.picture is None else np.maximum(picture, self.picture)


def _run_whole_or_in_bands(
    pipeline: Pipeline, rows: AnyRows, on_progress: Callable[[float], None] = lambda share: None
) -> NDArray[Any]:
    """Return a pipeline's answer for an image."""
    return pipeline(rows.array) if _fits_memory(rows) else run_in_bands(pipeline, rows, on_progress)


def _fits_memory(rows: AnyRows) -> TypeGuard[ArrayRows]:
    """Return whether an image is run as a whole."""
    return isinstance(rows, ArrayRows) and rows.shape[0] * rows.shape[1] < IN_BANDS


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
        with write_atomically(path) as file:
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


def _middle(rows: AnyRows) -> NDArray[Any]:
    """Return an image, of a huge one the middle that its figures are measured on."""
    if isinstance(rows, ArrayRows):
        return rows.array
    top, left = (max(0, (n - PATCH) // 2) for n in rows.shape)
    tops = range(top, min(rows.shape[0], top + PATCH), _SOME_ROWS)
    parts = [rows.rows(t, min(rows.shape[0], top + PATCH, t + _SOME_ROWS))[:, left : left + PATCH] for t in tops]
    return np.concatenate(parts)


def _read_answer(pipeline: Pipeline | ClassPipeline, path: Path, image: AnyRows) -> NDArray[Any]:
    """Return a mask or labels that an earlier call has written for an image."""
    values = decode_mask(path, read_bytes(path)).pixels
    if values.shape != image.shape[:2]:
        here, there = (" x ".join(map(str, shape)) for shape in (values.shape, image.shape[:2]))
        raise DatasetError(
            f"{path}: this result of an earlier call is {here}, but its image is {there}. Delete it, or use "
            "--overwrite (overwrite=True) instead of --skip-existing."
        )
    return values.astype(np.int32) if _output(pipeline) is Kind.LABELS else values > 0


def _in_folder(source: Path, reading: ReadOptions) -> list[Input]:
    """List the images of a dataset, whatever its layout, or those that lie in a folder."""
    folder, card = scan(source), read_card(source / "dataset.yaml")
    reading = reading.or_else(card.reading)
    if folder.planes:
        return [replace(image, pixel_size=card.pixel_size) for image in _with_planes(folder, reading)]
    if folder.images and folder.layout not in ("", PLAIN_LAYOUT.name):
        if folder.problems:
            logger.warning("%s: errors in this dataset may exclude images; `evoseg check` lists them", source)
        named = list(folder.images.items())
    else:
        inner = image_folders(source)
        named = [("", path) for path in _image_files(inner[0] if len(inner) == 1 else source)]
    if outside := [path for _, path in named if not within(path, source)]:
        raise DatasetError(
            f"{outside[0]}: a link out of the folder {source}, as are {len(outside)} of its {len(named)} images. Copy "
            "the files, or name them instead of the folder."
        )
    found = [image for stem, path in named for image in _file(path, reading, stem)]
    return [replace(image, pixel_size=card.pixel_size) for image in found]


def _below(source: Path, start: str, reading: ReadOptions, besides: Path | None) -> list[Input]:
    """List the images of a folder and of all below it; `start` is what their names begin with."""
    found = [replace(image, stem=start + image.stem) for image in _in_folder(source, reading)]
    here = {image.path.parent.resolve() for image in found}
    if found and here != {source.resolve()}:
        return found  # a dataset: its other folders hold masks and the like
    for folder in _subfolders(source, besides):
        found += _below(folder, f"{start}{folder.name}/", reading, besides)
    return found


def _subfolders(folder: Path, besides: Path | None) -> list[Path]:
    """Return the folders within a folder, links and hidden ones left out, so that there is an end to them."""
    left_out = None if besides is None else besides.resolve()
    inner = (path for path in folder.iterdir() if path.is_dir() and not path.is_symlink() and not is_clutter(path.name))
    return sorted(path for path in inner if path.resolve() != left_out)


def _image_files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_file() and ending_of(path.name) and not path.name.startswith(".")
    )


def _file(path: Path, reading: ReadOptions, stem: str = "") -> list[Input]:
    """List the image in a file, or every page of it as one."""
    stem = stem or stem_of(path.name)
    pages: Mapping[str, ReadOptions] = {}
    if reading.page == ALL_PAGES:
        with suppress(DatasetError):  # it will be named when its turn comes
            pages = list_pages(path, reading)
    if not pages:
        return [_input(stem, path, _read, reading)]
    return [_input(f"{stem}_{ending}", path, _read_page, page) for ending, page in pages.items()]


def _input(stem: str, path: Path, read: Callable[[Path, ReadOptions], AnyRows], reading: ReadOptions) -> Input:
    names, pixel_size = partial(_names, path, reading), partial(_pixel_size, path, reading)
    return Input(stem, path, partial(read, path, reading), names, file_pixel_size=pixel_size)


def _names(path: Path, reading: ReadOptions) -> tuple[str, ...]:
    """Return what the channels of a file are called, by itself if it says so."""
    header = read_header(path, HUGE, reading)
    return header.labels or header.names


def _pixel_size(path: Path, reading: ReadOptions) -> str:
    return size_text(read_header(path, HUGE, reading).pixel_size_um)


def _read(path: Path, reading: ReadOptions) -> AnyRows:
    return TiffRows(path, reading) if is_huge(path, reading) else ArrayRows(read_image(path, reading))


def _read_page(path: Path, reading: ReadOptions) -> AnyRows:
    """Return a page of a stack, whose bytes are kept for the next page."""
    with explain_errors(path):
        changed_ns = path.stat().st_mtime_ns
    return ArrayRows(decode_picture(path, _stack_bytes(path, changed_ns), reading=reading).image)


@lru_cache(maxsize=1)
def _stack_bytes(path: Path, changed_ns: int) -> bytes:
    return read_bytes(path)


def _with_planes(folder: Folder, reading: ReadOptions) -> list[Input]:
    """List the images of a dataset whose planes are channels, too; it needs no masks."""
    source = FolderSource(folder, reading)
    channels = channels_of(source, source.stems)
    return [
        Input(
            stem,
            folder.images[stem],
            partial(_assembled, source, stem, channels),
            lambda: channels,
            file_pixel_size=partial(_pixel_size, folder.images[stem], reading),
        )
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
        header = ",".join(("image", "object", *column_names(self._channels))) + "\n"
        with write_atomically(self._path) as file:
            file.write((header + self._lines.getvalue()).encode("utf-8", "backslashreplace"))

    def taken(self, result: Applied) -> Applied:
        """Write the objects of one image and return the rest of the result."""
        if result.objects is None:
            return result
        self._channels = max(self._channels, len(result.objects.columns) - len(column_names(0)))
        for number, row in enumerate(result.objects.rows(), 1):
            self._writer.writerow([_inert(result.stem), number, *row])
        return replace(result, objects=None)


def write_image_table(results: Sequence[Applied], path: Path) -> None:
    """Write a CSV file with a line per image; what is not known, and all of images left as they were, is empty."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(("image", "foreground_share", "objects", "trust", "unfamiliar", "distance", "error"))
    for one in results:
        known = not one.fault and not one.skipped
        trust, distance = ("" if value is None else f"{value:.4g}" for value in (one.trust, one.distance))
        share, count = (f"{one.share:.6g}", "" if one.count is None else one.count) if known else ("", "")
        unfamiliar = {None: "", True: "yes", False: "no"}[one.unfamiliar]
        writer.writerow((_inert(one.stem), share, count, trust, unfamiliar, distance, _inert(one.fault)))
    make_folder(path.absolute().parent)
    with write_atomically(path) as file:
        file.write(lines.getvalue().encode("utf-8", "backslashreplace"))


def _inert(name: str) -> str:
    """Return a name with an apostrophe before it if a spreadsheet would run it as a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else name
