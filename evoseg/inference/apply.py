"""Apply a pipeline to image files and write masks and pictures of them."""

import csv
import io
import json
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from os.path import abspath, splitext
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any, TypeGuard

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.deprecation import rename_keywords
from evoseg.core.disk import expand, prefetch, remove_leftovers, write_atomically
from evoseg.core.errors import DatasetError, EvosegError, ImageWarning, PipelineError, SettingsError, unknown
from evoseg.core.kinds import Kind
from evoseg.core.notes import Note, group_notes
from evoseg.datasets.documents import points_text
from evoseg.datasets.figures import PATCH, UNFAMILIAR
from evoseg.datasets.imageformat import Difference, notes_of, pixel_size_differences, sides_in_um
from evoseg.datasets.io.files import (
    decode_mask,
    write_image,
    write_labels,
    write_mask,
)
from evoseg.datasets.io.formats import LIMITS, read_bytes
from evoseg.datasets.io.tiff_rows import HUGE
from evoseg.datasets.reading import ReadOptions, absolute_path
from evoseg.evolve.evaluation.jobs import out_of_memory
from evoseg.inference import object_files
from evoseg.inference.inputs import AnyRows, Input, PartlyKnownRows, forget_stack, list_inputs
from evoseg.inference.ledger import Ledger
from evoseg.inference.multiclass import ClassPipeline, Others, read_others, read_program
from evoseg.inference.object_files import COCO, COCO_FILE, LABELS, CocoFile, CocoPart, write_label_image
from evoseg.inference.object_table import ObjectTable, TablePart, inert
from evoseg.inference.objects import AnswerObjects, Layer
from evoseg.inference.result_stacks import ResultStacks
from evoseg.inference.trust import Opinions, network_step, run_keeping
from evoseg.pipeline import Pipeline
from evoseg.pipeline.running import ArrayRows, run_in_bands, values_in_bands
from evoseg.runs.pipeline_files import UNKNOWN, Alternatives, one_sided, share_of
from evoseg.runs.run_folder import FilesError, make_folder, refuse_existing

OVERLAY_PX = 4096
"""Longest side of overlays; larger images are shown reduced."""

IN_BANDS = 1 << 24
"""Pixels from which the pipeline runs band by band, which bounds its memory."""

_UNTIL_OBJECTS = 0.5
"""What the pipeline is taken for of the work on a large image whose objects are written, too."""

_SOME_ROWS = 64
"""Rows of a huge image that are read at a time where only a part of each is needed."""


def _found_in(rows: AnyRows, answer: NDArray[Any]) -> NDArray[Any]:
    """Return an answer without what is at unknown pixels; points are rows and columns."""
    if not isinstance(rows, PartlyKnownRows):
        return answer
    if answer.shape != rows.shape:
        row, col = (np.clip(np.rint(answer[:, i]).astype(int), 0, rows.shape[i] - 1) for i in (0, 1))
        return np.asarray(answer[~rows.unknown[row, col]])
    return np.where(rows.unknown, answer.dtype.type(0), answer)


