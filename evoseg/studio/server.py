"""The server of the studio: pages, tiles, strokes, answers, searches and results, for one browser on this machine."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Any, Literal, final

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader
from pydantic import BaseModel, ConfigDict, Field

from evoseg import __version__
from evoseg.core.errors import EvosegError
from evoseg.core.notes import one_line
from evoseg.core.untrusted import read_file
from evoseg.pipeline import print_text
from evoseg.runs.run_folder import REPORT, FilesError
from evoseg.studio.away import ENDING_OF, LIVE_SOURCE, ApplyRequest, Away
from evoseg.studio.display import COLOURS, TILE, Display, Look, draw_answer, draw_heat, draw_strokes
from evoseg.studio.guard import REPORT_POLICY, Guard
from evoseg.studio.live import BLOCK, HeldOut, Live, Model, NothingToFit
from evoseg.studio.project import Project, StudioImage
from evoseg.studio.searching import Searches, SearchRequest
from evoseg.studio.strokes import Box, Coordinate, Edit, EditId, Label, Strokes, StrokesError

logger = logging.getLogger(__name__)

HERE = Path(__file__).parent
_WATCH_S = 1.0
"""How often runs are looked at while one is running."""
_ALIVE_S = 15.0
"""Silence after which a stream of events says that it is still there."""
_MOST_ANSWERED = 4 * BLOCK**2
"""Pixels of the image that one tile of an answer may show: beyond that, the view is too far out for a live answer."""
_QUEUE = 256


@final
class Events:
    """Sends what happens to every open page."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[str | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Remember the loop that pages are answered in."""
        self._loop = asyncio.get_running_loop()

    def publish(self, kind: str, **values: Any) -> None:
        """Send an event; from any thread."""
        text = f"event: {kind}\ndata: {json.dumps(values)}\n\n"
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, text)

    def close(self) -> None:
        """End all streams, so that the server can stop."""
        self._put(None)

    def _put(self, text: str | None) -> None:
        for queue in self._queues:
            # A page that does not read gets everything anew when it connects again.
            with suppress(asyncio.QueueFull):
                queue.put_nowait(text)

    async def stream(self) -> AsyncIterator[str]:
        """Yield events as lines of a stream until the page goes away."""
        queue: asyncio.Queue[str | None] = asyncio.Queue(_QUEUE)
        self._queues.add(queue)
        try:
            yield "event: hello\ndata: {}\n\n"
            while True:
                try:
                    text = await asyncio.wait_for(queue.get(), _ALIVE_S)
                except TimeoutError:
                    text = ": still here\n\n"
                if text is None:
                    return
                yield text
        finally:
            self._queues.discard(queue)


