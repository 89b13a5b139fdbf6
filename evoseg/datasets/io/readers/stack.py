"""What a reader gives: the pixels of a file with named axes, read when a page of them is asked for."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

UM_PER = {
    "nm": 1e-3, "nanometer": 1e-3, "um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0,
    "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4, "m": 1e6, "meter": 1e6, "inch": 25400.0,
    "angstrom": 1e-4, "Å": 1e-4,
}  # fmt: skip
"""Micrometres per unit of length, as files call it."""

_UNKNOWN_AXES = "PQTZ"
"""What the axes of arrays are called that say nothing about them, from the innermost axis of pages outwards."""
_MOST_CHANNELS = 16
"""Of an array without named axes: up to here, a short last axis is taken for channels."""


@dataclass(frozen=True)
class Stack:
    """The pixels of a file.

    Attributes
    ----------
    axes : str
        A capital letter for each: Y, X, C for channels or S for colours, and others along which pages lie.
    shape : tuple of int
    dtype : numpy dtype
        Of what `read` returns.
    read : callable (index) -> array
        Takes an index, a number or a whole slice for each axis, and returns that part of the pixels.
    labels : tuple of str
        What the file calls its channels.
    spacing_um : tuple of float, µm
        The distance between neighbours along each axis; 0 where it is not known. Empty means that none is known.
    guessed : bool
        Whether the file says nothing of its axes, so that a person's word goes before them.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[tuple[int | slice, ...]], NDArray[Any]]
    labels: tuple[str, ...] = ()
    spacing_um: tuple[float, ...] = ()
    guessed: bool = False

    def squeezed(self) -> "Stack":
        """Return the stack without the axes of one page, and with plausible distances only."""
        shape, read = self.shape, self.read
        kept = [i for i, axis in enumerate(self.axes) if axis in "YXCS" or shape[i] != 1]

        def read_all_axes(index: tuple[int | slice, ...]) -> NDArray[Any]:
            every: list[int | slice] = [0] * len(shape)
            for i, part in zip(kept, index, strict=True):
                every[i] = part
            return read(tuple(every))

        spacing = self.spacing_um or (0.0,) * len(shape)
        return replace(
            self,
            axes="".join(self.axes[i] for i in kept),
            shape=tuple(int(shape[i]) for i in kept),
            read=read_all_axes,
            spacing_um=tuple(spacing[i] if math.isfinite(spacing[i]) and spacing[i] > 0 else 0.0 for i in kept),
        )


def read_planes(
    loops: Sequence[int], index: tuple[int | slice, ...], plane: Callable[[tuple[int, ...]], NDArray[Any]]
) -> NDArray[Any]:
    """Return the part of a stack that an index picks, of a file that is read plane by plane.

    Parameters
    ----------
    loops : sequence of int
        Sizes of the axes before those of a plane.
    index : tuple of int or slice
        As `Stack.read` takes it.
    plane : callable (place along each of the loops) -> array
        Reads a plane.
    """
    outer, inner = index[: len(loops)], index[len(loops) :]
    places = [range(n)[i] if isinstance(i, slice) else range(i, i + 1) for n, i in zip(loops, outer, strict=True)]
    planes = [plane(place)[inner] for place in product(*places)]
    kept = [len(some) for some, i in zip(places, outer, strict=True) if isinstance(i, slice)]
    return np.stack(planes).reshape(*kept, *planes[0].shape)


def guess_axes(shape: Sequence[int]) -> str:
    """Return the axes of an array that says nothing about them, "" if there are too many to tell.

    Rows and columns come last, or before channels: a last axis of 3 or 4 is colours, another short one channels.
    Whatever comes before rows and columns is pages.
    """
    inner = "YX"
    if len(shape) > 2 and shape[-1] <= min(_MOST_CHANNELS, shape[-2] - 1, shape[-3] - 1):
        inner = "YXS" if shape[-1] in (3, 4) else "YXC"
    n_outer = len(shape) - len(inner)
    return "" if n_outer > len(_UNKNOWN_AXES) else _UNKNOWN_AXES[len(_UNKNOWN_AXES) - n_outer :] + inner
