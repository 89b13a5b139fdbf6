"""Statistics of the pixels of one mask: counts per value or colour, from which their meaning is decided."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evoseg.datasets.io.files import StoredMask

TRANSPARENT = -1
"""What stands for a colour where a mask is transparent."""


def pack_rgb(table: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return colours of shape (n, 3) as numbers."""
    wide = table.astype(np.int32)
    found: NDArray[np.int32] = (wide[:, 0] << 16) | (wide[:, 1] << 8) | wide[:, 2]
    return found


def grey_to_rgb(values: NDArray[Any]) -> NDArray[Any]:
    """Return grey values as colours."""
    found: NDArray[Any] = np.clip(values, 0, 255).astype(np.int64) * 0x010101
    return found


def is_grey(colour: int) -> bool:
    """Return whether red, green and blue are equal."""
    return colour == (colour & 255) * 0x010101


def rgb(key: float) -> NDArray[np.float64]:
    """Return red, green and blue."""
    colour = int(key)
    return np.array([colour >> 16, colour >> 8 & 255, colour & 255], np.float64)


def distance(a: float, b: float) -> float:
    """Return the distance of two colours in RGB."""
    return float(np.linalg.norm(rgb(a) - rgb(b)))


def is_mixture(key: float, mains: Sequence[float], reach: float, ends: float = 0.5) -> bool:
    """Return whether a colour may be a mixture of two others, in at least a share of 1 - `ends` of one of them.

    JPEG stores chroma more coarsely than brightness, so that these mix in different shares.
    """
    real = [0.0 if other == TRANSPARENT else other for other in mains]
    for i, a in enumerate(real):
        for b in real[:i]:
            start, along = _luma_chroma(a), _luma_chroma(b) - _luma_chroma(a)
            off = _luma_chroma(key) - start
            luma = float(np.clip(off[0], min(0, along[0]), max(0, along[0])))
            share = float(np.clip(off[1:] @ along[1:] / max(1.0, float(along[1:] @ along[1:])), 0, 1))
            beside = np.hypot(off[0] - luma, np.linalg.norm(off[1:] - share * along[1:]))
            whole = float(off @ along / max(1.0, float(along @ along)))
            if beside < reach and min(whole, 1 - whole) < ends:
                return True
    return False


def _luma_chroma(key: float) -> NDArray[np.float64]:
    """Return a colour as JPEG stores it, Y, Cb and Cr (ITU-T T.871)."""
    red, green, blue = rgb(key)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.array([luma, (blue - luma) / 1.772, (red - luma) / 1.402])


def snap_to_nearest(keys: NDArray[Any], listed: NDArray[Any]) -> NDArray[Any]:
    """Return colours replaced by the nearest listed one; transparency stays."""
    found, place = np.unique(keys, return_inverse=True)
    colours = np.array([rgb(key) for key in listed if key != TRANSPARENT]).reshape(-1, 3)
    real = np.array([key for key in listed if key != TRANSPARENT], np.int64)
    whole = np.maximum(found, 0).astype(np.int64)
    parts = np.stack([whole >> 16, whole >> 8 & 255, whole & 255], axis=1).astype(np.float64)
    squares = (parts**2).sum(axis=1)[:, None] - 2 * parts @ colours.T + (colours**2).sum(axis=1)
    near = np.where(found == TRANSPARENT, TRANSPARENT, real[np.argmin(squares, axis=1)])
    return near[place].reshape(keys.shape)


Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]

SAMPLED = 48
"""Keys of a mask whose pieces are counted."""
_MOST_KEYS = 4096
"""Floats with more distinct values than this are counted in as many steps."""
_MOST_COLOURS = 4096
"""Colours of a mask that are kept, most frequent first; photographs and JPEG have more."""
WRAPPED = 230
"""Distinct values of an 8-bit mask from which its numbers may have run out."""
_MOST_PIECES = 1000
"""Pieces of one value beyond which they are noise, not objects."""

_COUNTED = ("pixels", "border", "between", "flat", "solid", "pieces", "apart")
"""What is counted per key."""