@final
class LiveLoop:
    """Keeps the live answer up to date in a thread: fits after each stroke, then scores if no stroke came meanwhile.

    Attributes
    ----------
    model : Model or None
    scores : list of HeldOut
        Of `model`; empty until they are there.
    reason : str
        Why there is no model.
    """

    def __init__(self, live: Live, events: Events) -> None:
        self.model: Model | None = None
        self.scores: list[HeldOut] = []
        self.reason = ""
        self._live, self._events = live, events
        self._due, self._ended = Event(), False
        self._thread = Thread(target=self._run, name="live answer", daemon=True)

    def start(self) -> None:
        """Begin with what is there."""
        self._due.set()
        self._thread.start()

    def touch(self) -> None:
        """Fit again, since strokes have changed."""
        self._due.set()

    def stop(self) -> None:
        """End, after what cannot be broken off: a thread inside OpenCV must not outlive the interpreter."""
        self._ended = True
        self._live.stopped.set()
        self._due.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._due.wait()
            if self._ended:
                return
            self._due.clear()
            try:
                self._update()
            except EvosegError as error:
                self.model, self.scores, self.reason = None, [], str(error)
                self._events.publish("live", **self.as_json())
            except Exception as error:
                # The thread has to live on: what failed for these strokes may work for the next.
                logger.exception("the live answer failed")
                self.model, self.scores, self.reason = None, [], f"{type(error).__name__}: {error}"
                self._events.publish("live", **self.as_json())

    def _update(self) -> None:
        try:
            model = self._live.fit()
        except NothingToFit as error:
            self.model, self.scores, self.reason = None, [], str(error)
            self._events.publish("live", **self.as_json())
            return
        self.model, self.scores, self.reason = model, [], ""
        self._events.publish("live", **self.as_json())
        if not self._due.is_set():
            self.scores = self._live.held_out()
            self._events.publish("live", **self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Return the state as values that JSON knows."""
        model = self.model
        if model is None:
            return {"number": 0, "reason": self.reason}
        return {
            "number": model.number,
            "reason": "",
            "strokes": model.n_strokes,
            "images": model.n_images,
            "seconds": model.seconds,
            "scores": [vars(score) for score in self.scores],
            "programs": {str(fit.label): print_text(fit.pipeline) for fit in model.classes},
        }


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


class RunRequest(BaseModel):
    """What to do with a run."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["stop", "resume"]


@final
class Studio:
    """An opened folder with all that is done to it."""

    def __init__(self, root: Path) -> None:
        """Open a folder.

        Raises
        ------
        EvosegError
            If there is no such folder, or no image in it.
        """
        self.project = Project(root)
        self.display = Display(self.project)
        self.live = Live(self.project)
        self.events = Events()
        self.loop = LiveLoop(self.live, self.events)
        self.searches = Searches(self.project)
        self.away = Away(self.project, self.searches, self.live)

    def close(self) -> None:
        """Write what is not on disk yet."""
        self.loop.stop()
        self.project.save()

    async def watch(self) -> None:
        """Publish how far runs are while one is running."""
        shown: list[dict[str, Any]] = []
        while True:
            await asyncio.sleep(_WATCH_S)
            with suppress(EvosegError, OSError):
                summaries = await asyncio.to_thread(self.searches.summaries)
                if summaries != shown:
                    self.events.publish("runs", runs=summaries)
                shown = summaries


def describe_image(studio: Studio, image: StudioImage) -> dict[str, Any]:
    """Return what the browser has to know of an image before it shows it."""
    project, display = studio.project, studio.display
    rows, reason = project.rows(image), project.why_not_paint(image)
    pixel = project.crop(image, (0, 0, 1, 1))
    native = pixel.dtype == np.uint8
    return {
        "id": image.id,
        "name": one_line(image.stem),
        "state": project.state(image),
        "height": rows.shape[0],
        "width": rows.shape[1],
        "levels": display.n_levels(image),
        "channels": [one_line(name) for name in image.input.names()] if pixel.shape[2] > 1 else ["gray"],
        "look": {"low": 0.0 if native else 0.5, "high": 100.0 if native else 99.5},
        "why_not_paint": reason,
        "strokes": _history(project.strokes(image)) if not reason else None,
    }


def _history(strokes: Strokes, box: Box | None = None) -> dict[str, Any]:
    return {"version": strokes.version, "undo": strokes.can_undo, "redo": strokes.can_redo, "box": box}


def make_app(studio: Studio) -> FastAPI:
    """Return the application, without its guard."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        studio.events.open()
        studio.loop.start()
        watching = asyncio.create_task(studio.watch())
        yield
        watching.cancel()
        studio.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    pages = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True)
    project, display, live = studio.project, studio.display, studio.live
    app.mount("/static", StaticFiles(directory=HERE / "static", follow_symlink=False), name="static")

    @app.exception_handler(EvosegError)
    def refused(request: Request, error: EvosegError) -> JSONResponse:
        return JSONResponse({"error": one_line(str(error))}, 400)

    @app.exception_handler(RequestValidationError)
    def misunderstood(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return JSONResponse({"error": one_line(f"the request cannot be used ({where}: {first['msg']}).")}, 422)

    @app.exception_handler(OSError)
    def failed(request: Request, error: OSError) -> JSONResponse:
        return JSONResponse({"error": one_line(str(error))}, 500)

    @app.get("/")
    def page() -> HTMLResponse:
        text = pages.get_template("studio.html.jinja").render(
            title=one_line(project.root.name), root=one_line(str(project.root)), version=__version__
        )
        return HTMLResponse(text, headers={"cache-control": "no-store"})

    @app.get("/api/project")
    def describe() -> dict[str, Any]:
        images = [
            {"id": image.id, "name": one_line(image.stem), "state": project.state(image)}
            for image in project.images.values()
        ]
        return {
            "root": one_line(str(project.root)),
            "images": images,
            "tile": TILE,
            "colours": COLOURS,
            "forms": list(ENDING_OF),
            "live": studio.loop.as_json(),
        }

    @app.get("/api/events")
    async def events() -> StreamingResponse:
        return StreamingResponse(
            studio.events.stream(), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    # Images

    @app.get("/api/images/{key}")
    def image_facts(key: str) -> dict[str, Any]:
        return describe_image(studio, project.image(key))

    @app.get("/api/images/{key}/thumbnail.png")
    def thumbnail(key: str) -> Response:
        return _picture(display.thumbnail(project.image(key)), 600)

    @app.get("/api/images/{key}/tiles/{z}/{row}/{col}.png")
    def tile(
        key: str,
        z: int,
        row: int,
        col: int,
        channel: Annotated[int, Query(ge=-1, le=10_000)] = -1,
        low: Annotated[float, Query(ge=0, le=100)] = 0.0,
        high: Annotated[float, Query(ge=0, le=100)] = 100.0,
        log: bool = False,
    ) -> Response:
        return _picture(display.tile(project.image(key), z, row, col, Look(channel, low, high, log)), 600)

    @app.get("/api/images/{key}/strokes/{z}/{row}/{col}.png")
    def stroke_tile(key: str, z: int, row: int, col: int) -> Response:
        image = project.image(key)
        box = display.box(image, z, row, col)
        if project.state(image) in ("mask", "test") and project.why_not_paint(image):
            part = project.mask(image)[box[0] : box[2], box[1] : box[3]]
            return _picture(draw_strokes(outlines(part), z), 600)
        strokes = project.strokes(image)
        with strokes.lock:
            part = strokes.labels[box[0] : box[2], box[1] : box[3]].copy()
        return _picture(draw_strokes(part, z))

    @app.get("/api/images/{key}/answer/{what}/{number}/{z}/{row}/{col}.png")
    def answer_tile(key: str, what: Literal["labels", "doubt"], number: int, z: int, row: int, col: int) -> Response:
        image, model = project.image(key), studio.loop.model
        box = display.box(image, z, row, col)
        found = None if model is None else live.region(model, image, box, _MOST_ANSWERED)
        if found is None:
            return Response(status_code=204)
        return _picture(draw_heat(found.doubt, z) if what == "doubt" else draw_answer(found.labels, z))

    @app.get("/api/images/{key}/runs/{run}/{z}/{row}/{col}.png")
    def run_tile(key: str, run: str, z: int, row: int, col: int, answer: str = "") -> Response:
        image = project.image(key)
        box = display.box(image, z, row, col)
        found = studio.searches.answer(studio.searches.pipeline(run, answer), image)
        return _picture(draw_answer(found[box[0] : box[2], box[1] : box[3]], z))

    # Strokes

    @app.post("/api/images/{key}/edits")
    def edit(key: str, change: Edit) -> dict[str, Any]:
        return _did(key, lambda strokes: strokes.add(change))

    @app.post("/api/images/{key}/undo")
    def undo(key: str) -> dict[str, Any]:
        return _did(key, Strokes.undo)

    @app.post("/api/images/{key}/redo")
    def redo(key: str) -> dict[str, Any]:
        return _did(key, Strokes.redo)

    @app.post("/api/images/{key}/object")
    def label_object(key: str, request: ObjectRequest) -> dict[str, Any]:
        image, model = project.image(key), studio.loop.model
        points = [] if model is None else live.outline(model, image, *request.place)
        if not points:
            raise StrokesError("There is no object of the live answer here.")
        values = {"id": request.id, "label": request.label, "protect": request.protect, "points": points}
        # What is one pixel wide encloses nothing.
        tool = "polygon" if len(points) > 2 else "brush"
        return _did(key, lambda strokes: strokes.add(Edit.model_validate(values | {"tool": tool, "radius": 0.5})))

    def _did(key: str, change: Any) -> dict[str, Any]:
        image = project.image(key)
        strokes = project.strokes(image)
        box = change(strokes)
        found = _history(strokes, box) | {"state": project.state(image)}
        if box is not None:
            studio.events.publish("strokes", image=key, **found)
            studio.loop.touch()
        return found

    # The live answer

    @app.post("/api/images/{key}/next")
    def next_place(key: str, request: NextRequest) -> dict[str, Any]:
        image, model = project.image(key), studio.loop.model
        if model is None:
            return {"reason": studio.loop.reason or "There is no answer yet."}
        if (box := live.next_region(model, image, request.skip)) is not None:
            return {"box": box}
        found = live.next_image(model, image)
        if found is None:
            return {"reason": "Nothing is in doubt here, and no image is left without labels."}
        return {"image": found[0].id, "doubt": found[1]}

    @app.post("/api/live/save")
    def save_live() -> dict[str, Any]:
        if studio.loop.model is None:
            raise FilesError(studio.loop.reason or "There is no answer yet.")
        path = studio.away.save_live(studio.loop.model)
        return {"path": str(path), "program": studio.away.program(LIVE_SOURCE)}

    # Searches

    @app.get("/api/runs")
    def runs() -> dict[str, Any]:
        return {"runs": studio.searches.summaries()}

    @app.post("/api/runs")
    def start_search(request: SearchRequest) -> dict[str, Any]:
        if request.live:
            save_live()
        folder = studio.searches.start(request)
        return {"folder": str(folder), "runs": studio.searches.summaries()}

    @app.post("/api/runs/line")
    def search_line(request: SearchRequest) -> dict[str, str]:
        return {"line": studio.searches.command(request, project.root / "runs" / "NAME").line}

    @app.get("/api/runs/{run}")
    def run_details(run: str) -> dict[str, Any]:
        return studio.searches.details(run)

    @app.post("/api/runs/{run}")
    def act(run: str, request: RunRequest) -> dict[str, Any]:
        folder = studio.searches.folder(run)
        (studio.searches.stop if request.action == "stop" else studio.searches.resume)(folder)
        return {"runs": studio.searches.summaries()}

    @app.get("/api/runs/{run}/report")
    def report(run: str) -> HTMLResponse:
        folder = studio.searches.folder(run)
        text = read_file(folder / REPORT, 2**28, inside=folder, error=FilesError)
        return HTMLResponse(text, headers={"content-security-policy": REPORT_POLICY})

    # Away

    @app.post("/api/results")
    def apply(request: ApplyRequest) -> dict[str, Any]:
        if request.source == LIVE_SOURCE:
            save_live()
        return studio.away.result(studio.away.apply(request))

    @app.post("/api/results/line")
    def apply_line(request: ApplyRequest) -> dict[str, str]:
        return {"line": studio.away.command(request, project.root / "results" / "NAME").line}

    @app.get("/api/results")
    def results() -> dict[str, Any]:
        return {"results": studio.away.results()}

    @app.get("/api/results/{name}")
    def result(name: str) -> dict[str, Any]:
        return studio.away.result(name)

    @app.post("/api/results/{name}/stop")
    def stop_applying(name: str) -> dict[str, Any]:
        studio.away.stop(name)
        return studio.away.result(name)

    @app.get("/api/results/{name}/{index}.png")
    def overlay(name: str, index: int) -> Response:
        return _picture(studio.away.overlay(name, index), 60)

    @app.get("/api/export")
    def export(source: str, to: str) -> dict[str, str]:
        if source == LIVE_SOURCE:
            save_live()
        name, text, line = studio.away.export(source, to)
        return {"name": name, "text": text, "line": line}

    return app


def outlines(labels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return labels along the inner rim of what they mark, and 0 elsewhere."""
    import cv2

    inside = (labels > 1).astype(np.uint8)
    rim = inside - cv2.erode(inside, np.ones((5, 5), np.uint8))
    return np.where(rim > 0, labels, 0).astype(np.uint8)


def _picture(data: bytes, seconds: int = 0) -> Response:
    kept = f"private, max-age={seconds}" if seconds else "no-store"
    return Response(data, media_type="image/png", headers={"cache-control": kept})


def serve(root: Path, port: int, *, on_ready: Callable[[str], None]) -> None:
    """Serve a folder on this machine until Ctrl-C.

    Parameters
    ----------
    root : Path
    port : int
        0 for any that is free.
    on_ready : callable (address)
        Called with the address that lets a browser in, once it is answered.

    Raises
    ------
    EvosegError
        If there is no image in the folder, or the port is taken.
    """
    import socket

    import uvicorn

    studio = Studio(root)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        raise FilesError(f"port {port} cannot be used ({error.strerror}). Choose another with --port.") from error
    port = listening.getsockname()[1]
    guard = Guard(make_app(studio), port)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            on_ready(f"http://127.0.0.1:{port}/enter?token={guard.token}")

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            studio.events.close()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        guard, log_level="warning", ws="none", server_header=False, timeout_graceful_shutdown=1, lifespan="on"
    )
    Server(config).run(sockets=[listening])