STACKS = "stacks"
"""Folder in OUT of the results of all pages of a stack in one file."""
_FILES = {Kind.MASK: ("masks", "png"), Kind.LABELS: ("masks", "tif"), Kind.POINTS: ("points", "csv")}
"""Folder and ending of the results, by kind."""


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
    table, coco : TablePart, CocoPart or None
        What is to be added to the files about all images, if they were asked for.
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
    table: TablePart | None = None
    coco: CocoPart | None = None
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
    bad_pixels: str | Path | None = None,
    formats: str | Sequence[str] = (),
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
        by its place along each axis; masks and labels of all pages also become the stack OUT/stacks/NAME.tif.
    bad_pixels : path, optional
        File whose pixels above 0 are unknown in every image, such as the gaps of a detector; nothing is found there
        (default: bad_pixels.* in a folder of images, or beside its images/).
    formats : sequence of str, or str with commas
        Further files with the objects of each image: "labels" (OUT/labels/NAME.ome.tif, a number for each object),
        "rois" (OUT/rois/NAME.zip, for ImageJ), "geojson" (OUT/geojson/NAME.geojson, for QuPath), and "coco" (one file
        for all images, OUT/coco.json). Points are written as "rois" and "geojson" only.
    table : path, optional
        CSV file to write with the measurements of every object, among them scikit-image's region properties.
    image_table : path, optional
        CSV file to write with a line per image: how much was found, how far that can be trusted, and whether the image
        is unfamiliar.
    trust : bool
        Whether to run other pipelines as well, to tell how far each answer can be trusted.
    others : mapping of str to Alternatives, optional
        The other pipelines, by the digest of the one that they are compared with (default: those of the run that a path
        or id names, at most four for each class; none for a `Pipeline`).
    doubt : path, optional
        Folder for a grey picture per image, NAME.png, that is bright where the answer is in doubt.
    skip_existing : bool
        Whether images whose files all exist are left as they are: continues an interrupted batch. They must be by this
        pipeline, and from images that have not changed since, as OUT/applied.jsonl tells.
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
        If the options are invalid or contradict each other.
    FilesError
        Before anything is written: if no image is found, an output exists, results that are to be left as they are come
        from another pipeline, or the folders cannot be made.
    PipelineError
        If the pipeline gives nothing that can be written in the formats that are asked for, or no image has the
        channels that it was made for, or pictures of doubt are asked for and there is nothing to compare answers with.

    Warns
    -----
    ImageWarning
        If images differ from those that the pipeline was made for, or every answer is empty or full.
    """
    if skip_existing and overwrite:
        raise SettingsError("skip_existing keeps existing files and overwrite replaces them. Choose one.")
    if doubt is not None and not trust:
        raise SettingsError("pictures of doubt need trust, which they are made from. Ask for both, or for neither.")
    reading = ReadOptions(axes, str(page), str(channel), series=str(series), bad_pixels=absolute_path(bad_pixels))
    if isinstance(pipeline, str | Path):
        source = str(pipeline)
        pipeline, remembered = read_program(source, allow_code=allow_code)
        reading = reading.or_else(remembered)
        if trust and others is None:
            others = read_others(source, pipeline)
    sheet, per_image = (None if path is None else expand(path) for path in (table, image_table))
    if sheet is not None and per_image is not None and sheet.absolute() == per_image.absolute():
        raise SettingsError(f"{sheet}: the tables of objects and of images cannot be one file. Name two.")
    outputs = Outputs(
        expand(out),
        parse_formats(formats),
        measured=sheet is not None,
        doubt=None if doubt is None else expand(doubt),
    )
    given = list_inputs(
        [images] if isinstance(images, str | Path) else images,
        reading,
        recursive=recursive,
        besides=outputs.out,
    )
    on_listed(len(given))
    ledger = Ledger(outputs.out, pipeline.digest)
    summary = outputs.out / COCO_FILE if COCO in outputs.formats else None
    pages = [] if _output(pipeline) is Kind.POINTS else [image.page for image in given if image.page]
    stacks = ResultStacks(outputs.out / STACKS, pages)
    late = [] if skip_existing else [summary, *stacks.paths.values()]
    refuse_existing([path for path in (sheet, per_image, *late) if path], overwrite=overwrite)
    if skip_existing and summary is not None and summary.exists():
        _refuse_other_coco(summary, {image.name for image in given})
    started = apply_inputs(
        pipeline,
        given,
        outputs,
        ledger=ledger,
        overwrite=overwrite,
        skip_existing=skip_existing,
        workers=workers,
        others=(others or {}) if trust else None,
        on_progress=on_progress,
    )
    for path in (sheet, per_image):
        if path is not None:
            make_folder(path.absolute().parent)
    remove_leftovers([path for path in (sheet, per_image, summary, *stacks.paths.values()) if path])
    if pipeline.made_for is None:
        warnings.warn(UNKNOWN, ImageWarning, stacklevel=3)
    results: list[Applied] = []
    oblong: list[str] = []
    classes = {part.value: part.name for part in pipeline.parts} if isinstance(pipeline, ClassPipeline) else {}
    with ExitStack() as stack:
        rows = None if sheet is None else stack.enter_context(ObjectTable(sheet, classes=bool(classes)))
        coco = None if summary is None else stack.enter_context(CocoFile(summary, classes or {1: "object"}))
        try:
            for number, (image, result) in enumerate(zip(given, started, strict=True), 1):
                if rows is not None and result.table is not None:
                    rows.add_image(result.table)
                    oblong += [result.name] * result.table.oblong
                if coco is not None and result.coco is not None:
                    coco.add_image(number, result.name, result.coco)
                if pages and image.page:
                    stacks.add(image.page, None if result.fault else result.answer, image.size_of_pixels)
                results.append(replace(result, table=None, coco=None))
                on_result(results[-1])
        except KeyboardInterrupt as error:
            error.add_note(
                f"{len(results)} of {len(given)} images are done; --skip-existing (skip_existing=True) continues"
            )
            raise
    forget_stack()
    if per_image is not None:
        write_image_table(results, per_image)
    for line in _warnings_of(pipeline, results, ledger, oblong):
        warnings.warn(line, ImageWarning, stacklevel=3)
    return results


def _refuse_other_coco(path: Path, names: Collection[str]) -> None:
    """Refuse to replace a COCO file of other images, or one that cannot be read."""
    try:
        others = {str(image["file_name"]) for image in json.loads(path.read_bytes())["images"]} - {*names}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise FilesError(f"{path}: not a COCO file, so it is not replaced. Move it, or use another folder.") from error
    if others:
        raise FilesError(
            f"{path}: has objects of {_first_of(sorted(others))}, which are not among the images now, and would be "
            "lost. Name all images, or use another folder."
        )


def _warnings_of(
    pipeline: Pipeline | ClassPipeline, results: Sequence[Applied], ledger: Ledger, oblong: Sequence[str]
) -> Iterator[str]:
    """Yield what should be said of all results together; `oblong` names images in the table without square pixels."""
    yield from describe_differences(results, refused=False)
    segmented = [result for result in results if not result.fault and not result.skipped]
    points = _output(pipeline) is Kind.POINTS
    if line := one_sided([0.5 * bool(result.count) if points else result.share for result in segmented]):
        yield line
    if oblong:
        yield (
            f"{_first_of(oblong)}: pixels are not square, so the table has areas in µm², but no perimeters and axes in "
            "µm. Resample the images to square pixels to measure these."
        )
    if unknown_ones := [result.name for result in results if result.skipped and not ledger.knows(result.stem)]:
        yield (
            f"{_first_of(unknown_ones)}: skipped, but it is not known which pipeline the results are from. Use "
            "--overwrite (overwrite=True) if in doubt."
        )


def _first_of(names: Sequence[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]


def parse_formats(formats: str | Sequence[str]) -> tuple[str, ...]:
    """Return the formats that a list of names asks for, each once.

    Raises
    ------
    SettingsError
        If one is unknown.
    """
    names = formats.split(",") if isinstance(formats, str) else formats
    found = tuple(dict.fromkeys(name.strip().lower() for name in names if name.strip()))
    for name in found:
        if name not in object_files.FORMATS:
            raise SettingsError(unknown("format", name, object_files.FORMATS))
    return found


def further_places(formats: str | Sequence[str]) -> dict[str, str]:
    """Return where in OUT the files of further formats are, by format."""
    return {name: COCO_FILE if name == COCO else name for name in parse_formats(formats)}


@dataclass(frozen=True)
class Outputs:
    """What is written for images, and where.

    Attributes
    ----------
    out : Path
        Folder of answers, overlays and files in further formats.
    formats : tuple of str
        Of `evoseg.inference.object_files.FORMATS`.
    measured : bool
        Whether the lines of a table are made.
    doubt : Path or None
        Folder of pictures of doubt.
    """

    out: Path
    formats: tuple[str, ...] = ()
    measured: bool = False
    doubt: Path | None = None

    def target(self, kind: Kind, image: Input) -> "Applied":
        """Return the result of an image as far as it is known beforehand."""
        folder, ending = _FILES[kind]
        answer, overlay = (
            self.out / place / f"{image.stem}.{end}" for place, end in ((folder, ending), ("overlays", "png"))
        )
        return Applied(image.stem, image.name, answer, overlay)

    def objects_file(self, name: str, stem: str) -> Path:
        """Return the file of an image in a further format."""
        return self.out / name / object_files.FILES[name].format(stem)

    def doubt_file(self, stem: str) -> list[Path]:
        """Return the picture of doubt of an image, if there are such."""
        return [] if self.doubt is None else [self.doubt / f"{stem}.png"]

    def files(self, target: "Applied") -> list[Path]:
        """Return all files that are written for one image alone."""
        further = [self.objects_file(name, target.stem) for name in self.formats if name in object_files.FILES]
        return [target.answer, target.overlay, *further, *self.doubt_file(target.stem)]

    @property
    def whole(self) -> bool:
        """Whether objects go into files about all images, too, for which skipped images are looked at again."""
        return self.measured or COCO in self.formats


def describe_differences(results: Sequence[Applied], *, refused: bool) -> tuple[str, ...]:
    """Say how images differ from those that the pipeline was made for, a line for each kind of difference.

    Parameters
    ----------
    refused : bool
        Whether to tell of those that have no answer for it, or of all others.
    """
    shown = [result for result in results if result.unlike == refused]
    return group_notes(notes_of((result.name, result.differences) for result in shown))


def apply_inputs(
    pipeline: Pipeline | ClassPipeline,
    images: Sequence[Input],
    outputs: Outputs,
    *,
    ledger: Ledger | None = None,
    overwrite: bool = False,
    skip_existing: bool = False,
    workers: int = 1,
    others: Others | None = None,
    on_progress: OnProgress = lambda stem, share: None,
) -> Iterator[Applied]:
    """Write the answer for each image, and its overlay, as they are asked for; parameters and errors as of `apply`.

    Without `others`, no trust is computed; without a ledger, the inputs of the results are not recorded.
    """
    kind = _output(pipeline)
    _refuse_formats(kind, outputs)
    if outputs.doubt is not None and not _is_comparable(pipeline, others):
        raise PipelineError(
            "doubt cannot be estimated: the pipeline has no network, and no other pipeline of its search was found to "
            "compare with. Name the run, put its result.json beside the pipeline, or leave out --doubt."
        )
    grays_fit = _refuse_hopeless(pipeline, images)
    targets = [outputs.target(kind, image) for image in images]
    files = [path for target in targets for path in outputs.files(target)]
    _refuse_clashes(images, files)
    if skip_existing:
        targets = [replace(t, skipped=all(path.exists() for path in outputs.files(t))) for t in targets]
        _refuse_others(images, targets, ledger)
    else:
        refuse_existing(files, overwrite=overwrite)
    for folder in dict.fromkeys(path.parent for path in files):
        make_folder(folder)
    remove_leftovers(files)
    work = _Work(pipeline, outputs, on_progress, grays_fit, others, ledger)
    pairs = zip(images, targets, strict=True)
    return prefetch(lambda pair: work(*pair), pairs, workers) if workers > 1 else (work(*pair) for pair in pairs)


def _refuse_clashes(images: Sequence[Input], files: Sequence[Path]) -> None:
    """Refuse to write two results, or a result and an image, to one name, of whatever ending: they would be paired."""
    taken = {splitext(abspath(path))[0] for image in images for path in (image.path, *image.planes)}
    for path in files:
        if (place := splitext(abspath(path))[0]) in taken:
            raise SettingsError(
                f"{path}: is an image, or another result is written there. Name other folders for results, and for "
                "pictures of doubt."
            )
        taken.add(place)


def _refuse_formats(kind: Kind, outputs: Outputs) -> None:
    """Refuse what cannot be written of answers of a kind."""
    if kind not in _FILES:
        raise PipelineError(f"the pipeline returns a {kind} value; only masks, objects and points can be written.")
    if kind is not Kind.POINTS:
        return
    if outputs.measured:
        raise PipelineError("the pipeline gives points, which have nothing to measure. Leave out --table.")
    if wrong := [name for name in outputs.formats if name not in object_files.WRITERS]:
        raise PipelineError(
            f"the pipeline gives points, which cannot be written as {wrong[0]}; "
            f"{' and '.join(object_files.WRITERS)} hold points, as does OUT/points/."
        )


def _refuse_others(images: Sequence[Input], targets: Sequence[Applied], ledger: Ledger | None) -> None:
    """Refuse to leave results as they are that another pipeline gave, or other ways of reading files."""
    if ledger is None:
        return
    pairs = list(zip(images, targets, strict=True))
    if foreign := [t for image, t in pairs if t.skipped and not ledger.is_current(t.stem, image.how)]:
        raise FilesError(
            f"{_first_of([str(target.answer) for target in foreign])}: from another pipeline, or from images that were "
            "read in another way, according to applied.jsonl. Use another folder, or --overwrite (overwrite=True)."
        )
    # Answers are written last, so one without its other files is not what an interrupted call has left.
    known = {t.stem for image, t in pairs if ledger.knows(t.stem) and ledger.is_current(t.stem, image.how)}
    if strange := [t for _, t in pairs if not t.skipped and t.stem not in known and t.answer.exists()]:
        raise FilesError(
            f"{_first_of([str(target.answer) for target in strange])}: not known to be a result of this pipeline, and "
            "other files of that result are missing, so it is not replaced. Use another folder, or --overwrite "
            "(overwrite=True)."
        )


def _is_comparable(pipeline: Pipeline | ClassPipeline, others: Others | None) -> bool:
    """Return whether there is something that answers can be compared with."""
    if others is None:
        return False
    if isinstance(pipeline, ClassPipeline):
        return any(_is_comparable(part.pipeline, others) for part in pipeline.parts)
    return bool(others.get(pipeline.digest, Alternatives()).pipelines) or network_step(pipeline) is not None


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
                refused.append((image.name, fatal[:1]))
    if n_read and len(refused) == n_read:
        raise PipelineError("\n".join(group_notes(notes_of(refused))))
    return known is None and 3 in counts


class _Work:
    """Answers for images, in several threads perhaps."""

    def __init__(
        self,
        pipeline: Pipeline | ClassPipeline,
        outputs: Outputs,
        on_progress: OnProgress,
        grays_fit: bool,
        others: Others | None,
        ledger: Ledger | None,
    ) -> None:
        self._compared = pipeline
        self._pipeline = pipeline.for_images(None)
        self._outputs = outputs
        self._on_progress = on_progress
        self._grays_fit = grays_fit
        self._others = others
        self._ledger = ledger
        self._one_at_a_time = Lock()

    def __call__(self, image: Input, target: Applied) -> Applied:
        try:
            if target.skipped:
                self._check_unchanged(image, target)
                if not self._outputs.whole:
                    return target
            done = self._read(image, target)
            if self._ledger is not None and not done.skipped and not done.fault:
                self._ledger.add(image.stem, image.how, image.files)
            return done
        except EvosegError as error:
            return replace(target, skipped=False, fault=Note.of(error, image.path))
        except (OSError, MemoryError, cv2.error) as error:
            if out_of_memory(error):
                words = "not enough memory. Use fewer --workers, or cut the image into tiles."
                return replace(target, skipped=False, fault=Note(image.path, words))
            if not isinstance(error, OSError):
                raise
            return replace(target, skipped=False, fault=str(error))

    def _read(self, image: Input, target: Applied) -> Applied:
        """Read an image and return what becomes of it."""
        rows = image.read()
        image = replace(image, pixel_size=image.size_of_pixels())
        if isinstance(rows, ArrayRows):
            return self._answer(image, rows, target)
        with self._one_at_a_time, closing(rows):
            return self._answer(image, rows, target)

    def _check_unchanged(self, image: Input, target: Applied) -> None:
        """Refuse to leave a result as it is whose image has changed."""
        if self._ledger is not None and not self._ledger.is_from(target.stem, image.files):
            raise DatasetError(
                f"{image.path}: has changed since its result was written. Delete {target.answer} to segment it again."
            )

    def _answer(self, image: Input, rows: AnyRows, target: Applied) -> Applied:
        if target.skipped:
            answer = _read_answer(self._pipeline, target.answer, rows)
            return replace(
                target, **self._objects(image, rows, answer, [COCO] if COCO in self._outputs.formats else [])
            )
        found = self._differences(image, rows)
        if fatal := [difference for difference in found if difference[1]]:
            return replace(target, fault=notes_of([(str(image.path), fatal)])[0], differences=tuple(fatal[:1]))
        made_for = self._compared.made_for
        distance = None if made_for is None else made_for.distance(_middle(rows))
        return replace(self._written(image, rows, replace(target, distance=distance)), differences=tuple(found))

    def _differences(self, image: Input, rows: AnyRows) -> list[Difference]:
        """Compare an image with those that the pipeline was made for."""
        made_for = self._compared.made_for
        seen = _some(rows)
        if made_for is None:
            return [] if self._grays_fit and seen.shape[2] == 1 else self._compared.lacks(seen.shape[2])
        names = image.names() if seen.shape[2] > 1 else ()
        return self._compared.differences(seen, names) + pixel_size_differences(made_for, image.pixel_size)

    def _written(self, image: Input, rows: AnyRows, target: Applied) -> Applied:
        from evoseg.drawing import as_outlines, draw_overlay, save_png

        answer, seconds, doubts = self._answered(rows, target)
        for path in self._outputs.doubt_file(target.stem):
            if doubts.picture is not None:
                write_image(path, doubts.picture, overwrite=True)
        kind = _output(self._pipeline)
        step = -(-max(rows.shape) // OVERLAY_PX)
        # Places are scaled first, so that circles on a reduced picture are as large as on any other.
        shown = answer / step if kind is Kind.POINTS else answer[::step, ::step]
        picture = _every(rows, step)
        save_png(draw_overlay(picture, as_outlines(shown, picture.shape)), target.overlay)
        parts = self._objects(image, rows, answer, self._outputs.formats)
        _write(kind, target.answer, answer)
        return replace(
            target,
            **parts,
            share=0.0 if kind is Kind.POINTS else share_of(kind, answer),
            count={Kind.LABELS: _count, Kind.POINTS: len}[kind](answer) if kind is not Kind.MASK else None,
            pixels=rows.shape[0] * rows.shape[1],
            seconds=seconds,
            trust=doubts.trust,
        )

    def _objects(self, image: Input, rows: AnyRows, answer: NDArray[Any], formats: Sequence[str]) -> dict[str, Any]:
        """Write the objects of an answer in further formats, and return what goes into files about all images."""
        files = {name: self._outputs.objects_file(name, image.stem) for name in formats if name in object_files.FILES}
        with ExitStack() as stack:
            writers = [
                stack.enter_context(make(files[name])) for name, make in object_files.WRITERS.items() if name in files
            ]
            if _output(self._pipeline) is Kind.POINTS:
                for writer in writers:
                    writer.add_points(answer)
                return {}
            if not files and not self._outputs.whole:
                return {}
            measured = self._outputs.measured
            objects = AnswerObjects(self._layers(answer), rows if measured else None)
            sides_um = sides_in_um(image.pixel_size)
            classes = isinstance(self._pipeline, ClassPipeline)
            table = stack.enter_context(TablePart(image.stem, sides_um, classes=classes)) if measured else None
            coco = stack.enter_context(CocoPart(rows.shape)) if COCO in formats else None
            takers = [taker for taker in (*writers, table, coco) if taker is not None]
            for found in objects if takers else ():
                for taker in takers:
                    taker.add(found)
                if not _fits_memory(rows):
                    self._show_share(image.stem, _UNTIL_OBJECTS, found.number / len(objects))
            if LABELS in files:
                write_label_image(files[LABELS], objects, sides_um)
            return {"table": table, "coco": coco}

    def _show_share(self, stem: str, begun: float, share: float) -> None:
        """Tell how far a part of the work on a large image is, which begins at a share of the whole."""
        parts = bool(self._outputs.formats) or self._outputs.measured
        self._on_progress(stem, begun + share * (_UNTIL_OBJECTS if parts else 1.0))

    def _layers(self, answer: NDArray[Any]) -> list[Layer]:
        if isinstance(self._pipeline, ClassPipeline):
            return [Layer(answer == part.value, part.value, part.name) for part in self._pipeline.parts]
        return [Layer(answer)]

    def _answered(self, rows: AnyRows, target: Applied) -> tuple[NDArray[Any], float, "_Doubts"]:
        """Return the answer for an image, the time in s that the pipelines took, and what is in doubt."""
        doubts = _Doubts(target.distance, pictured=self._outputs.doubt is not None)
        seconds = 0.0

        def run(pipeline: Pipeline) -> NDArray[Any]:
            nonlocal seconds
            start = perf_counter()
            answer, plane = self._run(pipeline, rows, target.stem)
            answer = _found_in(rows, answer)
            seconds += perf_counter() - start
            if self._others is not None and _is_comparable(pipeline, self._others):
                doubts.add(self._opinions(pipeline, answer, plane, rows))
            return answer

        answer = run(self._pipeline) if isinstance(self._pipeline, Pipeline) else self._pipeline.combined(run)
        return answer, seconds, doubts

    def _run(self, pipeline: Pipeline, rows: AnyRows, stem: str) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Return the answer for an image, a large one's band by band, and the plane of a network if that is needed."""
        on_progress = partial(self._show_share, stem, 0.0)
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
            opinions.add_plane(_found_in(rows, plane))
        for other in others.pipelines:
            opinions.add(_found_in(rows, _run_whole_or_in_bands(other, rows)))
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


