"""Every pipeline that a page shows can be read."""

import re
from pathlib import Path

import pytest

from evoseg.pipeline import read_text

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def programs(page: Path) -> list[str]:
    """Return the indented blocks of a page that define a pipeline."""
    blocks = re.findall(r"(?:^    .*\n?)+", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks)
    return [block for block in plain if "def pipeline(" in block]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pipelines_on_pages_are_valid(page):
    for program in programs(page):
        assert len(read_text(program)) > 1


def test_the_readme_shows_one():
    assert len(programs(ROOT / "README.md")) == 1
