"""Routes of the library: similar tasks with pictures, and what stored pipelines do on these images."""

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from evoseg.studio.guard import REPORT_POLICY
from evoseg.studio.routes.shared import Opened, picture
from evoseg.studio.searching import id_of
from evoseg.studio.shelf import Question, ShelfRequest

router = APIRouter(prefix="/api/library")


class PickRequest(BaseModel):
    """An answer, numbered from 1, and what its file is to be called, without its ending."""

    model_config = ConfigDict(extra="forbid")

    number: Annotated[int, Field(ge=1, le=1000)]
    name: Annotated[str, Field(max_length=60)]


@router.get("/{question}")
def answer(studio: Opened, question: Question) -> dict[str, Any]:
    """Return what is known of a question."""
    return studio.shelf.answer(question)


@router.post("/{question}/ask")
def ask(studio: Opened, question: Question, request: ShelfRequest) -> dict[str, Any]:
    """Start to answer a question."""
    studio.shelf.ask(question, request)
    return studio.shelf.answer(question)


@router.post("/{question}/stop")
def stop(studio: Opened, question: Question) -> dict[str, Any]:
    """Stop answering a question."""
    studio.shelf.stop(question)
    return studio.shelf.answer(question)


@router.post("/{question}/line")
def line(studio: Opened, question: Question, request: ShelfRequest) -> dict[str, str]:
    """Return the command that answers a question."""
    return {"line": studio.shelf.command(question, request).line}


@router.post("/reuse/pick")
def pick(studio: Opened, request: PickRequest) -> dict[str, Any]:
    """Write the pipeline of an answer among the results."""
    path = studio.shelf.pick(request.number, request.name)
    return {"id": id_of(path), "path": str(path), "saved": studio.sources.listed()}


@router.get("/reuse/page")
def page(studio: Opened) -> HTMLResponse:
    """Return the page with all answers."""
    return HTMLResponse(studio.shelf.page(), headers={"content-security-policy": REPORT_POLICY})


@router.get("/tasks/{task}.png")
def task_picture(studio: Opened, task: Annotated[str, Field(max_length=60)]) -> Response:
    """Return pictures of a solved task."""
    return picture(studio.shelf.picture(task), 600)
