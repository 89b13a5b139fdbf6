"""Images that say how viewers are to turn them, with masks that do not: which of the two were the masks drawn on?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import DatasetError
from evoseg.data.files import picture, read_header, upright
from evoseg.data.formats import SUFFIXES, read_bytes
from evoseg.data.meaning import Meaning
from evoseg.data.reading import Reading
from evoseg.data.truths import MaskSource

_LOOKED_AT = 12
"""Images that are compared with their masks."""
_CLEARLY = 1.15
"""By how much edges must fit better in one of the two positions."""


class Turned(NamedTuple):
    """An image that is turned on reading, beside a mask that is not."""

    stem: str
    path: Path
    orientation: int
    as_stored: bool
    as_turned: bool


def turned_images(images: Mapping[str, Path], masks: Mapping[str, MaskSource], reading: Reading) -> list[Turned]:
    """Return the images that are turned without their masks, and whether the masks have the size of either position."""
    found = []
    for stem in sorted(masks.keys() & images.keys()):
        try:
            image = read_header(images[stem], reading=reading)
            if image.orientation in range(2, 9) and (shape := _shape(masks[stem], reading)) is not None:
                upright_shape = image.shape[::-1] if image.orientation > 4 else image.shape
                fits = image.shape == shape, upright_shape == shape
                found.append(Turned(stem, images[stem], image.orientation, *fits))
        except DatasetError:
            continue
    return found


def _shape(mask: MaskSource, reading: Reading) -> tuple[int, int] | None:
    """Return the size of a mask that is not turned itself."""
    declared: tuple[int, int] | None = getattr(mask, "shape", None)
    if declared is not None or mask.path.suffix[1:].lower() not in SUFFIXES:
        return declared
    header = read_header(mask.path, reading=reading)
    return header.shape if header.orientation == 1 else None


def sized_as_stored(root: Path, turned: Sequence[Turned]) -> str:
    """Return the message about masks that have the size of the pictures before they were turned; "" if none has."""
    wrong = [one for one in turned if one.as_stored and not one.as_turned]
    if not wrong:
        return ""
    return (
        f"{_those(root, wrong)} and evoseg turns them upright, but their masks have the size of the stored pictures, "
        "so these were drawn on unturned pixels. Write `exif: ignore` into dataset.yaml to read the images as stored, "
        "or turn the masks."
    )


def drawn_as_stored(
    root: Path, turned: Sequence[Turned], masks: Mapping[str, MaskSource], reading: Reading, meaning: Meaning
) -> tuple[str, str]:
    """Return an error and a warning about masks whose size fits both positions, by how well their edges fit the images.

    Either is "" if there is no reason for it.
    """
    open_ones = [one for one in turned if one.as_stored and one.as_turned]
    if not open_ones:
        return "", ""
    fits = [_fits(one, masks[one.stem], reading, meaning) for one in open_ones[:_LOOKED_AT]]
    stored, upright_fit = np.sum([fit for fit in fits if fit is not None] or [(0.0, 0.0)], axis=0)
    those = _those(root, open_ones)
    keys = "If these were drawn on unturned pixels, write `exif: ignore` into dataset.yaml; if not, `exif: turn`."
    if stored > _CLEARLY * upright_fit:
        return f"{those} and evoseg turns them upright, but the edges of their masks fit them as stored. {keys}", ""
    if upright_fit > _CLEARLY * stored:
        return "", ""
    return "", f"{those} and evoseg turns them upright; their masks say nothing. {keys}"


def _those(root: Path, turned: Sequence[Turned]) -> str:
    names = ", ".join(str(one.path.relative_to(root)) for one in turned[:3])
    more = f" and {len(turned) - 3} more" if len(turned) > 3 else ""
    kinds = " and ".join(str(kind) for kind in sorted({one.orientation for one in turned}))
    return f"{names}{more}: the files say that viewers are to turn them (EXIF orientation {kinds}),"


def _fits(one: Turned, mask: MaskSource, reading: Reading, meaning: Meaning) -> tuple[float, float] | None:
    """Return how strong an image's edges are along those of its mask: as stored, and as turned."""
    import cv2

    try:
        image = picture(one.path, read_bytes(one.path), reading=reading).image
        marked = mask.read(reading, meaning).array > 0
    except DatasetError:
        return None
    grey = image.astype(np.float32).mean(axis=2)
    strength = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    strength /= max(float(strength.mean()), 1e-9)

    def along(inside: NDArray[Any]) -> float:
        rim = cv2.morphologyEx(
            np.ascontiguousarray(inside).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
        )
        return float(strength[rim > 0].mean()) if rim.any() else 0.0

    return along(upright(marked, one.orientation)), along(marked)
