"""Routes of the workbench: change a pipeline, score it, compare it with others, and save it."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from evoseg.core.errors import EvosegError
from evoseg.core.notes import one_line
from evoseg.studio.opened import Studio
from evoseg.studio.routes.shared import Opened, Shown
from evoseg.studio.searching import Command, id_of
from evoseg.studio.workbench import Change

router = APIRouter(prefix="/api")


class OpenRequest(BaseModel):
    """A pipeline, by its source."""

    model_config = ConfigDict(extra="forbid")

    source: Annotated[str, Field(max_length=60)]


class SaveRequest(BaseModel):
    """What the file is to be called, without its ending."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=60)]


@router.get("/bench")
def bench(studio: Opened) -> dict[str, Any]:
    """Return what is on the workbench."""
    return studio.workbench.as_json()


@router.post("/bench/open")
def open_source(studio: Opened, request: OpenRequest) -> dict[str, Any]:
    """Put a pipeline on the workbench."""
    studio.path_of(request.source)
    studio.workbench.open(request.source)
    return _tell(studio)


@router.post("/bench/change")
def change(studio: Opened, request: Change) -> dict[str, Any]:
    """Change a step."""
    studio.workbench.change(request)
    return _tell(studio)


@router.post("/bench/{action}")
def act(studio: Opened, action: Literal["undo", "redo", "refit"]) -> dict[str, Any]:
    """Undo, redo or refit."""
    if action == "refit":
        studio.workbench.refit()
    else:
        studio.workbench.step_back(1 if action == "undo" else -1)
    return _tell(studio)


@router.post("/bench/save/file")
def save(studio: Opened, request: SaveRequest) -> dict[str, Any]:
    """Write the pipeline among the results."""
    saved, root = studio.workbench.save(request.name), str(studio.project.root)
    words = [("apply", str(saved), root, "--out", "MASKS"), ("score", str(saved), root)]
    lines = [Command(line).line for line in words]
    return {"id": id_of(saved), "path": str(saved), "lines": lines, "saved": studio.sources.listed()}


@router.get("/bench/beside")
def beside(studio: Opened, source: str) -> dict[str, Any]:
    """Return another pipeline, to stand beside the one on the workbench."""
    studio.path_of(source)
    return studio.workbench.beside(source)


@router.get("/bench/scores/{digest}")
def score(studio: Opened, digest: str) -> dict[str, Any]:
    """Return the score of a program on search images, or the reason why there is none."""
    try:
        return studio.workbench.score(digest)
    except EvosegError as error:
        return {"n": 0, "reason": one_line(str(error))}


@router.get("/images/{key}/overlap/{one}/{other}")
def overlap(image: Shown, studio: Opened, one: str, other: str) -> dict[str, float | None]:
    """Return how far two programs agree on an image."""
    return studio.workbench.overlap(one, other, image)


@router.get("/pipelines")
def pipelines(studio: Opened) -> dict[str, Any]:
    """Return the pipelines that were saved among the results."""
    return {"saved": studio.sources.listed()}


def _tell(studio: Studio) -> dict[str, Any]:
    """Return what is on the workbench, and tell other pages."""
    found = studio.workbench.as_json()
    studio.events.publish("bench", digest=found["digest"], undo=found["undo"], redo=found["redo"])
    return found
