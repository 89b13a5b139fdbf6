"""List the images that files and folders hold; each is read when its turn comes."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import expand
from evoseg.core.errors import DatasetError
from evoseg.core.untrusted import within
from evoseg.datasets.card import read_card
from evoseg.datasets.dataset import assemble
from evoseg.datasets.folder import Folder, scan
from evoseg.datasets.imageformat import size_text
from evoseg.datasets.io.files import decode_picture, list_pages, read_header, upright_pixel_size
from evoseg.datasets.io.formats import FORMATS, explain_errors, is_image_folder, read_bytes
from evoseg.datasets.io.tiff_rows import HUGE, TiffRows, is_huge
from evoseg.datasets.layouts.base import folders as inner_folders
from evoseg.datasets.layouts.base import image_folders, is_image, stem_of
from evoseg.datasets.layouts.subfolders import PLAIN_LAYOUT
from evoseg.datasets.reading import ALL_PAGES, DEFAULT_OPTIONS, ReadOptions
from evoseg.datasets.sources import BadPixels, FolderSource, channels_of, mismatches
from evoseg.inference.result_stacks import Page
from evoseg.pipeline.running import ArrayRows
from evoseg.runs.run_folder import FilesError

logger = logging.getLogger(__name__)

AnyRows = ArrayRows | TiffRows


@dataclass(frozen=True, eq=False)
class PartlyKnownRows(ArrayRows):
    """An image in memory, and where, bool (M, N), it was NaN or bad: there is nothing to be found."""

    unknown: NDArray[np.bool_]


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
    page : Page or None
        Where it is from, if it is one of all pages of a stack.
    reading : str
        How its files are read, in words.
    planes : tuple of Path
        Files of further channels, and of what else is the same for all images.
    """

    stem: str
    path: Path
    read: Callable[[], AnyRows]
    names: Callable[[], tuple[str, ...]]
    pixel_size: str = ""
    file_pixel_size: Callable[[], str] = lambda: ""
    page: Page | None = None
    reading: str = ""
    planes: tuple[Path, ...] = ()

    def below(self, start: str) -> "Input":
        """Return the image with something before its names."""
        page = None if self.page is None else replace(self.page, stack=start + self.page.stack)
        return replace(self, stem=start + self.stem, page=page)

    @property
    def name(self) -> str:
        """The name of its file, with the folders that are kept; each page of a stack has its own."""
        if self.page is not None:
            return f"{self.stem}{self.path.name.removeprefix(stem_of(self.path.name))}"
        return f"{self.stem.rpartition('/')[0]}/{self.path.name}".removeprefix("/")

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that it is read from."""
        return (self.path, *self.planes)

    @property
    def how(self) -> str:
        """What, besides the files, decides what is written for it: how they are read, and what the card says."""
        return ", ".join(filter(None, (self.reading, self.pixel_size and f"pixels of {self.pixel_size}")))

    def size_of_pixels(self) -> str:
        """Return the pixel size by the card, or else by the file."""
        return self.pixel_size or self.file_pixel_size()


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
        Its bad pixels are read at once, as all images need them.
    recursive : bool
        Whether to look into subfolders; names then begin with the folders on the way.
    besides : Path, optional
        A folder that is left out: the one for the answers may lie among the images.

    Raises
    ------
    FilesError
        If a path does not exist, no image is found, or two images have the same name.
    DatasetError
        If the file of bad pixels cannot be used.
    """
    paths = [expand(source) for source in sources]
    folders = [path for path in paths if path.is_dir() and not is_image_folder(path)]
    bad_pixels = BadPixels.from_file(Path(reading.bad_pixels), reading) if reading.bad_pixels else None
    found: list[Input] = []
    for path in paths:
        if not path.exists():
            raise FilesError(f"{path}: no such file or folder.")
        if path not in folders:
            found += _file(path, reading, bad_pixels)
        elif recursive:
            start = f"{path.resolve().name}/" if len(folders) > 1 else ""
            found += _below(path, start, reading, bad_pixels, besides)
        else:
            found += _in_folder(path, reading, bad_pixels)
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


def _in_folder(source: Path, reading: ReadOptions, bad_pixels: BadPixels | None) -> list[Input]:
    """List the images of a dataset, whatever its layout, or those that lie in a folder, beside bad_pixels.* or not."""
    folder, card = scan(source), read_card(source / "dataset.yaml")
    reading = reading.or_else(card.reading)
    if folder.images and (folder.planes or folder.bad_pixels is not None):
        return [replace(image, pixel_size=card.pixel_size) for image in _with_planes(folder, reading)]
    if folder.images and folder.layout not in ("", PLAIN_LAYOUT.name):
        if folder.problems:
            logger.warning("%s: errors in this dataset may exclude images; `evoseg check` lists them", source)
        named = list(folder.images.items())
    else:
        inner = image_folders(source)
        files = _image_files(inner[0] if len(inner) == 1 else source)
        if bad_pixels is None and folder.bad_pixels is not None:
            bad_pixels = BadPixels.from_file(folder.bad_pixels, reading)
        maps = [path.resolve() for path in (folder.bad_pixels, bad_pixels and bad_pixels.path) if path]
        named = [("", path) for path in files if path.resolve() not in maps]
    if outside := [path for _, path in named if not within(path, source)]:
        raise DatasetError(
            f"{outside[0]}: a link out of the folder {source}, as are {len(outside)} of its {len(named)} images. Copy "
            "the files, or name them instead of the folder."
        )
    found = [image for stem, path in named for image in _file(path, reading, bad_pixels, stem)]
    return [replace(image, pixel_size=card.pixel_size) for image in found]


