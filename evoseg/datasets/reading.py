"""How files are to be read where they leave a choice: page, channels, orientation, and what masks mean."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from evoseg.core.errors import DatasetError, SettingsError, unknown
from evoseg.datasets.io.formats import channel_names

_AXES = re.compile(r"[A-Z]{2,8}")
_PAGE = re.compile(r"\d{1,9}|[A-Z]=\d{1,9}(,[A-Z]=\d{1,9})*")
_MARK = "# reads: "

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
        Which page of a stack, counted from 0: "3", or "T=0,Z=3" where there are several axes of pages.
    channel : str
        Which channels of an image: a number from 0 or a name, or several with commas between.
    value : int
        Which value of the masks is foreground; 0 for all above 0.
    exif : str
        "ignore" reads pictures as they are stored; "turn" reads them turned upright, which is also the default, but
        records that it was chosen.
    masks : str
        What the values of the masks mean, as `evoseg.datasets.meaning.Meaning.text` has it; "" until that is decided. A
        run records it, so that later rules do not move it; one that recorded nothing is read by `FIRST_RULES`.
    """

    axes: str = ""
    page: str = ""
    channel: str = ""
    value: int = 0
    exif: str = ""
    masks: str = ""

    def __post_init__(self) -> None:
        """Raise if an option has an invalid value.

        Raises
        ------
        SettingsError
        """
        axes, page, value = self.axes, self.page, self.value
        words = {"axes": axes, "page": page, "channel": self.channel, "exif": self.exif, "masks": self.masks}
        for name, word in words.items():
            if not isinstance(word, str):
                raise SettingsError(f"{name} is {word!r}; it must be text.")
        if axes and (not _AXES.fullmatch(axes) or len(set(axes)) < len(axes) or not {"Y", "X"} <= set(axes)):
            raise SettingsError(f"axes is '{axes}'; it must be one capital letter per axis, Y and X among them: CYX.")
        if page and not _PAGE.fullmatch(page):
            raise SettingsError(f"page is '{page}'; it must be a number from 0, or one per axis: T=0,Z=3.")
        if self.exif not in ("", "ignore", "turn"):
            raise SettingsError(f"exif is '{self.exif}'; it must be ignore (as stored) or turn (upright).")
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
        """This without what is said of the masks of one dataset: how other images are to be read."""
        return replace(self, masks="")

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
        except (ValueError, TypeError) as error:
            raise DatasetError(
                f"the line '{line[:80]}' does not say how images are read. Correct or remove it."
            ) from error

    def __str__(self) -> str:
        words = {"axes": self.axes, "page": self.page, "channel": self.channel}
        said = [f"{name} {value}" for name, value in words.items() if value]
        said += ["turns by EXIF ignored"] if self.exif == "ignore" else []
        return ", ".join([*said, *([f"masks equal to {self.value}"] if self.value else [])])


DEFAULT_OPTIONS = ReadOptions()


def stack_axes(where: object, axes: str, shape: Sequence[int], reading: ReadOptions) -> str:
    """Return the axes of a file: its own, or of a stack the ones that were named.

    Raises
    ------
    DatasetError
        If there are not as many.
    """
    if not reading.axes or not pages_in(axes):
        return axes
    if len(reading.axes) != len(axes):
        raise DatasetError(
            f"{where}: {_sizes(axes, shape)} are {len(axes)} axes, but {reading.axes} names {len(reading.axes)}. Name "
            "as many."
        )
    return reading.axes


def pages_in(axes: str) -> str:
    """Return the axes along which pages lie: those that are neither rows, columns nor channels."""
    return "".join(axis for axis in axes if axis not in "YXCS")


def page_index(where: object, axes: str, shape: Sequence[int], reading: ReadOptions) -> Mapping[str, int]:
    """Return the place of the chosen page along each axis of pages; {} if there is only one page.

    Raises
    ------
    DatasetError
        If a stack's page is not named, or not there.
    """
    pages = pages_in(axes)
    if not pages:
        return {}
    sizes = {axis: shape[axes.index(axis)] for axis in pages}
    if not reading.page:
        every = ",".join(f"{axis}=0" for axis in pages) if len(pages) > 1 else "0"
        raise DatasetError(
            f"{where}: several pages with axes {_sizes(axes, shape)}. Name the page to read, as in --page {every} "
            "(page: in dataset.yaml), or if its pages are channels, its axes: --axes CYX (axes:)."
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
