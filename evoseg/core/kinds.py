"""The kinds of value that flow between operators.

A kind is an annotation on a plain NumPy array. Operators state theirs in their signature, and everything that
builds, checks or draws pipelines dispatches on it.
"""

from enum import StrEnum
from typing import Annotated, Any, get_args

import numpy as np
from numpy.typing import NDArray


class Kind(StrEnum):
    """Name of a kind of value, as it appears in messages and in JSON."""

    RAW = "raw"
    GRAY = "gray"
    MASK = "mask"
    LABELS = "labels"
    POINTS = "points"


Raw = Annotated[NDArray[Any], Kind.RAW]
"""uint8, uint16 or float32 array of shape (M, N, C), native values: the input of every pipeline."""

Gray = Annotated[NDArray[np.uint8], Kind.GRAY]
"""uint8 array of shape (M, N): a filtered plane."""

Mask = Annotated[NDArray[np.bool_], Kind.MASK]
"""bool array of shape (M, N), True on foreground."""

Labels = Annotated[NDArray[np.int32], Kind.LABELS]
"""int32 array of shape (M, N), 0 = background, one positive number per object."""

Points = Annotated[NDArray[np.float64], Kind.POINTS]
"""float64 array of shape (n, 2), (row, col)."""


def kind_of(annotation: object) -> Kind | None:
    """Return the kind carried by an annotation such as ``Gray``, or None if it carries none."""
    for part in get_args(annotation):
        if isinstance(part, Kind):
            return part
    return None
