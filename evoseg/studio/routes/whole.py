"""Routes of the folder as a whole: the page, what there is, and the stream of events."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, StreamingResponse
from jinja2 import Environment, FileSystemLoader

from evoseg import __version__
from evoseg.core.notes import one_line
from evoseg.studio.away import ENDING_OF
from evoseg.studio.display import BESIDE, COLOURS, TILE
from evoseg.studio.routes.shared import HERE, Opened

router = APIRouter()
_PAGES = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True)


@router.get("/")
def page(studio: Opened) -> HTMLResponse:
    """Return the page."""
    root = studio.project.root
    text = _PAGES.get_template("studio.html.jinja").render(
        title=one_line(root.name), root=one_line(str(root)), version=__version__
    )
    return HTMLResponse(text, headers={"cache-control": "no-store"})


@router.get("/api/project")
def describe(studio: Opened) -> dict[str, Any]:
    """Return the images with their states, and the live answer."""
    project = studio.project
    images = [
        {"id": image.id, "name": one_line(image.stem), "state": project.state(image)}
        for image in project.images.values()
    ]
    return {
        "root": one_line(str(project.root)),
        "images": images,
        "tile": TILE,
        "colours": COLOURS,
        "beside": BESIDE,
        "forms": list(ENDING_OF),
        "live": studio.loop.as_json(),
    }


@router.get("/api/events")
async def events(studio: Opened) -> StreamingResponse:
    """Return the stream of events."""
    return StreamingResponse(
        studio.events.stream(), media_type="text/event-stream", headers={"cache-control": "no-store"}
    )
