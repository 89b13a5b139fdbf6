"""Routes of pictures: an image's facts, thumbnail and tiles, and tiles of strokes and answers over it."""

from typing import Annotated, Any, Literal

import cv2
import numpy as np
from fastapi import APIRouter, Query
from fastapi.responses import Response
from numpy.typing import NDArray

from evoseg.core.notes import one_line
from evoseg.studio.display import (
    BESIDE,
    Look,
    draw_answer,
    draw_heat,
    draw_outlines,
    draw_strokes,
    draw_thumbnail,
    draw_value,
)
from evoseg.studio.live import BLOCK
from evoseg.studio.routes.shared import Opened, Shown, picture

router = APIRouter(prefix="/api/images/{key}")
_UNCHANGING_S = 600
"""How long the browser may keep what its address names by a checksum."""
_MOST_ANSWERED = 4 * BLOCK**2
"""Pixels of the image that one tile of an answer may show: beyond that, the view is too far out for a live answer."""


@router.get("")
def facts(image: Shown, studio: Opened) -> dict[str, Any]:
    """Return what the browser has to know of an image before it shows it."""
    project = studio.project
    shape, reason = project.rows(image).shape, project.why_not_paint(image)
    pixel = project.crop(image, (0, 0, 1, 1))
    native = pixel.dtype == np.uint8
    return {
        "id": image.id,
        "name": one_line(image.stem),
        "state": project.state(image),
        "labels": project.label_version(image),
        "height": shape[0],
        "width": shape[1],
        "levels": studio.display.n_levels(image),
        "channels": [one_line(name) for name in image.input.names()] if pixel.shape[2] > 1 else ["gray"],
        "look": {"low": 0.0 if native else 0.5, "high": 100.0 if native else 99.5},
        "why_not_paint": reason,
        "strokes": project.strokes(image).history() if not reason else None,
    }


@router.get("/thumbnail.png")
def thumbnail(image: Shown, studio: Opened) -> Response:
    """Return the whole image, small."""
    return picture(studio.display.thumbnail(image), 600)


@router.get("/tiles/{z}/{row}/{col}.png")
def tile(
    image: Shown,
    studio: Opened,
    z: int,
    row: int,
    col: int,
    channel: Annotated[int, Query(ge=-1, le=10_000)] = -1,
    low: Annotated[float, Query(ge=0, le=100)] = 0.0,
    high: Annotated[float, Query(ge=0, le=100)] = 100.0,
    log: bool = False,
) -> Response:
    """Return a tile of the image."""
    return picture(studio.display.tile(image, z, row, col, Look(channel, low, high, log)), 600)


@router.get("/strokes/{z}/{row}/{col}.png")
def stroke_tile(image: Shown, studio: Opened, z: int, row: int, col: int) -> Response:
    """Return a tile of the strokes, or of the mask's outlines."""
    project = studio.project
    top, left, bottom, right = studio.display.box(image, z, row, col)
    if project.state(image) in ("mask", "test") and project.why_not_paint(image):
        return picture(draw_strokes(outlines(project.mask(image)[top:bottom, left:right]), z), 600)
    strokes = project.strokes(image)
    with strokes.lock:
        part = strokes.labels[top:bottom, left:right].copy()
    return picture(draw_strokes(part, z))


@router.get("/answer/{what}/{number}/{z}/{row}/{col}.png")
def answer_tile(
    image: Shown, studio: Opened, what: Literal["labels", "doubt"], number: int, z: int, row: int, col: int
) -> Response:
    """Return a tile of the live answer; nothing if there is none. The number only tells answers apart."""
    model = studio.loop.model
    box = studio.display.box(image, z, row, col)
    found = None if model is None else studio.live.region(model, image, box, _MOST_ANSWERED)
    if found is None:
        return Response(status_code=204)
    return picture(draw_heat(found.doubt, z) if what == "doubt" else draw_answer(found.labels, z))


@router.get("/runs/{run}/{z}/{row}/{col}.png")
def run_tile(image: Shown, studio: Opened, run: str, z: int, row: int, col: int, answer: str = "") -> Response:
    """Return a tile of what a run's pipeline marks."""
    top, left, bottom, right = studio.display.box(image, z, row, col)
    found = studio.values.marks(studio.searches.pipeline(run, answer), image)
    return picture(draw_answer(found[top:bottom, left:right], z))


@router.get("/programs/{digest}/{what}/{z}/{row}/{col}.png")
def program_tile(
    image: Shown, studio: Opened, digest: str, what: Literal["answer", "value"], z: int, row: int, col: int
) -> Response:
    """Return a tile of what a program marks, or of its value as a picture; of one that was named before."""
    top, left, bottom, right = studio.display.box(image, z, row, col)
    program = studio.values.named(digest)
    if what == "value":
        value, shape = studio.values.value(program, image), studio.project.rows(image).shape
        return picture(draw_value(value, shape, (top, left, bottom, right), z), _UNCHANGING_S)
    marked = studio.values.marks(program, image)[top:bottom, left:right]
    return picture(draw_answer(marked, z), _UNCHANGING_S)


@router.get("/outlines/{z}/{row}/{col}.png")
def outlines_tile(
    image: Shown, studio: Opened, z: int, row: int, col: int, programs: Annotated[str, Query(max_length=400)]
) -> Response:
    """Return a tile of the outlines of what programs mark, named by their digests with spaces between; - for none."""
    top, left, bottom, right = studio.display.box(image, z, row, col)
    nothing = np.zeros((bottom - top, right - left), np.uint8)
    marked = [
        nothing if digest == "-" else studio.values.marks(studio.values.named(digest), image)[top:bottom, left:right]
        for digest in programs.split(" ")[: len(BESIDE)]
    ]
    return picture(draw_outlines(marked, z), _UNCHANGING_S)


@router.get("/programs/{digest}/thumbnail.png")
def program_thumbnail(image: Shown, studio: Opened, digest: str) -> Response:
    """Return the value of a program as a small picture."""
    value = studio.values.value(studio.values.named(digest), image)
    return picture(draw_thumbnail(value, studio.project.rows(image).shape), _UNCHANGING_S)


def outlines(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return labels along the inner rim of what they mark, and 0 elsewhere."""
    inside = (labels > 1).astype(np.uint8)
    rim = inside - cv2.erode(inside, np.ones((3, 3), np.uint8))
    return np.where(rim > 0, labels, 0).astype(np.uint8)
