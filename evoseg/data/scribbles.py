"""Scribbles: a few strokes per class instead of a full mask, and what they say of each pixel."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import DatasetError

UNKNOWN, BACKGROUND = 0, 1
HIGHEST_CLASS = 255
"""Class images are 8-bit."""
MOST_CLASSES = 32
"""Beyond this, values are shades of grey rather than classes."""


def from_scribbles(
    values: NDArray[Any], where: str | Path = "scribbles"
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the mask that scribbles give, and where it is known.

    Parameters
    ----------
    values : array of shape (M, N)
        0 where nothing was drawn, 1 for background, 2 for foreground; 3 and more for further classes. ilastik's
        labels are of this form, if background is its first label.
    where : path or str
        For messages.

    Returns
    -------
    mask : uint8 array of shape (M, N)
        0 for background, 1 for foreground, 2 and more for further classes; 0 where it is not known.
    known : bool array of shape (M, N)

    Raises
    ------
    DatasetError
        If the values are others.
    """
    found = np.unique(values)
    if (found != np.round(found)).any() or found[0] < UNKNOWN or found[-1] > BACKGROUND + MOST_CLASSES:
        some = ", ".join(f"{value:g}" for value in found[:4])
        raise DatasetError(
            f"{where}: scribbles hold 0 where nothing is drawn, 1 for background and 2 for foreground (3 and more for "
            f"further classes); this file holds {some}{' ...' if len(found) > 4 else ''}. Renumber them."
        )
    known = values > UNKNOWN
    return np.where(known, values.astype(np.int16) - BACKGROUND, 0).astype(np.uint8), known
