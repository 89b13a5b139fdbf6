"""How files are to be read where they leave a choice: page, channels, orientation, and what masks mean."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from evoseg.core.disk import expand
from evoseg.core.errors import DatasetError, SettingsError, legible, unknown
from evoseg.core.transforms import TRANSFORMS
from evoseg.datasets.io.formats import channel_names

_AXES = re.compile(r"[A-Z]{2,8}")
_PAGE = re.compile(r"all|\d{1,9}|[A-Z]=\d{1,9}(,[A-Z]=\d{1,9})*")
_MARK = "# reads: "
_SHOWN = 6

ALL_PAGES = "all"
"""The page that stands for every page."""

HIGHEST_CLASS = 255
"""Class images are 8-bit."""
MOST_CLASSES = 32
"""Beyond this, values are shades of grey rather than classes."""

FIRST_RULES = "first"
"""What `ReadOptions.masks` is for runs made before meanings were recorded: every value above 0 is foreground."""


@dataclass(frozen=True)
class ReadOptions:
    """How image files and masks are read where that leaves a choice; all empty where there is none.

    Attributes
    ----------
    axes : str
        What the axes of a stack are, in its order, such as "CYX": overrides what the file says, if it says anything.
    page : str
        Which page of a stack, counted from 0: "3", or "T=0,Z=3" where there are several axes of pages; "all" makes an
        image of each.
    series : str
        Which image of a file that holds several: its number from 0, its name, or its path in the file. Files that hold
        only one are read without it.
    channel : str
        Which channels of an image: a number from 0 or a name, or several with commas between.
    value : int
        Which value of the masks is foreground; 0 for all above 0.
    exif : str
        "ignore" reads pictures as they are stored; "turn" reads them turned upright, which is also the default, but
        records that it was chosen.
    classes : str
        Which classes of annotated outlines are objects, by name, with commas between; all if empty.
    masks : str
        What the values of the masks mean, as `evoseg.datasets.meaning.Meaning.text` has it; "" until that is decided. A
        run records it, so that later rules do not move it; one that recorded nothing is read by `FIRST_RULES`.
    transform : str
        What moves the second image of a pair against the first: "shift", "rigid" or "affine"; "" is what the table of
        true transforms can hold, or else a shift.
    bad_pixels : str
        Absolute path of a mask of pixels that are unknown in every image, of their size; "" is what lies beside them.
    """

    axes: str = ""
    page: str = ""
    channel: str = ""
    value: int = 0
    exif: str = ""
    classes: str = ""
    masks: str = ""
    series: str = ""
    transform: str = ""
    bad_pixels: str = ""

    def __post_init__(self) -> None:
        """Raise if an option has an invalid value.

        Raises
        ------
        SettingsError
        """
        axes, page, value = self.axes, self.page, self.value
        words = {name: word for name, word in asdict(self).items() if name != "value"}
        for name, word in words.items():
            if not isinstance(word, str):
                raise SettingsError(f"{name} is {word!r}; it must be text.")
        if axes and (not _AXES.fullmatch(axes) or len(set(axes)) < len(axes) or not {"Y", "X"} <= set(axes)):
            raise SettingsError(f"axes is '{axes}'; it must be one capital letter per axis, Y and X among them: CYX.")
        if page and not _PAGE.fullmatch(page):
            raise SettingsError(f"page is '{page}'; it must be a number from 0, one per axis (T=0,Z=3), or all.")
        if self.exif not in ("", "ignore", "turn"):
            raise SettingsError(f"exif is '{self.exif}'; it must be ignore (as stored) or turn (upright).")
        if self.transform and self.transform not in TRANSFORMS:
            raise SettingsError(unknown("transform", self.transform, TRANSFORMS))
        if type(value) is not int or not 0 <= value <= HIGHEST_CLASS:
            raise SettingsError(f"value is {value!r}; classes are whole numbers from 1 to {HIGHEST_CLASS}.")

    def __bool__(self) -> bool:
        """Return whether anything is chosen."""
        return self != DEFAULT_OPTIONS

    def or_else(self, other: "ReadOptions") -> "ReadOptions":
        """Return these options, with those that are empty taken from others."""
        return ReadOptions(
            **{field.name: getattr(self, field.name) or getattr(other, field.name) for field in fields(self)}
        )

    @property
    def of_images(self) -> "ReadOptions":
        """This without what is said of the files of one dataset: how other images are to be read."""
        return replace(self, masks="", classes="", bad_pixels="")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The chosen classes."""
        return tuple(name.strip() for name in self.classes.split(",") if name.strip())

    @classmethod
    def recorded(cls, words: Mapping[str, Any]) -> "ReadOptions":
        """Return what a run recorded; one that says nothing of masks was made under the first rules."""
        return cls(**{"masks": FIRST_RULES, **words})

    def mark(self) -> str:
        """Return the line by which a pipeline's file remembers this; "" if nothing is chosen."""
        return f"{_MARK}{json.dumps(self.of_images.chosen)}\n" if self.of_images else ""

    @property
    def chosen(self) -> dict[str, str | int]:
        """What is chosen, by its name."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name))}

    @classmethod
    def marked(cls, text: str) -> "ReadOptions":
        """Return what a pipeline's text remembers; nothing if it has no such line, or one that cannot be read."""
        line = next((line for line in text.splitlines() if line.startswith(_MARK)), _MARK + "{}")
        try:
            return cls(**json.loads(line[len(_MARK) :]))
        except (ValueError, TypeError, RecursionError) as error:
            raise DatasetError(
                f"the line '{line[:80]}' does not say how images are read. Correct or remove it."
            ) from error

    def __str__(self) -> str:
        words = {"series": self.series, "axes": self.axes, "page": self.page, "channel": self.channel}
        said = [f"{name} {value}" for name, value in words.items() if value]
        said += ["turns by EXIF ignored"] if self.exif == "ignore" else []
        said += [f"classes {self.classes}"] if self.classes else []
        said += [f"transform {self.transform}"] if self.transform else []
        said += [f"bad pixels of {self.bad_pixels}"] if self.bad_pixels else []
        return ", ".join([*said, *([f"masks equal to {self.value}"] if self.value else [])])


