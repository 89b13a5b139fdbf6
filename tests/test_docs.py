"""What pages show works: pipelines can be read, and the code of the tutorial and the how-to pages runs."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import evoseg
from evoseg.datasets.io.files import write_labels
from evoseg.pipeline import read_text
from evoseg.synthetic import draw_dataset

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if "reference" not in page.parts)]
RUNNABLE = [ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]

# What a page takes for granted: the scene in plates/, and how many of the eight images have a mask.
PLATES = {
    "few-masks": ("pores", 4),
    "sixteen-bit": ("spots", 8),
    "instances": ("nuclei", 8),
    "sharing-a-library": ("pores", 8),
    "production": ("pores", 8),
    "other-tools": ("cracks", 8),
}
SHORT = 10
"""Evaluations that stand in for the seconds of a page."""


def programs(page: Path) -> list[str]:
    """Return the indented blocks of a page that define a pipeline."""
    blocks = re.findall(r"(?:^    .*\n?)+", page.read_text("utf-8"), re.MULTILINE)
    plain = (re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks)
    return [block for block in plain if "def pipeline(" in block]


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """Yield language, code, and why it is not run (mostly nothing) of each fenced block."""
    fence = r"(?:^<!-- not run: ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$"
    for reason, language, code in re.findall(fence, page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        yield language, code, reason


def shortened(code: str, page: Path) -> str:
    """Search briefly, in one process, and without the library unless the page is about it."""
    of_library = page.stem == "sharing-a-library"
    options = f"--evaluations {SHORT} --workers 0" + ("" if of_library else " --library none")
    code = re.sub(r"--seconds \d+", options, code)
    return re.sub(r"seconds=\d+", f'evaluations={SHORT}, workers=0, library="none"', code)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pipelines_on_pages_are_valid(page):
    for program in programs(page):
        assert len(read_text(program)) > 1


def test_the_readme_shows_a_readable_pipeline_and_then_one_with_a_network():
    shown = [read_text(program) for program in programs(ROOT / "README.md")]
    assert [pipeline.has_network for pipeline in shown] == [False, True]


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Path:
    """Return a finished search, which some pages begin with."""
    folder = tmp_path_factory.mktemp("docs")
    drawn = draw_dataset("pores", folder / "drawn", 6, (60, 80), seed=1)
    evoseg.search(drawn, evaluations=SHORT, workers=0, library="none", out=folder / "found")
    return folder / "found"


@pytest.fixture
def folder(request, tmp_path) -> Path:
    """Return a folder with what the page takes for granted."""
    page = request.getfixturevalue("page").stem
    if page in PLATES:
        scene, labelled = PLATES[page]
        draw_dataset(scene, tmp_path / "plates", 8, (80, 100), seed=2, n_labelled=labelled)
    if page == "instances":
        number_objects(tmp_path / "plates" / "masks")
    if page == "without-masks":
        draw_dataset("nuclei", tmp_path / "drawn", 2, (60, 80), seed=4)
        (tmp_path / "new_images").symlink_to(tmp_path / "drawn" / "images")
    if page in ("production", "other-tools"):
        (tmp_path / "found").symlink_to(request.getfixturevalue("found"))
        (tmp_path / "new_images").symlink_to(tmp_path / "plates" / "images")
        draw_dataset("pores", tmp_path / "this_month", 2, (60, 80), seed=3)
        (tmp_path / "reference").mkdir()
        lines = [f"{stem},{area}" for stem in "abc" for area in (20, 30)]
        (tmp_path / "reference" / "objects.csv").write_text("\n".join(["image,area_px", *lines]))
    return tmp_path


def number_objects(masks: Path) -> None:
    for path in masks.glob("*.png"):
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        path.unlink()
        write_labels(path.with_suffix(".tif"), cv2.connectedComponents(mask)[1].astype(np.int32))


@pytest.fixture
def environment(tmp_path_factory) -> dict[str, str]:
    """Return an environment in which `evoseg` and `python` are those under test, as a task of a job array."""
    commands = tmp_path_factory.mktemp("bin")
    python = shlex.quote(sys.executable)
    for name, words in (("evoseg", "-m evoseg.cli.main"), ("python", "")):
        (commands / name).write_text(f'#!/bin/sh\nexec {python} {words} "$@"\n')
        (commands / name).chmod(0o755)
    paths = {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return os.environ | paths | {"EVOSEG_HOME": str(commands / "home"), "SLURM_ARRAY_TASK_ID": "1"}


@pytest.mark.e2e
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, folder, environment):
    for language, code, reason in blocks(page):
        if language in ("sh", "python") and not reason:
            command = ["bash", "-e", "-c"] if language == "sh" else [sys.executable, "-c"]
            done = subprocess.run(
                [*command, shortened(code, page)], cwd=folder, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.stem)
def test_every_block_says_what_it_is(page):
    assert {language for language, _, _ in blocks(page)} <= {"sh", "python", "text"}
