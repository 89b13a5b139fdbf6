"""Pictures small enough to travel inside a page."""

import io
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evoseg.report.overlays import ANSWER, TRUTH, Rgb, drawable, drawn, for_eyes, scaled
from evoseg.report.sheet import Row

GALLERY_PX, STEP_PX = 360, 300
"""Longest sides of pictures in the gallery and of steps."""

_QUALITY = 82
_RIGHT, _NOTHING, _UNKNOWN = (255, 255, 255), (28, 32, 38), (96, 100, 106)


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, with what it shows in words.

    Attributes
    ----------
    uri, words : str
    width, height : int, px
    """

    uri: str
    words: str
    width: int
    height: int


def truth_picture(row: Row) -> Picture:
    """Return the image with the outline of the truth."""
    assert row.truth is not None
    return _outlined(row, np.zeros_like(row.truth), row.truth, f"{row.stem} with the outline of the truth")


def answer_picture(row: Row) -> Picture:
    """Return the image with the outline of the answer."""
    return _outlined(row, row.answer, None, f"{row.stem} with the outline of the answer")


def difference_picture(row: Row, known: NDArray[np.bool_] | None = None) -> Picture:
    """Return what is right (white), missed (blue) and too much (orange); grey where the truth is not known."""
    assert row.truth is not None
    truth, answer = row.truth > 0, row.answer > 0
    palette = np.array([_NOTHING, TRUTH, ANSWER, _RIGHT, _UNKNOWN], np.uint8)
    codes = truth + np.uint8(2) * answer
    if known is not None:
        codes[~known] = 4
    missed, extra = float((truth & ~answer).sum()), float((answer & ~truth).sum())
    words = (
        f"{row.stem}: {_share(missed, truth.sum())} of the truth missed, "
        f"{_share(extra, answer.sum())} of the answer too much"
    )
    return _encoded(_fitted(palette[codes], GALLERY_PX), words, photo=False)


def both_picture(row: Row) -> Picture:
    """Return the image with the outlines of truth (blue) and answer (orange), white where they agree."""
    return _outlined(row, row.answer, row.truth, f"{row.stem} with the outlines of the truth and the answer")


def image_picture(image: NDArray[Any], words: str) -> Picture:
    """Return an image as it is."""
    return _encoded(_fitted(for_eyes(image), STEP_PX), words, photo=True)


def value_picture(value: NDArray[Any], words: str, gain: float = 1.0) -> Picture:
    """Return the value of a step that is a plane, in grey, times `gain`, or a mask, in white."""
    plane = value.astype(np.uint8) * 255 if value.dtype == np.bool_ else cv2.convertScaleAbs(value, alpha=gain)
    return _encoded(_fitted(for_eyes(np.asarray(plane)), STEP_PX), words, photo=value.dtype != np.bool_)


def found_picture(image: NDArray[Any], value: NDArray[Any], words: str) -> Picture:
    """Return the value of a step that is labels or points: their outlines over the image."""
    shown = drawable(value, image.shape)
    return _encoded(drawn(for_eyes(image), shown, None, _shape(image.shape, STEP_PX), 1), words, photo=True)


def legible_gain(plane: NDArray[np.uint8]) -> float:
    """Return by how much a faint plane should be brightened for eyes: so that only its brightest 0.5 % are white."""
    step = max(1, round((plane.size / 1e6) ** 0.5))  # a sample is enough, and quick on large images
    high = float(np.percentile(plane[::step, ::step], 99.5))
    return 1.0 if high >= 128 else round(255 / max(high, 16.0), 1)


def _outlined(row: Row, answer: NDArray[Any], truth: NDArray[Any] | None, words: str) -> Picture:
    shape = _shape(row.answer.shape, GALLERY_PX)
    return _encoded(drawn(for_eyes(row.image), answer, truth, shape, 1), words, photo=True)


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "nothing"


def _shape(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    factor = min(3.0, longest / max(shape[:2]))
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _fitted(picture: Rgb, longest: int) -> Rgb:
    return scaled(picture, _shape(picture.shape, longest))


def _encoded(picture: Rgb, words: str, *, photo: bool) -> Picture:
    height, width = picture.shape[:2]
    file = io.BytesIO()
    grey = bool((picture == picture[:, :, :1]).all())
    image = Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if grey else picture)
    if photo:
        image.save(file, "JPEG", quality=_QUALITY, optimize=True)
    else:
        # A few flat colours and their mixtures at edges.
        image.quantize(16).save(file, "PNG", optimize=True)
    kind = "jpeg" if photo else "png"
    return Picture(f"data:image/{kind};base64,{b64encode(file.getvalue()).decode()}", words, width, height)