def _below(
    source: Path, start: str, reading: ReadOptions, bad_pixels: BadPixels | None, besides: Path | None
) -> list[Input]:
    """List the images of a folder and of all below it; `start` is what their names begin with."""
    found = [image.below(start) for image in _in_folder(source, reading, bad_pixels)]
    here = {image.path.parent.resolve() for image in found}
    if found and here != {source.resolve()}:
        return found  # a dataset: its other folders hold masks and the like
    for folder in _subfolders(source, besides):
        found += _below(folder, f"{start}{folder.name}/", reading, bad_pixels, besides)
    return found


def _subfolders(folder: Path, besides: Path | None) -> list[Path]:
    """Return the folders within a folder, links and hidden ones left out, so that there is an end to them."""
    left_out = None if besides is None else besides.resolve()
    inner = (path for path in inner_folders(folder) if not path.is_symlink())
    return sorted(path for path in inner if path.resolve() != left_out)


def _image_files(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if is_image(path))
    return sorted(path for path in found if path.is_file() or is_image_folder(path))


def _file(path: Path, reading: ReadOptions, bad_pixels: BadPixels | None, stem: str = "") -> list[Input]:
    """List the image in a file, or every page of it as one."""
    stem = stem or stem_of(path.name)
    pages: Mapping[str, ReadOptions] = {}
    if reading.page == ALL_PAGES:
        with suppress(DatasetError):  # it will be named when its turn comes
            pages = list_pages(path, reading)
    if not pages:
        return [_input(stem, path, _read, reading, bad_pixels)]
    return [
        replace(_input(f"{stem}_{ending}", path, _read_page, page, bad_pixels), page=Page(stem, page.page))
        for ending, page in pages.items()
    ]


def _input(
    stem: str,
    path: Path,
    read: Callable[[Path, ReadOptions, BadPixels | None], AnyRows],
    reading: ReadOptions,
    bad_pixels: BadPixels | None,
) -> Input:
    return Input(
        stem,
        path,
        partial(read, path, reading, bad_pixels),
        partial(_names, path, reading),
        file_pixel_size=partial(_pixel_size, path, reading),
        reading=str(reading.of_images),
        planes=() if bad_pixels is None else (bad_pixels.path,),
    )


def _names(path: Path, reading: ReadOptions) -> tuple[str, ...]:
    """Return what the channels of a file are called, by itself if it says so."""
    header = read_header(path, HUGE, reading)
    return header.labels or header.names


def _pixel_size(path: Path, reading: ReadOptions) -> str:
    return size_text(upright_pixel_size(read_header(path, HUGE, reading), reading))


def _read(path: Path, reading: ReadOptions, bad_pixels: BadPixels | None) -> AnyRows:
    if not is_huge(path, reading):
        return _rows(path, read_bytes(path), reading, bad_pixels)
    if bad_pixels is not None:
        raise DatasetError(
            f"{path}: images of this size are read in strips, and bad pixels are not filled in these. Cut it into "
            "tiles, or go without bad pixels."
        )
    return TiffRows(path, reading)


def _read_page(path: Path, reading: ReadOptions, bad_pixels: BadPixels | None) -> AnyRows:
    """Return a page of a stack, whose bytes are kept for the next page."""
    with explain_errors(path):
        changed_ns = path.stat().st_mtime_ns
    return _rows(path, _stack_bytes(path, changed_ns), reading, bad_pixels)


def _rows(path: Path, data: bytes, reading: ReadOptions, bad_pixels: BadPixels | None) -> ArrayRows:
    found = decode_picture(path, data, reading=reading)
    image, unknown = found.image, found.unknown
    if bad_pixels is not None:
        image, unknown = bad_pixels.fill(path, image, unknown)
    return ArrayRows(image) if unknown is None else PartlyKnownRows(image, unknown)


def forget_stack() -> None:
    """Let go of the bytes of the stack that was read last."""
    _stack_bytes.cache_clear()


@lru_cache(maxsize=1)
def _stack_bytes(path: Path, changed_ns: int) -> bytes:
    return read_bytes(path)


def _with_planes(folder: Folder, reading: ReadOptions) -> list[Input]:
    """List the images of a dataset whose planes are channels, too; it needs no masks."""
    source = FolderSource(folder, reading)
    channels = channels_of(source, source.stems)
    bad_pixels = () if source.folder.bad_pixels is None else (source.folder.bad_pixels,)
    return [
        Input(
            stem,
            source.folder.images[stem],
            partial(_assembled, source, stem, channels),
            lambda: channels,
            file_pixel_size=partial(_pixel_size, source.folder.images[stem], reading),
            reading=str(source.reading.of_images),
            planes=(*(files[stem] for files in source.folder.planes.values() if stem in files), *bad_pixels),
        )
        for stem in source.stems
    ]


def _assembled(source: FolderSource, stem: str, channels: tuple[str, ...]) -> ArrayRows:
    names = ("image", *(f"planes/{name}" for name in source.planes))
    if missing := [part for part in names if not source.has(part, stem)]:
        raise DatasetError(f"{source.where('image', stem)}: has no file in {missing[0]}/. Add it.")
    parts = {part: source.read(part, stem) for part in names}
    if faults := mismatches(parts):
        raise DatasetError(faults[0])
    sample = assemble(stem, parts, channels)
    return ArrayRows(sample.image) if sample.known is None else PartlyKnownRows(sample.image, ~sample.known)
