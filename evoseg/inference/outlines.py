"""Outlines of objects along the edges of their pixels: drawn again, they give the same pixels."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from evoseg.operators.labelling import component_labels
from evoseg.operators.strips import Pieces, find_pieces, join_pieces, two_pass_height

Ring = NDArray[np.int64]
"""Corners (row, col) of a closed line, shape (n, 2), the first not repeated; corner (0, 0) is that of pixel (0, 0)."""

Polygon = list[Ring]
"""An outer ring, and those of its holes."""

_STRIP = 1 << 22
"""Pixels that are looked at at a time."""
_FALLING, _RISING = 9, 6
"""Codes of corners at which two pixels meet that only touch there: upper left and lower right, or the other two."""
_STRAIGHT = (0, 3, 5, 10, 12, 15)
"""Codes of corners at which no outline turns."""


def trace_polygons(inside: NDArray[np.bool_]) -> list[Polygon]:
    """Return the outlines of the pixels of one object.

    Parameters
    ----------
    inside : bool array of shape (M, N)

    Returns
    -------
    list of Polygon
        One per 4-connected part. Rings do not touch themselves, as the Simple Features standard (OGC 06-103r4) wants
        it. On the way around an outer ring, and against the way around a hole, the object is on the right-hand side.
    """
    rings = [part for ring in _closed_lines(*_corners(inside)) for part in _simple_parts(ring)]
    holes = [ring for ring in rings if _doubled_area(ring) < 0]
    polygons = [[ring] for ring in rings if _doubled_area(ring) > 0]
    if len(polygons) == 1:
        return [polygons[0] + holes]
    if holes:
        of_part = dict(zip(_parts_of(inside, [polygon[0] for polygon in polygons]), polygons, strict=True))
        for part, hole in zip(_parts_of(inside, holes), holes, strict=True):
            of_part[part].append(hole)
    return polygons


def _corners(inside: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Return row, column and code of the corners at which outlines turn, row by row; where two turn, it is there twice.

    The code has a bit for each of the four pixels around a corner: 1, 2, 4 and 8 in reading order.
    """
    rows, cols = inside.shape
    height = max(1, _STRIP // (cols + 2))
    turns = ~np.isin(np.arange(16), _STRAIGHT)
    found = []
    for top in range(0, rows + 1, height):
        last = min(rows + 1, top + height)
        padded = np.zeros((last - top + 1, cols + 2), np.uint8)
        part = inside[max(0, top - 1) : last]
        padded[(top == 0) : (top == 0) + len(part), 1:-1] = part
        code = padded[:-1, :-1] | padded[:-1, 1:] << 1 | padded[1:, :-1] << 2 | padded[1:, 1:] << 3
        row, col = np.nonzero(turns[code])
        found.append((row + top, col, code[row, col]))
    row, col, code = (np.concatenate(values) for values in zip(*found, strict=True))
    times = 1 + ((code == _FALLING) | (code == _RISING))
    return row.repeat(times), col.repeat(times), code.repeat(times)


def _closed_lines(row: NDArray[np.int64], col: NDArray[np.int64], code: NDArray[np.uint8]) -> list[Ring]:
    """Follow the outlines from corner to corner, with the object on the right-hand side.

    In every row, outlines run from the first corner to the second, from the third to the fourth and so on, and the same
    holds for columns. Of a corner that is there twice, the first one ends a line from the left, so that it continues
    upwards around the upper left pixel, and downwards around the lower left one.
    """
    n = len(row)
    again = np.zeros(n, bool)
    again[1:] = (row[1:] == row[:-1]) & (col[1:] == col[:-1])
    down = np.lexsort((again ^ (code == _RISING), row, col))
    across = np.arange(n) ^ 1
    along = np.empty(n, np.int64)
    along[down] = down[across]
    next_down, next_across = along.tolist(), across.tolist()
    seen = bytearray(n)
    lines = []
    for start in range(0, n, 2):
        if seen[start]:
            continue
        line, at = list[int](), start
        while not seen[at]:
            other = next_across[at]
            seen[at] = seen[other] = 1
            line += (at, other)
            at = next_down[other]
        # The first edge is a topmost one and runs to the right: the object is below it, or it is that of a hole.
        found = np.array(line)
        if not _is_below(int(code[start])):
            found = np.roll(found[::-1], 1)
        lines.append(np.stack([row[found], col[found]], axis=1))
    return lines


def _is_below(code: int) -> bool:
    """Return whether the edge to the right of a corner has the object below it."""
    return bool(code & 8)


def _simple_parts(ring: Ring) -> list[Ring]:
    """Cut a closed line where it touches itself."""
    keys = [(row << 32) + col for row, col in ring.tolist()]
    if len(set(keys)) == len(keys):
        return [ring]
    parts, stack, place_of = [], list[int](), dict[int, int]()
    for index, key in enumerate([*keys, keys[0]]):
        if key in place_of:
            place = place_of[key]
            parts.append(ring[stack[place:]])
            for i in stack[place:]:
                del place_of[keys[i]]
            del stack[place:]
        if index < len(keys):
            place_of[key] = len(stack)
            stack.append(index)
    return parts


def _doubled_area(ring: Ring) -> int:
    """Return twice the area that a ring encloses, below 0 if it runs against the clock."""
    row, col = ring[:, 0], ring[:, 1]
    return int((col * np.roll(row, -1) - np.roll(col, -1) * row).sum())


def _parts_of(inside: NDArray[np.bool_], rings: list[Ring]) -> list[int]:
    """Return for each ring a number of the 4-connected part that it belongs to."""
    corners = np.array([ring[:2] for ring in rings])
    step = np.sign(corners[:, 1] - corners[:, 0])
    # The pixel on the right-hand side of the first edge, where the object is.
    place = corners[:, 0] + np.minimum(step, 0) + np.minimum(np.stack([step[:, 1], -step[:, 0]], axis=1), 0)
    height = two_pass_height(inside.shape[1], _STRIP)
    found = np.zeros(len(rings), np.int64)
    pieces: list[Pieces] = []
    n_before = 0
    for top in range(0, inside.shape[0], height):
        n, labels = component_labels(inside[top : top + height], connectivity=4)
        here = np.flatnonzero((place[:, 0] >= top) & (place[:, 0] < top + height))
        found[here] = labels[place[here, 0] - top, place[here, 1]] + n_before
        pieces.append(find_pieces(n, labels))
        n_before += n - 1
    numbers: list[int] = join_pieces(pieces, connectivity=4)[found].tolist()
    return numbers


def column_runs(inside: NDArray[np.bool_], top: int, left: int, rows: int, pixels: int) -> list[int]:
    """Return the run lengths of an object's pixels in its image, counted down the columns, background first.

    Parameters
    ----------
    inside : bool array of shape (m, n)
    top, left : int
        Row and column of its first pixel in the image.
    rows, pixels : int
        Of the image.
    """
    padded = np.zeros((inside.shape[1], inside.shape[0] + 2), np.int8)
    padded[:, 1:-1] = inside.T
    step = np.diff(padded, axis=1)
    col, begin = np.nonzero(step == 1)
    end = np.nonzero(step == -1)[1]
    first = (left + col) * rows + top
    edges = np.stack([first + begin, first + end], axis=1)
    # A run that ends at the foot of a column goes on at the head of the next.
    joined = np.flatnonzero(edges[1:, 0] == edges[:-1, 1])
    edges = np.delete(edges.ravel(), np.concatenate([2 * joined + 1, 2 * joined + 2]))
    return [b - a for a, b in pairwise([0, *edges.tolist(), pixels])]


def pack_runs(runs: list[int]) -> str:
    """Return run lengths as COCO's text, as `evoseg.datasets.outlines.areas` reads it.

    Five bits a letter, the lowest first; from the fourth on, differences to the last but one.
    """
    letters = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        while True:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            letters.append(chr((bits | 32 * more) + 48))
            if not more:
                break
    return "".join(letters)
