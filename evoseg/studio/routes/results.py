"""Routes of results: apply a pipeline, look at what it gives, and export it."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from evoseg.studio.away import ApplyRequest
from evoseg.studio.project import RESULTS
from evoseg.studio.routes.shared import Opened, picture

router = APIRouter(prefix="/api")


@router.post("/results")
def apply(studio: Opened, request: ApplyRequest) -> dict[str, Any]:
    """Start to apply a pipeline."""
    studio.path_of(request.source)
    return studio.away.result(studio.away.apply(request))


@router.post("/results/line")
def line(studio: Opened, request: ApplyRequest) -> dict[str, str]:
    """Return the command that applies a pipeline."""
    return {"line": studio.away.command(request, studio.project.root / RESULTS / "NAME").line}


@router.get("/results")
def results(studio: Opened) -> dict[str, Any]:
    """Return all results."""
    return {"results": studio.away.results()}


@router.get("/results/{name}")
def result(studio: Opened, name: str) -> dict[str, Any]:
    """Return how far one result is."""
    return studio.away.result(name)


@router.post("/results/{name}/stop")
def stop(studio: Opened, name: str) -> dict[str, Any]:
    """Stop applying."""
    studio.away.stop(name)
    return studio.away.result(name)


@router.get("/results/{name}/{index}.png")
def overlay(studio: Opened, name: str, index: int) -> Response:
    """Return the picture of one image's result."""
    return picture(studio.away.overlay(name, index), 60)


@router.get("/export")
def export(studio: Opened, source: str, to: str) -> dict[str, str]:
    """Return a pipeline in another form."""
    studio.path_of(source)
    name, text, line = studio.away.export(source, to)
    return {"name": name, "text": text, "line": line}
