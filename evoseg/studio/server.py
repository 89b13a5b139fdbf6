"""The server of the studio, for one browser on this machine: its pages, its routes and its errors."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from evoseg.core.errors import EvosegError
from evoseg.core.notes import one_line
from evoseg.runs.run_folder import FilesError
from evoseg.studio.guard import Guard
from evoseg.studio.opened import Studio
from evoseg.studio.routes import ROUTERS
from evoseg.studio.routes.shared import HERE


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
    app.state.studio = studio
    app.mount("/static", StaticFiles(directory=HERE / "static", follow_symlink=False), name="static")
    app.add_exception_handler(EvosegError, _refused)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    app.add_exception_handler(OSError, _failed)
    for router in ROUTERS:
        app.include_router(router)
    return app


def _refused(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": one_line(str(error))}, 400)


def _misunderstood(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return JSONResponse({"error": one_line(f"the request cannot be used ({where}: {first['msg']}).")}, 422)


def _failed(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": one_line(str(error))}, 500)


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