def _count(labels: NDArray[Any]) -> int:
    """Return how many objects are left: unknown pixels may have taken whole ones."""
    there = np.zeros(int(labels.max()) + 1, bool)
    for row in labels:  # all at once would take three times the memory of a large image
        there[row] = True
    return int(np.count_nonzero(there[1:]))


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
    # A result of a huge image is as large: what an earlier call could write can be read.
    limits = replace(LIMITS, pixels=max(LIMITS.pixels, image.shape[0] * image.shape[1]), array_bytes=HUGE.array_bytes)
    values = decode_mask(path, read_bytes(path), limits).pixels
    if values.shape != image.shape[:2]:
        here, there = (" x ".join(map(str, shape)) for shape in (values.shape, image.shape[:2]))
        raise DatasetError(
            f"{path}: this result of an earlier call is {here}, but its image is {there}. Delete it, or use "
            "--overwrite (overwrite=True) instead of --skip-existing."
        )
    if isinstance(pipeline, ClassPipeline):
        return values.astype(np.uint8)
    return values.astype(np.int32) if pipeline.output is Kind.LABELS else values > 0


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
        writer.writerow((inert(one.stem), share, count, trust, unfamiliar, distance, inert(one.fault)))
    make_folder(path.absolute().parent)
    with write_atomically(path) as file:
        file.write(lines.getvalue().encode("utf-8", "backslashreplace"))