DEFAULT_OPTIONS = ReadOptions()


def absolute_path(path: str | Path | None) -> str:
    """Return a path as `ReadOptions` has it, "" for none."""
    return "" if path is None else str(expand(path).absolute())


@dataclass(frozen=True)
class PixelLayout:
    """Where the rows, columns and channels of an image lie in a file, and its page in a stack.

    Attributes
    ----------
    axes : str
        One letter per axis of the file: Y, X, C for channels or S for colours, and others along which pages lie.
    shape : tuple of int
        Their sizes.
    page : mapping of str to int
        The chosen place along each axis of pages.
    """

    axes: str
    shape: tuple[int, ...]
    page: Mapping[str, int]

    @property
    def channel(self) -> str:
        """The axis of channels, "" if there is none."""
        return next((axis for axis in self.axes if axis in "CS"), "")

    @property
    def depth(self) -> int:
        """The number of channels, alpha included."""
        return self.size(self.channel) if self.channel else 1

    @property
    def pages(self) -> tuple[tuple[str, int], ...]:
        """The axes along which pages lie, with how many there are."""
        return tuple((axis, self.size(axis)) for axis in self.page)

    def size(self, axis: str) -> int:
        """Return the length along an axis."""
        return self.shape[self.axes.index(axis)]

    def index(self, axes: str = "") -> tuple[int | slice, ...]:
        """Return what picks the page from an array with these axes (default: all of them)."""
        return tuple(self.page.get(axis, slice(None)) for axis in axes or self.axes)

    def arrange(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Bring the pixels of the page to shape (M, N, C) and to the byte order of this machine."""
        kept = [axis for axis in self.axes if axis not in self.page]
        pixels = pixels.transpose([kept.index(axis) for axis in f"YX{self.channel}"])
        pixels = pixels if self.channel else pixels[..., None]
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def lay_out(where: object, axes: str, shape: Sequence[int], reading: ReadOptions) -> PixelLayout:
    """Return how the axes of a file are to be read: its own, or of a stack the ones that were named.

    Raises
    ------
    DatasetError
        If not as many are named, some are not read, or a stack's page is not named or not there.
    """
    if reading.axes and pages_in(axes):
        if len(reading.axes) != len(axes):
            raise DatasetError(
                f"{where}: {_sizes(axes, shape)} are {len(axes)} axes, but {reading.axes} names {len(reading.axes)}. "
                "Name every axis."
            )
        axes = reading.axes
    if not {"Y", "X"} <= set(axes) or {"C", "S"} <= set(axes):
        raise DatasetError(
            f"{where}: axes {axes} of {' x '.join(map(str, shape))} are not read; rows Y, columns X, channels C "
            "or colours S, and pages are. Save one image per file, or channels with axes CYX."
        )
    return PixelLayout(axes, tuple(shape), page_index(where, axes, shape, reading))


def pages_in(axes: str) -> str:
    """Return the axes along which pages lie: those that are neither rows, columns nor channels."""
    return "".join(axis for axis in axes if axis not in "YXCS")


def page_index(where: object, axes: str, shape: Sequence[int], reading: ReadOptions) -> Mapping[str, int]:
    """Return the place of the chosen page along each axis of pages; {} if there is only one page.

    Of all pages, the first stands for the others.

    Raises
    ------
    DatasetError
        If a stack's page is not named, or not there.
    """
    pages = pages_in(axes)
    if not pages:
        return {}
    sizes = {axis: shape[axes.index(axis)] for axis in pages}
    if reading.page == ALL_PAGES:
        return dict.fromkeys(pages, 0)
    if not reading.page:
        every = ",".join(f"{axis}=0" for axis in pages) if len(pages) > 1 else "0"
        raise DatasetError(
            f"{where}: several pages with axes {_sizes(axes, shape)}. Name the page to read, as in --page {every} "
            "(page: in dataset.yaml), or take each page as an image: --page all. If its pages are channels, name its "
            "axes: --axes CYX (axes:)."
        )
    if reading.page.isdigit() and len(pages) > 1:
        raise DatasetError(
            f"{where}: page {reading.page} of axes {_sizes(axes, shape)} could be along {' or '.join(pages)}. Say "
            f"--page {','.join(f'{axis}={reading.page if axis == pages[-1] else 0}' for axis in pages)}."
        )
    named = [(pages, reading.page)] if reading.page.isdigit() else [item.split("=") for item in reading.page.split(",")]
    chosen = {axis: int(number) for axis, number in named}
    if set(chosen) != set(pages):
        raise DatasetError(
            f"{where}: page {reading.page} names {', '.join(chosen)}; the file's pages lie along {', '.join(pages)}."
        )
    for axis, number in chosen.items():
        if number >= sizes[axis]:
            raise DatasetError(f"{where}: no page {number} along {axis}; there are {sizes[axis]}, counted from 0.")
    return chosen


def choose_series(where: object, names: Sequence[str], reading: ReadOptions) -> int:
    """Return the place of the chosen one of the images in a file; 0 if it holds only one.

    Parameters
    ----------
    names : sequence of str
        What the images are called, "" for those without a name.

    Raises
    ------
    DatasetError
        If there is none, or there are several of which none is named, or not by a name that is there.
    """
    if not names:
        raise DatasetError(f"{where}: holds no image. Is it the right file?")
    if len(names) == 1:
        return 0
    wanted = reading.series.strip("/")
    called = [name.strip("/") for name in names]
    if wanted in called and wanted:
        return called.index(wanted)
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    listed = ", ".join(name or str(i) for i, name in enumerate(names[:_SHOWN])) + (", ..." * (len(names) > _SHOWN))
    missing = f" none of which is called {legible(reading.series)}" if wanted else ""
    raise DatasetError(
        f"{where}: holds {len(names)} images ({listed}),{missing or ' of which one is to be read'}. Name it, as in "
        f"--series {names[0] or 0} (series: in dataset.yaml)."
    )


def channel_indices(where: object, names: Sequence[str], labels: Sequence[str], reading: ReadOptions) -> list[int]:
    """Return the places of the chosen channels; of all if none is named.

    Parameters
    ----------
    names, labels : sequence of str
        What channels are called here, and in the file.

    Raises
    ------
    DatasetError
        If a channel is not there, or a name stands for two.
    """
    if not reading.channel:
        return list(range(len(names)))
    return [_channel(where, word.strip(), names, labels) for word in reading.channel.split(",")]


def _channel(where: object, word: str, names: Sequence[str], labels: Sequence[str]) -> int:
    if word.isdecimal() and int(word) < len(names):
        return int(word)
    # Names may be numbers, too, such as wavelengths.
    places = [i for i, pair in enumerate(zip(names, labels or names, strict=True)) if word in pair]
    if not places and word.isdecimal():
        raise DatasetError(f"{where}: no channel {word}; there are {len(names)}, counted from 0.")
    if not places:
        raise DatasetError(f"{where}: {unknown('channel', word, [*labels, *names])}")
    if len(places) > 1:
        raise DatasetError(f"{where}: {len(places)} channels are called {word}. Name it by its number, from 0.")
    return places[0]


def name_channels(names: tuple[str, ...], indices: Sequence[int]) -> tuple[str, ...]:
    """Return what the chosen channels are called: as before if all are, else gray, or C1 C2 ..."""
    return names if list(indices) == list(range(len(names))) else channel_names(len(indices), colour=False)


def _sizes(axes: str, shape: Sequence[int]) -> str:
    return f"{axes} of {' x '.join(map(str, shape))}"
