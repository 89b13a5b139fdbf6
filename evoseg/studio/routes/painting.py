"""Routes of painting: strokes and their undoing, and the live answer that follows them."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from evoseg.studio.history import Box, Coordinate, EditId
from evoseg.studio.opened import Studio
from evoseg.studio.project import StudioImage
from evoseg.studio.routes.shared import Opened, Shown
from evoseg.studio.sources import LIVE_SOURCE
from evoseg.studio.strokes import Edit, Label, Strokes, StrokesError

router = APIRouter()


class NextRequest(BaseModel):
    """Where to go next: `skip` are middles of regions that were shown before."""

    model_config = ConfigDict(extra="forbid")

    skip: Annotated[list[tuple[int, int]], Field(max_length=1000)] = []


class ObjectRequest(BaseModel):
    """An object of the live answer that gets a label: the one at a place (row, col), px."""

    model_config = ConfigDict(extra="forbid")

    id: EditId
    label: Label
    place: tuple[Coordinate, Coordinate]
    protect: bool = False


@router.post("/api/images/{key}/edits")
def edit(image: Shown, studio: Opened, change: Edit) -> dict[str, Any]:
    """Add a stroke."""
    return _changed(studio, image, lambda strokes: strokes.add(change))


@router.post("/api/images/{key}/undo")
def undo(image: Shown, studio: Opened) -> dict[str, Any]:
    """Undo the last stroke."""
    return _changed(studio, image, Strokes.undo)


@router.post("/api/images/{key}/redo")
def redo(image: Shown, studio: Opened) -> dict[str, Any]:
    """Redo what was undone last."""
    return _changed(studio, image, Strokes.redo)


@router.post("/api/images/{key}/object")
def label_object(image: Shown, studio: Opened, request: ObjectRequest) -> dict[str, Any]:
    """Give a label to an object of the live answer."""
    model = studio.loop.model
    points = [] if model is None else studio.live.outline(model, image, *request.place)
    if not points:
        raise StrokesError("There is no object of the live answer here.")
    values = {"id": request.id, "label": request.label, "protect": request.protect, "points": points}
    # What is one pixel wide encloses nothing.
    tool = "polygon" if len(points) > 2 else "brush"
    change = Edit.model_validate(values | {"tool": tool, "radius": 0.5})
    return _changed(studio, image, lambda strokes: strokes.add(change))


def _changed(studio: Studio, image: StudioImage, change: Callable[[Strokes], Box | None]) -> dict[str, Any]:
    """Change strokes and tell every page."""
    with studio.project.labelling:
        strokes = studio.project.strokes(image)
        box = change(strokes)
    found = strokes.history() | {"box": box, "state": studio.project.state(image)}
    if box is not None:
        studio.events.publish("strokes", image=image.id, **found)
        studio.loop.touch()
    return found


@router.post("/api/images/{key}/next")
def next_place(image: Shown, studio: Opened, request: NextRequest) -> dict[str, Any]:
    """Return where a stroke would teach most."""
    model = studio.loop.model
    if model is None:
        return {"reason": studio.loop.reason or "There is no answer yet."}
    if (box := studio.live.next_region(model, image, request.skip)) is not None:
        return {"box": box}
    found = studio.live.next_image(model, image)
    if found is None:
        return {"reason": "Nothing is in doubt here, and no image is left without labels."}
    return {"image": found[0].id, "doubt": found[1]}


@router.post("/api/live/save")
def save_live(studio: Opened) -> dict[str, Any]:
    """Write the live answer into the folder."""
    path = studio.save_live()
    return {"path": str(path), "program": studio.away.program(LIVE_SOURCE)}
