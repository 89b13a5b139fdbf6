"""What routes of all subjects need: the opened folder, the image that an address names, and pictures as answers."""

from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import Response

from evoseg.studio.opened import Studio
from evoseg.studio.project import StudioImage

HERE = Path(__file__).parent.parent
"""Of `static/` and `templates/`."""


async def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio


Opened = Annotated[Studio, Depends(_studio)]


async def _image(key: str, studio: Opened) -> StudioImage:
    return studio.project.image(key)


Shown = Annotated[StudioImage, Depends(_image)]
"""The image whose id is `key` in the address."""


def picture(data: bytes, seconds: int = 0) -> Response:
    """Return a PNG file as an answer that the browser may keep for some time."""
    kept = f"private, max-age={seconds}" if seconds else "no-store"
    return Response(data, media_type="image/png", headers={"cache-control": kept})
