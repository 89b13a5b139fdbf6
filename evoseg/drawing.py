"""Pictures of images with masks: outlines of answer and truth over an image, and contact sheets of many."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal
from unicodedata import combining, normalize

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from evoseg.core.disk import prefetch, write_atomically
from evoseg.core.transforms import Floats, resample

Rgb = NDArray[np.uint8]
"""uint8 array of shape (M, N, 3)."""

Colour = tuple[int, int, int]

# A blue and an orange that stay apart under every common colour blindness, after Okabe and Ito.
TRUTH = (40, 170, 255)
ANSWER = (255, 145, 0)
BOTH = (255, 255, 255)

# Lines keep a dark rim, without which white and orange vanish on paper and blue vanishes on fluorescence.
_RIM = 0.55
_SHIFT = 4

_GAP = 14
_MARGIN = 20
_CAPTION = 26
_HEADER = 56
_PAPER = (255, 255, 255)
_INK = (28, 32, 38)
_FAINT = (110, 116, 124)
_FRAME = (205, 208, 212)

_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial Unicode.ttf",
    "Arial.ttf",
    "LiberationSans-Regular.ttf",
)
_WITHOUT_ACCENTS = "Aileron"
"""Pillow's own font, which has the letters of ASCII; others are drawn as boxes."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def to_rgb(image: NDArray[Any]) -> Rgb:
    """Return an 8-bit colour picture of any image.

    8-bit values stay as they are; others are mapped from their 0.5 to 99.5 percentiles, one window for the three
    channels of a colour image and one per channel otherwise. One channel is shown grey, two as magenta and green, of
    more than three the first three.

    Parameters
    ----------
    image : array of shape (M, N) or (M, N, C)
        uint8, uint16 or float; values that are not finite are shown black.
    """
    stack = image[:, :, None] if image.ndim == 2 else image[:, :, :3]
    channels = stack.shape[2]
    if stack.dtype != np.uint8:
        groups = [stack] if channels == 3 else [stack[:, :, k : k + 1] for k in range(channels)]
        stack = np.concatenate([_windowed(group) for group in groups], axis=2)
    if channels < 3:
        stack = stack[:, :, [0, channels - 1, 0]]
    return np.ascontiguousarray(stack)


def draw_overlay(image: NDArray[Any], answer: NDArray[Any]) -> Rgb:
    """Draw the outline of the answer over the image at its own size.

    Parameters
    ----------
    image : array of shape (M, N) or (M, N, C)
    answer : array of shape (M, N)
        A mask, or labels with 0 as background; touching objects keep separate outlines.

    Returns
    -------
    uint8 array of shape (M, N, 3)
    """
    width_px = max(1, round(max(answer.shape) / 700))
    return draw_outlines(to_rgb(image), answer, None, answer.shape, width_px)


def draw_outlines(
    picture: Rgb,
    answer: NDArray[Any],
    truth: NDArray[Any] | None,
    shape: tuple[int, ...],
    width_px: int,
    *,
    rim: bool = True,
) -> Rgb:
    """Return `picture` scaled to `shape` with outlines that are `width_px` wide whatever the scale.

    The answer is orange, the truth blue, and white where both outlines agree. A dark rim sets them off from any
    picture, but hides what is thin.
    """
    for mask in (answer, truth):
        if mask is not None and mask.shape != picture.shape[:2]:
            raise ValueError(f"a mask of shape {mask.shape} does not belong to an image of shape {picture.shape}")
    canvas = resize_picture(picture, shape).astype(np.float32)
    a = _lines(answer, shape, width_px)
    t = np.zeros_like(a) if truth is None else _lines(truth, shape, width_px)
    both = np.minimum(a, t)
    ink = np.maximum(a, t)
    if rim:
        canvas *= (1 - _RIM * cv2.dilate(ink, np.ones((3, 3), np.uint8)))[:, :, None]
    canvas *= (1 - ink)[:, :, None]
    for weight, colour in ((t - both, TRUTH), (a - both, ANSWER), (both, BOTH)):
        canvas += weight[:, :, None] * np.array(colour, np.float32)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def draw_circles(points: NDArray[np.float64], shape: tuple[int, ...], radius: int = 0) -> NDArray[np.int32]:
    """Return labels of shape (M, N) whose outlines are circles about points (row, col).

    Their radius in px follows from the shape if none is given.
    """
    labels = np.zeros(shape[:2], np.int32)
    radius = radius or max(3, round(min(shape[:2]) / 90))
    for number, (row, col) in enumerate(points, 1):
        cv2.circle(labels, (round(float(col)), round(float(row))), radius, number, -1)
    return labels


