"""Routes of objects: begin with an answer, correct its objects, and save them as a mask."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from evoseg.studio.display import draw_objects
from evoseg.studio.history import EditId
from evoseg.studio.objects import Correction, MaskTask
from evoseg.studio.opened import Studio
from evoseg.studio.project import StudioImage
from evoseg.studio.routes.shared import Opened, Shown, picture

router = APIRouter(prefix="/api/images/{key}/objects")


class BeginRequest(BaseModel):
    """Which answer's objects are corrected: `source` as of `Correcting.begin`."""

    model_config = ConfigDict(extra="forbid")

    id: EditId
    source: Annotated[str, Field(max_length=200)]


class MaskRequest(BaseModel):
    """What the mask is to say."""

    model_config = ConfigDict(extra="forbid")

    task: MaskTask


@router.get("")
def objects(image: Shown, studio: Opened) -> dict[str, Any]:
    """Return the state of the objects."""
    return studio.correcting.state(image)


@router.post("/begin")
def begin(image: Shown, studio: Opened, request: BeginRequest) -> dict[str, Any]:
    """Begin with an answer."""
    studio.correcting.begin(image, request.id, request.source)
    return _told(studio, image)


@router.post("/correct")
def correct(image: Shown, studio: Opened, correction: Correction) -> dict[str, Any]:
    """Make a correction."""
    studio.project.objects(image).add(correction)
    return _told(studio, image)


@router.post("/{action}")
def act(image: Shown, studio: Opened, action: Literal["undo", "redo"]) -> dict[str, Any]:
    """Undo or redo."""
    store = studio.project.objects(image)
    (store.undo if action == "undo" else store.redo)()
    return _told(studio, image)


@router.post("/mask/save")
def save(image: Shown, studio: Opened, request: MaskRequest) -> dict[str, Any]:
    """Save the objects as a mask."""
    studio.project.save_mask(image, request.task)
    return _labelled(studio, image)


@router.post("/mask/withdraw")
def withdraw(image: Shown, studio: Opened) -> dict[str, Any]:
    """Take the mask back."""
    studio.project.withdraw_mask(image)
    return _labelled(studio, image)


@router.get("/{z}/{row}/{col}.png")
def tile(image: Shown, studio: Opened, z: int, row: int, col: int) -> Response:
    """Return a tile of the objects."""
    top, left, bottom, right = studio.display.box(image, z, row, col)
    store = studio.project.objects(image)
    with store.lock:
        part = store.labels[top:bottom, left:right].copy()
    return picture(draw_objects(part, z))


def _labelled(studio: Studio, image: StudioImage) -> dict[str, Any]:
    """Fit to the labels as they are now, and tell every page."""
    studio.loop.touch()
    return _told(studio, image)


def _told(studio: Studio, image: StudioImage) -> dict[str, Any]:
    """Return the state, and tell every page."""
    found = studio.correcting.state(image)
    state, labels = studio.project.state(image), studio.project.label_version(image)
    studio.events.publish("objects", image=image.id, state=state, labels=labels, objects=found)
    return found
