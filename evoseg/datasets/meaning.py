"""What the values or colours of a dataset's masks mean, and what turns their pixels into numbers by it.

The numbers are those that the rest of evoseg knows: 0 for background, above 0 for foreground, a class or an object,
below 0 for pixels to leave out. `evoseg.datasets.maskrules` decides what masks mean.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError
from evoseg.datasets.io.files import StoredMask
from evoseg.datasets.maskstats import grey_to_rgb, pack_rgb, part_pieces, snap_to_nearest
from evoseg.datasets.reading import FIRST_RULES

BINARY, INSTANCES, CLASSES = "binary", "instances", "classes"

IGNORED = -1
"""Number of pixels to leave out."""


@dataclass(frozen=True)
class Meaning:
    """How the pixels of stored masks become labels.

    Attributes
    ----------
    first : bool
        By the rules of runs that recorded no meaning: each file by itself, everything above 0.
    colours : bool
        Keys are colours; else values.
    palette : str
        Whether palette masks are read by "index" or, where they are grey, by "level".
    threshold : float or None
        Values from here on are 1, others 0; with `below` the other way round.
    numbers : tuple of (key, number)
        What becomes of single keys.
    rest : int or None
        What becomes of all others; None if they keep their value (of colours, a number of their own).
    nearest : bool
        Colours that are not listed count as the nearest listed one.
    part_from : int or None
        Masks with at least as many different numbers have pieces of one number parted where they lie far apart.
    task : str
        The task that the masks suggest.
    names : tuple of str
        Of the classes 1, 2 ..., if colours or outlines tell them; "" for a number that is no class.
    traced : bool
        Outlines run through the centres of pixels that belong to their objects, instead of along their edges.
    """

    first: bool = False
    colours: bool = False
    palette: str = "index"
    threshold: float | None = None
    below: bool = False
    numbers: tuple[tuple[float, int], ...] = ()
    rest: int | None = None
    nearest: bool = False
    part_from: int | None = None
    task: str = BINARY
    names: tuple[str, ...] = ()
    traced: bool = False

    def __post_init__(self) -> None:
        """Bring keys and numbers to the types that a record gives them."""
        object.__setattr__(self, "numbers", tuple((float(key), int(number)) for key, number in self.numbers))

    @property
    def plain(self) -> bool:
        """Whether every pixel keeps its value."""
        changed = self.first or self.colours or self.numbers or self.part_from is not None or self.rest is not None
        return not changed and self.threshold is None

    @cached_property
    def text(self) -> str:
        """All of it as one line of JSON, for the record of a run."""
        if self.first:
            return FIRST_RULES
        default = asdict(Meaning())
        return json.dumps({key: value for key, value in asdict(self).items() if value != default[key]})

    @classmethod
    def recorded(cls, text: str) -> "Meaning":
        """Return what a run recorded.

        Raises
        ------
        DatasetError
            If this version does not understand it.
        """
        if text == FIRST_RULES:
            return cls(first=True)
        try:
            words = json.loads(text)
            return cls(**words | {name: tuple(words.get(name, ())) for name in ("numbers", "names")})
        except (ValueError, TypeError, AttributeError) as error:
            raise DatasetError(
                f"what the run says about its masks ('{text[:60]}') is not understood here. Use the version of evoseg "
                "that the run was made with."
            ) from error

    def signed(self, digest: str) -> str:
        """Return the checksum of a mask read so; that of its file if its pixels keep their values."""
        if self.plain or self.first:
            return digest
        return sha256(f"{digest} {self.text}".encode()).hexdigest()

    def keys(self, stored: StoredMask) -> NDArray[Any]:
        """Return values or colours, shape (M, N), as this meaning takes them."""
        pixels, table = stored.pixels, stored.table
        if table is not None and int(pixels.max(initial=0)) >= len(table):
            raise DatasetError(f"{stored.where}: a palette index is beyond the palette's {len(table)} colours.")
        if self.colours:
            if table is not None:
                return np.asarray(pack_rgb(table)[pixels])
            return pixels if stored.colours else grey_to_rgb(pixels)
        if stored.colours:
            raise DatasetError(f"{stored.where}: holds colours, but the masks of this dataset are read by values.")
        if table is not None and self.palette == "level":
            return np.asarray(table[:, 0][pixels])
        return _whole(pixels)

    def values(self, stored: StoredMask) -> NDArray[Any]:
        """Return the numbers of a mask, shape (M, N): background 0, left out below 0.

        Raises
        ------
        DatasetError
            If the mask cannot be read so.
        """
        keys = self.keys(stored)
        if self.plain:
            return keys
        listed = np.array([key for key, _ in self.numbers])
        numbers = np.array([number for _, number in self.numbers], np.int32)
        if self.nearest:
            keys = snap_to_nearest(keys, listed)
        if self.threshold is not None:
            found = ((keys < self.threshold) if self.below else (keys >= self.threshold)).astype(np.int32)
        elif self.rest is not None:
            found = np.full(keys.shape, self.rest, np.int32)
        else:
            found = (keys + 1 if self.colours else keys).astype(np.int32)
        if len(listed):
            order = np.argsort(listed)
            place = np.minimum(np.searchsorted(listed[order], keys), len(listed) - 1)
            said = listed[order][place] == keys
            found[said] = numbers[order][place][said]
        if self.part_from is not None and len(np.unique(found[found > 0])) >= self.part_from:
            found = part_pieces(found)
        return found


class Row(NamedTuple):
    """One line of the table of what masks mean."""

    value: str
    taken_for: str
    share: float
    why: str


@dataclass(frozen=True)
class Decision:
    """What the masks of a dataset mean, and the reasons.

    Attributes
    ----------
    meaning : Meaning
    rows : tuple of Row
        The meaning of each value or colour.
    why : str
        The reason for the task.
    certain : bool
        False if the task was read off the pixels.
    warnings : tuple of str
    unclear : str
        The message if the masks can be read in more than one way; "" if not.
    """

    meaning: Meaning
    rows: tuple[Row, ...] = ()
    why: str = "the masks hold one value"
    certain: bool = True
    warnings: tuple[str, ...] = ()
    unclear: str = ""


def _whole(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return floats that are all whole as whole numbers, and anything else as it is."""
    if pixels.dtype.kind == "f" and (pixels == np.round(pixels)).all() and np.abs(pixels).max(initial=0) < 2**31:
        return pixels.astype(np.int32)
    return pixels