def as_outlines(value: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return what outlines can be drawn of: masks and labels as they are, points (float64) as circles."""
    return draw_circles(value, shape) if value.dtype == np.float64 else value


def draw_checkers(fixed: NDArray[Any], moving: NDArray[Any], transform: Floats, n: int = 6) -> Rgb:
    """Return a checkerboard of two images of one size: where they are aligned, edges go on from field to field.

    Parameters
    ----------
    fixed, moving : array of shape (M, N) or (M, N, C)
    transform : float64 array of shape (2, 3)
        By which the moving image is aligned; what is outside of it is black, and does not change its contrast.
    n : int
        Fields along the longer side.
    """
    side = max(1, -(-max(fixed.shape[:2]) // n))
    rows, cols = np.indices(fixed.shape[:2]) // side
    seen = resample(to_rgb(moving), transform)
    return np.where(((rows + cols) % 2 == 0)[:, :, None], to_rgb(fixed), seen)


def draw_red_cyan(fixed: NDArray[np.uint8], moving: NDArray[np.uint8], transform: Floats) -> Rgb:
    """Return two planes of shape (M, N), aligned by a transform, as red and cyan: grey where they are alike.

    Each has its own contrast, and a moving plane that is dark where the fixed one is bright is shown as its negative.
    """
    red, cyan = (to_rgb(plane.astype(np.float32))[:, :, 0] for plane in (fixed, moving))
    seen, inside = resample(cyan, transform), resample(np.full_like(cyan, 255), transform) == 255
    if inside.any() and np.cov(red[inside], seen[inside])[0, 1] < 0:
        seen = resample(255 - cyan, transform)
    return np.dstack([red, seen, seen])


def resize_picture(picture: Rgb, shape: tuple[int, ...]) -> Rgb:
    """Return `picture` at another size: averaged when smaller, with hard pixels when much larger."""
    if picture.shape[:2] == tuple(shape[:2]):
        return picture
    factor = shape[0] / picture.shape[0]
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST if factor >= 3 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (shape[1], shape[0]), interpolation=how), np.uint8)


def _windowed(group: NDArray[Any]) -> Rgb:
    values = group.astype(np.float32)
    finite = np.isfinite(values)
    values = np.where(finite, values, -np.inf)
    step = max(1, int((values.size / 1e6) ** 0.5))
    sample = values[::step, ::step]
    sample = sample[np.isfinite(sample)]
    low, high = np.percentile(sample, (0.5, 99.5)) if sample.size else (0.0, 1.0)
    # A flat image is shown dark grey rather than divided by zero.
    gain = 255 / (high - low) if high > low else 0.0
    shown = np.clip((np.maximum(values, low) - low) * gain, 0, 255) if gain else np.full_like(values, 64)
    return np.where(finite, np.rint(shown), 0).astype(np.uint8)


def _lines(mask: NDArray[Any], shape: tuple[int, ...], width_px: int) -> NDArray[np.float32]:
    """Return the outlines as coverage from 0 to 1 at `shape`; objects below one pixel there stay visible.

    Contours are found at the mask's own size or above and their coordinates scaled, because a scaled-down mask loses
    its thin parts. Small masks are enlarged first, so that lines run along pixel edges and not through centres.
    """
    # Drawn at twice the size and averaged: widths of whole pixels are either too faint or too heavy.
    canvas = np.zeros((2 * shape[0], 2 * shape[1]), np.uint8)
    times = max(1, -(-canvas.shape[0] // mask.shape[0]))
    fine = mask.repeat(times, axis=0).repeat(times, axis=1)
    factor = np.array([canvas.shape[1] / fine.shape[1], canvas.shape[0] / fine.shape[0]])
    for contour in _contours(fine):
        points = ((contour + 0.5) * factor - 0.5) * (1 << _SHIFT)
        line = np.rint(points).astype(np.int32)
        cv2.polylines(canvas, [line], True, (255,), 2 * width_px + 1, cv2.LINE_AA, _SHIFT)
    coverage = cv2.resize(canvas, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(coverage, np.float32) / np.float32(255)


def _contours(mask: NDArray[Any]) -> list[NDArray[Any]]:
    """Return closed contours, (n, 1, 2) as (column, row), of a mask or of each object of a label image."""
    if mask.max(initial=0) <= 1:
        return list(cv2.findContours((mask > 0).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0])
    found: list[NDArray[Any]] = []
    numbers = mask.astype(np.int32)
    order = np.argsort(numbers, axis=None, kind="stable")
    values, starts = np.unique(numbers.ravel()[order], return_index=True)
    for value, pixels in zip(values, np.split(order, starts[1:]), strict=True):
        if value <= 0:
            continue
        row, column = np.divmod(pixels, mask.shape[1])
        corner = np.array([column.min(), row.min()])
        window = np.zeros((row.max() - corner[1] + 1, column.max() - corner[0] + 1), np.uint8)
        window[row - corner[1], column - corner[0]] = 1
        found.extend(c + corner for c in cv2.findContours(window, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0])
    return found


@dataclass(frozen=True)
class SheetRow:
    """One image of a contact sheet.

    Attributes
    ----------
    stem : str
        Name of the image; any characters.
    image : uint8, uint16 or float array of shape (M, N) or (M, N, C)
    answer : array of shape (M, N)
        A mask or labels.
    truth : array of shape (M, N), optional
    score : float, optional
    """

    stem: str
    image: NDArray[Any]
    answer: NDArray[Any]
    truth: NDArray[Any] | None = None
    score: float | None = None


def write_contact_sheet(
    rows: Sequence[SheetRow],
    path: Path | str,
    columns: int = 4,
    *,
    title: str = "",
    metric: str = "IoU",
) -> None:
    """Write a PNG with every image, the outlines of truth and answer, and a caption below each.

    Parameters
    ----------
    rows : sequence of Row
        In the order in which they are to be seen; the worst first is the most useful.
    path : path of the PNG
        Written as a whole or not at all; its folder is made if need be.
    columns : int
        Images per line.
    title : str
        Printed above the images.
    metric : str
        Name of the score, for the captions.
    """
    columns = max(1, min(columns, len(rows)))
    width, height = _cell_size(rows)
    lines = -(-len(rows) // columns)
    sheet_width = max(2 * _MARGIN + columns * (width + _GAP) - _GAP, 480)
    sheet_height = _HEADER + lines * (height + _CAPTION + _GAP) + _MARGIN - _GAP
    sheet = Image.new("RGB", (sheet_width, sheet_height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    both = [("truth", TRUTH), ("prediction", ANSWER), ("both agree", BOTH)]
    _header(pen, sheet_width, title, both if any(row.truth is not None for row in rows) else both[1:2])
    pictures = prefetch(lambda row: _picture(row, width, height), rows)
    for k, (row, picture) in enumerate(zip(rows, pictures, strict=True)):
        left = _MARGIN + (k % columns) * (width + _GAP)
        top = _HEADER + (k // columns) * (height + _CAPTION + _GAP)
        x, y = left + (width - picture.shape[1]) // 2, top + (height - picture.shape[0]) // 2
        # The frame shows where a white page ends.
        pen.rectangle((x - 1, y - 1, x + picture.shape[1], y + picture.shape[0]), outline=_FRAME)
        sheet.paste(Image.fromarray(picture), (x, y))
        _caption(pen, row, metric, (left, top + height + _CAPTION // 2 + 1), width)
    save_png(np.asarray(sheet), path)


def encode(picture: Rgb, form: Literal["JPEG", "PNG"] = "PNG") -> bytes:
    """Return a picture as the bytes of a file."""
    file = BytesIO()
    Image.fromarray(picture).save(file, form, quality=85)
    return file.getvalue()


def save_png(picture: Rgb, path: Path | str) -> None:
    """Write a picture as a whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as file:
        file.write(encode(picture))


def _cell_size(rows: Sequence[SheetRow]) -> tuple[int, int]:
    """Return the width and height of the box that every image is fitted into."""
    # Many images mean smaller ones, so that the file stays a few megabytes.
    width = 380 if len(rows) <= 16 else 300 if len(rows) <= 40 else 220
    aspects = [row.answer.shape[0] / row.answer.shape[1] for row in rows] or [1.0]
    return width, round(width * min(max(float(np.median(aspects)), 0.4), 1.25))


def _picture(row: SheetRow, width: int, height: int) -> Rgb:
    rows, columns = row.answer.shape
    factor = min(width / columns, height / rows)
    shape = (max(1, round(rows * factor)), max(1, round(columns * factor)))
    return draw_outlines(to_rgb(row.image), row.answer, row.truth, shape, 1)


def _caption(pen: ImageDraw.ImageDraw, row: SheetRow, metric: str, place: tuple[int, int], width: int) -> None:
    """Write the name at the left and the score at the right of the strip below an image."""
    left, middle = place
    score = "" if row.score is None else f"{metric} {row.score:.2f}"
    pen.text((left + width, middle), score, _INK, load_font(15), "rm")
    room = width - pen.textlength(score, load_font(15)) - 12
    pen.text((left, middle), _fitted(row.stem, load_font(15), room), _FAINT, load_font(15), "lm")


def _header(pen: ImageDraw.ImageDraw, width: int, title: str, entries: Sequence[tuple[str, Colour]]) -> None:
    """Write the title at the left, and the meaning of the colours at the right."""
    font = load_font(15)
    x = float(width - _MARGIN)
    for name, colour in reversed(entries):
        x -= pen.textlength(name, font)
        pen.text((x, _HEADER // 2), name, _INK, font, "lm")
        x -= 36
        pen.rounded_rectangle((x, _HEADER // 2 - 8, x + 28, _HEADER // 2 + 8), 4, (70, 74, 80))
        pen.line((x + 4, _HEADER // 2, x + 24, _HEADER // 2), colour, 3)
        x -= 18
    pen.text((_MARGIN, _HEADER // 2), _fitted(title, load_font(19), x - 2 * _MARGIN), _INK, load_font(19), "lm")


@dataclass(frozen=True)
class Strip:
    """A row of small pictures with a line of text below it.

    Attributes
    ----------
    pictures : sequence of (image, mask)
        uint8 arrays of shape (M, N, 3), with a bool array of shape (M, N), or None where nothing is outlined.
    name : str
    words : str
        Printed after the name, in grey.
    badge : str
        Printed in a corner of each picture.
    """

    pictures: Sequence[tuple[Rgb, NDArray[np.bool_] | None]]
    name: str
    words: str = ""
    badge: str = ""


_TILE = 384
_BORDER = 3
"""Width by which a mask goes on beyond its picture, px: an object that is cut has no outline along the cut."""
_DARK, _BRIGHTENED = 100, 180
"""99th percentile of a picture's values below which it is brightened, and to which."""


def draw_strips(strips: Sequence[Strip], *, title: str = "") -> Rgb:
    """Draw strips below each other, all pictures as large as the others; very dark ones are brightened."""
    columns = max((len(strip.pictures) for strip in strips), default=1)
    width = max(2 * _MARGIN + columns * (_TILE + _GAP) - _GAP, 640)
    pitch = _TILE + _CAPTION + _GAP
    sheet = Image.new("RGB", (width, _HEADER + len(strips) * pitch + _MARGIN - _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    _header(pen, width, title, [("objects", TRUTH)])
    for row, strip in enumerate(strips):
        top = _HEADER + row * pitch
        for column, (picture, mask) in enumerate(strip.pictures):
            tile = _tile(picture, mask)
            left = _MARGIN + column * (_TILE + _GAP)
            x, y = left + (_TILE - tile.shape[1]) // 2, top + (_TILE - tile.shape[0]) // 2
            pen.rectangle((x - 1, y - 1, x + tile.shape[1], y + tile.shape[0]), outline=_FRAME)
            sheet.paste(Image.fromarray(tile), (x, y))
            _badge(pen, strip.badge, (x, y))
        middle = top + _TILE + _CAPTION // 2 + 1
        name = _fitted(strip.name, load_font(17), width / 2)
        pen.text((_MARGIN, middle), name, _INK, load_font(17), "lm")
        x = _MARGIN + round(pen.textlength(name, load_font(17))) + 14
        pen.text((x, middle), _fitted(strip.words, load_font(15), width - _MARGIN - x), _FAINT, load_font(15), "lm")
    return np.asarray(sheet)


def _tile(picture: Rgb, mask: NDArray[np.bool_] | None) -> Rgb:
    """Return a picture with its mask outlined, `_TILE` px at its longer side."""
    level = float(np.percentile(picture, 99))
    if 0 < level < _DARK:
        picture = np.clip(picture * (_BRIGHTENED / level), 0, 255).astype(np.uint8)
    factor = _TILE / max(picture.shape[:2])
    if mask is not None:
        around = ((_BORDER, _BORDER), (_BORDER, _BORDER))
        wide, wide_mask = np.pad(picture, (*around, (0, 0)), "edge"), np.pad(mask, around, "edge")
        shape = tuple(round(n * factor) for n in wide_mask.shape)
        cut = round(_BORDER * factor)
        return draw_outlines(wide, np.zeros_like(wide_mask), wide_mask, shape, 1)[cut:-cut, cut:-cut]
    return resize_picture(picture, tuple(max(1, round(n * factor)) for n in picture.shape[:2]))


def _badge(pen: ImageDraw.ImageDraw, text: str, place: tuple[int, int]) -> None:
    if text:
        box = pen.textbbox((place[0] + 10, place[1] + 17), text, load_font(15), "lm")
        pen.rectangle((box[0] - 6, place[1] + 5, box[2] + 6, place[1] + 28), _PAPER, _FRAME)
        pen.text((place[0] + 10, place[1] + 17), text, _INK, load_font(15), "lm")


def _fitted(text: str, font: Font, room: float) -> str:
    """Return `text` with its middle left out if it is longer than `room`; beginnings and ends tell names apart."""
    text = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    if isinstance(font, ImageFont.FreeTypeFont) and font.getname()[0] == _WITHOUT_ACCENTS:
        text = "".join(c for c in normalize("NFKD", text) if not combining(c))
    if font.getlength(text) <= room:
        return text
    kept = len(text)
    while kept > 2:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if font.getlength(short) <= room:
            return short
    return ""


def load_font(size: int) -> Font:
    """Return a font of the system that has accents, and other alphabets if possible; if there is none, Pillow's own."""
    for name in _FONTS:
        with suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)
