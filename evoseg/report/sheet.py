"""The contact sheet: what a pipeline does on many images, at one glance."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from evoseg.base.ahead import ahead
from evoseg.base.writing import whole_file
from evoseg.report.overlays import ANSWER, BOTH, TRUTH, Rgb, drawn, for_eyes, overlay

__all__ = ["Row", "contact_sheet", "overlay"]

_GAP = 14
_MARGIN = 20
_CAPTION = 26
_HEADER = 56
_PAPER = (255, 255, 255)
_INK = (28, 32, 38)
_FAINT = (110, 116, 124)
_FRAME = (205, 208, 212)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Row:
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


def contact_sheet(
    rows: Sequence[Row],
    path: Path | str,
    columns: int = 4,
    *,
    title: str = "",
    metric: str = "IoU",
    answered: bool = True,
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
    answered : bool
        Whether there are answers; else only truths are explained.
    """
    columns = max(1, min(columns, len(rows)))
    width, height = _cell_size(rows)
    lines = -(-len(rows) // columns)
    sheet_width = max(2 * _MARGIN + columns * (width + _GAP) - _GAP, 480)
    sheet_height = _HEADER + lines * (height + _CAPTION + _GAP) + _MARGIN - _GAP
    sheet = Image.new("RGB", (sheet_width, sheet_height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    legend = _legend(pen, sheet_width - _MARGIN, any(row.truth is not None for row in rows), answered)
    font = _font(19)
    pen.text((_MARGIN, _HEADER // 2), _fitted(title, font, legend - 2 * _MARGIN), _INK, font, "lm")
    pictures = ahead(lambda row: _picture(row, width, height), rows)
    for k, (row, picture) in enumerate(zip(rows, pictures, strict=True)):
        left = _MARGIN + (k % columns) * (width + _GAP)
        top = _HEADER + (k // columns) * (height + _CAPTION + _GAP)
        x, y = left + (width - picture.shape[1]) // 2, top + (height - picture.shape[0]) // 2
        # The frame shows where a white page ends.
        pen.rectangle((x - 1, y - 1, x + picture.shape[1], y + picture.shape[0]), outline=_FRAME)
        sheet.paste(Image.fromarray(picture), (x, y))
        _caption(pen, row, metric, (left, top + height + _CAPTION // 2 + 1), width)
    save_png(np.asarray(sheet), path)


def save_png(picture: Rgb, path: Path | str) -> None:
    """Write a picture as a whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        Image.fromarray(picture).save(file, format="PNG")


def _cell_size(rows: Sequence[Row]) -> tuple[int, int]:
    """Return the width and height of the box that every image is fitted into."""
    # Many images mean smaller ones, so that the file stays a few megabytes.
    width = 380 if len(rows) <= 16 else 300 if len(rows) <= 40 else 220
    aspects = [row.answer.shape[0] / row.answer.shape[1] for row in rows] or [1.0]
    return width, round(width * min(max(float(np.median(aspects)), 0.4), 1.25))


def _picture(row: Row, width: int, height: int) -> Rgb:
    rows, columns = row.answer.shape
    factor = min(width / columns, height / rows)
    shape = (max(1, round(rows * factor)), max(1, round(columns * factor)))
    return drawn(for_eyes(row.image), row.answer, row.truth, shape, 1)


def _caption(pen: ImageDraw.ImageDraw, row: Row, metric: str, place: tuple[int, int], width: int) -> None:
    """Write the name at the left and the score at the right of the strip below an image."""
    left, middle = place
    score = "" if row.score is None else f"{metric} {row.score:.2f}"
    pen.text((left + width, middle), score, _INK, _font(15), "rm")
    room = width - pen.textlength(score, _font(15)) - 12
    pen.text((left, middle), _fitted(row.stem, _font(15), room), _FAINT, _font(15), "lm")


def _legend(pen: ImageDraw.ImageDraw, right: int, with_truth: bool, answered: bool) -> float:
    """Draw the meaning of the colours, ending at `right`; return where it begins."""
    font = _font(15)
    entries = [("truth", TRUTH)] * with_truth + [("answer", ANSWER)] * answered
    entries += [("both", BOTH)] * (with_truth and answered)
    x = float(right)
    for name, colour in reversed(entries):
        x -= pen.textlength(name, font)
        pen.text((x, _HEADER // 2), name, _INK, font, "lm")
        x -= 36
        pen.rounded_rectangle((x, _HEADER // 2 - 8, x + 28, _HEADER // 2 + 8), 4, (70, 74, 80))
        pen.line((x + 4, _HEADER // 2, x + 24, _HEADER // 2), colour, 3)
        x -= 18
    return x


def _fitted(text: str, font: Font, room: float) -> str:
    """Return `text` with its middle left out if it is longer than `room`; beginnings and ends tell names apart."""
    text = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    if font.getlength(text) <= room:
        return text
    kept = len(text)
    while kept > 2:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if font.getlength(short) <= room:
            return short
    return ""


def _font(size: int) -> Font:
    """Return DejaVu Sans, which knows most alphabets, from matplotlib's folder; otherwise Pillow's own font."""
    found = find_spec("matplotlib")
    for folder in (found.submodule_search_locations or []) if found else []:
        file = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if file.is_file():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)
