"""Routes of searches: start, watch, stop and resume them, and look at their reports."""

from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict

from evoseg.core.untrusted import read_file
from evoseg.runs.run_folder import REPORT, FilesError
from evoseg.studio.guard import REPORT_POLICY
from evoseg.studio.project import RUNS
from evoseg.studio.routes.shared import Opened
from evoseg.studio.searching import SearchRequest

router = APIRouter(prefix="/api/runs")


class RunRequest(BaseModel):
    """What to do with a run."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["stop", "resume"]


@router.get("")
def runs(studio: Opened) -> dict[str, Any]:
    """Return how far all runs are."""
    return {"runs": studio.searches.summaries()}


@router.post("")
def start(studio: Opened, request: SearchRequest) -> dict[str, Any]:
    """Start a search."""
    folder = studio.searches.start(request, studio.write_start(request.start) if request.start else "")
    return {"folder": str(folder), "runs": studio.searches.summaries()}


@router.post("/line")
def line(studio: Opened, request: SearchRequest) -> dict[str, str]:
    """Return the command of a search."""
    start = studio.start_of(request.start) if request.start else ""
    return {"line": studio.searches.command(request, studio.project.root / RUNS / "NAME", start).line}


@router.get("/{run}")
def details(studio: Opened, run: str) -> dict[str, Any]:
    """Return the course of a run and what it has found."""
    return studio.searches.details(run)


@router.post("/{run}")
def act(studio: Opened, run: str, request: RunRequest) -> dict[str, Any]:
    """Stop or resume a run."""
    folder = studio.searches.folder(run)
    (studio.searches.stop if request.action == "stop" else studio.searches.resume)(folder)
    return {"runs": studio.searches.summaries()}


@router.get("/{run}/report")
def report(studio: Opened, run: str) -> HTMLResponse:
    """Return the report of a run."""
    folder = studio.searches.folder(run)
    text = read_file(folder / REPORT, 2**28, inside=folder, error=FilesError)
    return HTMLResponse(text, headers={"content-security-policy": REPORT_POLICY})