@dataclass(frozen=True)
class MaskStats:
    """Counts per distinct value, palette index or colour (the key) of a mask, over the pixels that are known.

    Attributes
    ----------
    stored : StoredMask
        Without its pixels.
    dtype : numpy dtype
        Of the pixels.
    keys : array of shape (n,)
        Ascending; whole numbers as int64, others as float64.
    pixels, border : int64 arrays of shape (n,)
        Pixels in all, and in the outermost rows and columns.
    between : int64 array of shape (n,)
        Pixels with both lower and higher values (or brightness) among their eight neighbours, as at soft edges; of
        colours, none.
    flat : int64 array of shape (n,)
        Pixels that resemble at least three of their four neighbours, as inside of regions.
    solid : int64 array of shape (n,)
        Pixels that equal at least two of their four neighbours.
    pieces : int64 array of shape (n,)
        Connected pieces; -1 for keys that were not looked at.
    apart : int64 array of shape (n,)
        Pieces that lie far apart; -1 where that was not looked at.
    n_distinct : int
        Distinct values; more than n where values were counted in steps.
    """

    stored: StoredMask
    dtype: np.dtype[Any]
    keys: NDArray[Any]
    pixels: Counts
    border: Counts
    between: Counts
    flat: Counts
    solid: Counts
    pieces: Counts
    apart: Counts
    n_distinct: int

    @property
    def where(self) -> str:
        """The file."""
        return self.stored.where

    def only(self, kept: Mask) -> "MaskStats":
        """Return the counts of some of the keys."""
        return replace(self, **{name: getattr(self, name)[kept] for name in ("keys", *_COUNTED)})

    def under(self, keys: NDArray[Any]) -> "MaskStats":
        """Return the counts under other keys, several of which may have become equal."""
        found, place = np.unique(keys, return_inverse=True)
        sums: dict[str, Any] = {
            name: np.bincount(place, getattr(self, name), len(found)).astype(np.int64) for name in _COUNTED
        }
        return replace(self, keys=found, **sums)


def mask_stats(stored: StoredMask, known: Mask | None = None) -> MaskStats:
    """Count what a mask holds; `known`, bool of its shape, says which pixels count."""
    values = stored.pixels
    if values.dtype.kind == "f" and (values == np.round(values)).all() and np.abs(values).max(initial=0) < 2**53:
        values = values.astype(np.int64)
    keys, index = _distinct(values)
    n_distinct = len(keys)
    if n_distinct > _MOST_KEYS and keys.dtype.kind == "f":
        step = (keys[-1] - keys[0]) / _MOST_KEYS
        keys, index = _distinct(np.round((values - keys[0]) / step) * step + keys[0])
    n = len(keys)
    counted = np.ones(values.shape, bool) if known is None or known.shape != values.shape else known
    rim = np.zeros(values.shape, bool)
    rim[[0, -1]] = rim[:, [0, -1]] = True
    inner = n > 2

    def counts(where: Mask) -> Counts:
        return np.bincount(index[where & counted], minlength=n).astype(np.int64)

    nothing = np.zeros(n, np.int64)
    stats = MaskStats(
        stored=replace(stored, pixels=stored.pixels[:0]),
        dtype=stored.pixels.dtype,
        keys=keys,
        pixels=counts(counted),
        border=counts(rim),
        between=counts(_between(values, stored)) if inner and not stored.colours else nothing,
        flat=counts(_flat(values, stored)) if inner else counts(counted),
        solid=counts(_solid(index)) if inner else counts(counted),
        pieces=_pieces(index, n, counted),
        apart=_apart(values, keys) if values.dtype == np.uint8 and n >= WRAPPED else nothing - 1,
        n_distinct=n_distinct,
    )
    kept = stats.pixels > 0
    if stored.colours and kept.sum() > _MOST_COLOURS:
        kept &= stats.pixels >= np.sort(stats.pixels)[-_MOST_COLOURS]
    return stats.only(kept)


