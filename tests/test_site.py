"""The site of the documentation: it builds without a warning, and nothing is left out."""

import importlib.util
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

import evoseg
import evoseg.operators
from evoseg.cli.manual import commands
from evoseg.operators.registry import operators

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parent.parent

for package in ("sphinx", "myst_parser", "furo"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed; pip install 'evoseg[docs]'", allow_module_level=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Return the built site, made as `make docs` makes it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", "docs", folder]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def headings(page: Path) -> set[str]:
    """Return the headings of a page, without their links."""
    found = re.findall(r"<h[12]>(.*?)<a class=\"headerlink\"", page.read_text("utf-8"))
    return {unescape(re.sub(r"<[^>]*>", "", heading)) for heading in found}


def test_every_operator_has_its_section_with_a_picture(site):
    for op in operators(retired=True):
        page = site / "reference" / "operators" / f"{op.family}.html"
        assert op.name in headings(page)
        assert f"../../_images/{op.name}.png" in page.read_text("utf-8")
        assert (site / "_images" / f"{op.name}.png").exists()


def test_every_command_has_its_section(site):
    assert {" ".join(("evoseg", *words)) for words in commands()} <= headings(site / "commands.html")


def test_every_public_name_is_explained(site):
    page = (site / "reference" / "python.html").read_text("utf-8")
    for name in evoseg.__all__:
        assert name.startswith("_") or f'id="evoseg.{name}"' in page


def test_every_page_is_in_the_navigation(site):
    index = (site / "index.html").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem in ("README", "index") or f'href="{page.stem}.html"' in index


def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|link)\b[^>]*?(?:src|href)=\"(https?:[^\"]*)", page.read_text("utf-8"))
        assert loaded == [], page.name
