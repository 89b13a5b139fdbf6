"""Apply a pipeline to image files and write masks and pictures of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from numpy.typing import NDArray

from evoseg.app.pipelines import check_channels
from evoseg.app.runs import FilesError, make_folder, refuse_existing
from evoseg.base.errors import DatasetError, EvosegError, PipelineError
from evoseg.base.kinds import Kind
from evoseg.base.writing import whole_file
from evoseg.data.agreement import channels_of, mismatches
from evoseg.data.dataset import assemble
from evoseg.data.files import read_header, read_image, write_labels, write_mask
from evoseg.data.folder import scan, stem_of
from evoseg.data.formats import FORMATS, SUFFIXES
from evoseg.data.objects import points_text
from evoseg.data.sources import FolderSource
from evoseg.pipeline import Pipeline

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
    read : callable () -> array of shape (M, N, C)
    channels : callable () -> int
        C, by the file's header.
    """

    stem: str
    path: Path
    read: Callable[[], NDArray[Any]]
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
    objects : int or None
        How many were found; None for a mask.
    pixels : int
    seconds : float, s
        For the pipeline alone.
    fault : str
        Why there is no mask; "" if there is one.
    """

    stem: str
    answer: Path
    overlay: Path
    share: float = 0.0
    objects: int | None = None
    pixels: int = 0
    seconds: float = 0.0
    fault: str = ""


def inputs(sources: Sequence[str | Path]) -> list[Input]:
    """List the images that files and folders hold.

    A folder with images/ in it counts as a dataset, and its planes/ are added to the channels.

    Raises
    ------
    FilesError
        If a path does not exist, no image is found, or two images have the same stem.
    """
    found = [image for source in sources for image in _images(Path(source).expanduser())]
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
    pipeline: Pipeline, images: Sequence[Input], out: str | Path, *, overwrite: bool = False
) -> Iterator[Applied]:
    """Write the answer for each image, and OUT/overlays/<stem>.png, as they are asked for.

    A mask becomes OUT/masks/<stem>.png (0 and 255), labels become OUT/masks/<stem>.tif (int32), points
    OUT/points/<stem>.csv.

    An image that cannot be read or segmented is reported and the others go on.

    Raises
    ------
    FilesError
        Before anything is written: if an output exists and `overwrite` is False, or the folders cannot be made.
    PipelineError
        If the pipeline gives nothing that can be written, or reads a channel that an image does not have.
    """
    if pipeline.output not in _FILES:
        raise PipelineError(
            f"the pipeline gives a {pipeline.output} value; only masks, objects and points can be written."
        )
    _check_channels(pipeline, images)
    name, ending = _FILES[pipeline.output]
    answers, overlays = Path(out).expanduser() / name, Path(out).expanduser() / "overlays"
    targets = [Applied(i.stem, answers / f"{i.stem}.{ending}", overlays / f"{i.stem}.png") for i in images]
    refuse_existing([path for t in targets for path in (t.answer, t.overlay)], overwrite=overwrite)
    for folder in (answers, overlays):
        make_folder(folder)
    return (_apply(pipeline, image, target) for image, target in zip(images, targets, strict=True))


def _check_channels(pipeline: Pipeline, images: Sequence[Input]) -> None:
    if pipeline.channels == 1:
        return
    found: dict[Path, int] = {}
    for image in images:
        with suppress(DatasetError):  # it will be named when its turn comes
            found[image.path] = image.channels()
    for path, channels in found.items():
        # As in a dataset, a grey image among colour ones has three equal channels.
        grey = channels == 1 and 3 in found.values()
        check_channels(pipeline, 3 if grey else channels, str(path))


def _apply(pipeline: Pipeline, image: Input, target: Applied) -> Applied:
    from evoseg.report.overlays import overlay, rings
    from evoseg.report.sheet import save_png

    try:
        array = image.read()
        start = perf_counter()
        answer: NDArray[Any] = pipeline(array)
        seconds = perf_counter() - start
        _write(pipeline.output, target.answer, answer)
        outlined = rings(answer, array.shape) if pipeline.output is Kind.POINTS else answer
        save_png(overlay(array, outlined), target.overlay)
    except (EvosegError, OSError) as error:
        return replace(target, fault=str(error))
    pixels = array.shape[0] * array.shape[1]
    counted = {Kind.LABELS: lambda: int(answer.max()), Kind.POINTS: lambda: len(answer)}
    objects = counted[pipeline.output]() if pipeline.output in counted else None
    share = 0.0 if pipeline.output is Kind.POINTS else float((answer > 0).mean())
    return replace(target, share=share, objects=objects, pixels=pixels, seconds=seconds)


def _write(kind: Kind, path: Path, answer: NDArray[Any]) -> None:
    if kind is Kind.MASK:
        write_mask(path, answer, overwrite=True)
    elif kind is Kind.LABELS:
        write_labels(path, answer, overwrite=True)
    else:
        with whole_file(path) as file:
            file.write(points_text(answer).encode())


def _images(source: Path) -> list[Input]:
    if source.is_dir():
        if not (source / "images").is_dir():
            return [_file(path) for path in _image_files(source)]
        if (source / "planes").is_dir():
            return _with_planes(source)
        return [_file(path) for path in _image_files(source / "images")]
    if not source.exists():
        raise FilesError(f"{source}: no such file or folder.")
    return [_file(source)]


def _image_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.suffix[1:].lower() in SUFFIXES and not path.name.startswith(".")
    )


def _file(path: Path) -> Input:
    return Input(stem_of(path.name), path, partial(read_image, path), lambda: len(read_header(path).names))


def _with_planes(root: Path) -> list[Input]:
    """List the images of a dataset whose planes are channels, too; it needs no masks."""
    folder = scan(root)
    source = FolderSource(folder)
    channels = channels_of(source, source.stems)
    return [
        Input(stem, folder.images[stem], partial(_assembled, source, stem, channels), lambda: len(channels))
        for stem in source.stems
    ]


def _assembled(source: FolderSource, stem: str, channels: tuple[str, ...]) -> NDArray[Any]:
    parts = {part: source.read(part, stem) for part in ("image", *(f"planes/{name}" for name in source.planes))}
    if faults := mismatches(source, stem, parts):
        raise DatasetError(faults[0])
    return assemble(stem, parts, channels).image