def _distinct(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the distinct values, ascending, and the place of each pixel's among them."""
    if values.dtype in (np.uint8, np.uint16):
        keys = np.flatnonzero(np.bincount(values.ravel(), minlength=1))
        place = np.zeros(int(keys[-1]) + 1, np.int64)
        place[keys] = np.arange(len(keys))
        return keys, place[values]
    keys, index = np.unique(values, return_inverse=True)
    return (keys if keys.dtype.kind == "f" else keys.astype(np.int64)), index.reshape(values.shape)


def _between(values: NDArray[Any], stored: StoredMask) -> Mask:
    """Return where some neighbour is lower, and another higher; palette indices count by their brightness."""
    import cv2

    if stored.table is not None:
        brightness = stored.table.astype(np.float32).sum(axis=1)
        values = brightness[np.minimum(values, len(brightness) - 1)]
    plane = values.astype(np.float32)
    square = np.ones((3, 3), np.uint8)
    found: Mask = (cv2.erode(plane, square) < plane) & (plane < cv2.dilate(plane, square))
    return found


def _flat(values: NDArray[Any], stored: StoredMask) -> Mask:
    """Return where at least three neighbours are alike, an eighth of the range apart in each channel at most."""
    if stored.table is not None:
        values = stored.table[np.minimum(values, len(stored.table) - 1)].astype(np.float32)
    elif stored.colours:
        values = np.stack([values >> 16 & 255, values >> 8 & 255, values & 255], axis=2).astype(np.float32)
    else:
        values = values[..., None].astype(np.float32)
    near = 32 if values.shape[2] == 3 else float(values.max() - values.min()) / 8
    down, right = (np.abs(np.diff(values, axis=axis)).max(axis=2) <= near for axis in (0, 1))
    return _enough(down, right, least=3)


def _solid(index: NDArray[np.int64]) -> Mask:
    return _enough(index[1:] == index[:-1], index[:, 1:] == index[:, :-1], least=2)


def _enough(down: Mask, right: Mask, least: int) -> Mask:
    """Return where enough of the four neighbours are equal; beyond the border lies more of the same."""
    equal = np.zeros((down.shape[0] + 1, right.shape[1] + 1), np.uint8)
    equal[[0, -1]] += 1
    equal[:, [0, -1]] += 1
    equal[1:] += down
    equal[:-1] += down
    equal[:, 1:] += right
    equal[:, :-1] += right
    return equal >= least


def _pieces(index: NDArray[np.int64], n: int, counted: Mask) -> Counts:
    import cv2

    pieces = np.full(n, -1, np.int64)
    for key in np.linspace(0, n - 1, min(n, SAMPLED)).astype(int):
        found = ((index == key) & counted).view(np.uint8)
        pieces[key] = cv2.connectedComponents(found, connectivity=8)[0] - 1
    return pieces


class _Box(NamedTuple):
    top: int
    left: int
    bottom: int
    right: int

    def gap(self, other: "_Box") -> int:
        """Return the rows or columns between two boxes, whichever are more."""
        rows = max(self.top, other.top) - min(self.bottom, other.bottom)
        cols = max(self.left, other.left) - min(self.right, other.right)
        return max(rows, cols)

    def joined(self, other: "_Box") -> "_Box":
        return _Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )


def _clusters(values: NDArray[Any], keys: NDArray[Any]) -> Iterator[tuple[tuple[slice, slice], list[Mask]]]:
    """Yield, for each value, the window that holds it, and its pieces there; those close to one another are one.

    Close is nearer than the diameter of a disk as large as a piece: parts of one object that another one cuts.
    """
    import cv2

    for key in keys:
        rows, cols = np.flatnonzero((values == key).any(axis=1)), np.flatnonzero((values == key).any(axis=0))
        window = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
        inside = values[window] == key
        n, labels, stats, _ = cv2.connectedComponentsWithStats(inside.view(np.uint8), connectivity=8)
        if n > _MOST_PIECES:
            yield window, [inside]
            continue
        reach = 2 * np.sqrt(inside.sum() / (n - 1) / np.pi)
        clusters: list[tuple[_Box, Mask]] = []
        for piece in range(1, n):
            x, y, width, height = (int(number) for number in stats[piece, :4])
            box, mask = _Box(y, x, y + height, x + width), labels == piece
            for other in [other for other in clusters if other[0].gap(box) <= reach]:
                clusters = [kept for kept in clusters if kept is not other]
                box, mask = box.joined(other[0]), mask | other[1]
            clusters.append((box, mask))
        yield window, [mask for _, mask in clusters]


def _apart(values: NDArray[Any], keys: NDArray[Any]) -> Counts:
    apart = np.ones(len(keys), np.int64)
    apart[keys != 0] = [len(masks) for _, masks in _clusters(values, keys[keys != 0])]
    return apart


def part_pieces(labels: NDArray[Any]) -> NDArray[np.int32]:
    """Return labels of shape (M, N) in which pieces of one number that lie far apart have numbers of their own."""
    result = labels.astype(np.int32)
    following = int(result.max(initial=0)) + 1
    for window, masks in _clusters(labels, np.unique(labels[labels > 0])):
        for mask in masks[1:]:
            result[window][mask] = following
            following += 1
    return result
