"""The report: one page that opens offline, without scripts, and needs no other file."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from evoseg.base.writing import whole_file
from evoseg.report.pictures import Picture


@dataclass(frozen=True)
class ScoreLine:
    """One line of the table of scores.

    Attributes
    ----------
    name : str
    score : float
    images : int or None
    note : str
    """

    name: str
    score: float
    images: int | None = None
    note: str = ""


@dataclass(frozen=True)
class StepLine:
    """One step of the pipeline: its line of text, what it does, and its value on one image."""

    text: str
    summary: str
    figures: str
    picture: Picture


@dataclass(frozen=True)
class GalleryLine:
    """One image of the gallery."""

    stem: str
    why: str
    score: float
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Chart:
    """A chart with what it shows in words."""

    title: str
    svg: Markup
    caption: str


@dataclass(frozen=True)
class Page:
    """All that a report shows.

    Attributes
    ----------
    title, metric : str
    in_short : sequence of str
        Sentences in plain words.
    by_pixel : bool
        Whether the gallery's third pictures show pixels that differ, and not the outlines of both.
    text : str
        The pipeline.
    image : Picture
        What the steps are shown on; `stem` is its name.
    facts : sequence of (name, value)
        Settings, versions and the like.
    """

    title: str
    metric: str
    by_pixel: bool
    in_short: Sequence[str]
    text: str
    scores: Sequence[ScoreLine]
    stem: str
    image: Picture
    steps: Sequence[StepLine]
    gallery: Sequence[GalleryLine]
    charts: Sequence[Chart]
    per_image: Sequence[tuple[str, float]]
    facts: Sequence[tuple[str, str]]


def html(page: Page) -> str:
    """Return the page as HTML; nothing in it may run or load anything, by its own policy."""
    from jinja2 import Environment, StrictUndefined

    folder = files("evoseg.report")
    style = (folder / "report.css").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / "report.html.jinja").read_text("utf-8"))
    return template.render(
        page=page, style=Markup(style), style_hash=b64encode(sha256(style.encode()).digest()).decode()
    )


def write_page(page: Page, path: Path) -> None:
    """Write the page as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        # Names of files may hold halves of characters, which no encoding of a page can carry.
        file.write(html(page).encode("utf-8", "replace"))
