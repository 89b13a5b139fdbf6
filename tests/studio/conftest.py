"""A folder of drawn images without masks, and the studio on it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

from evoseg.datasets.io.files import write_image

pytest.importorskip("fastapi", reason="the extra studio is not installed")

from fastapi.testclient import TestClient

from evoseg.studio.guard import Guard
from evoseg.studio.opened import Studio
from evoseg.studio.project import Project
from evoseg.studio.server import make_app
from evoseg.studio.strokes import Edit

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (90, 124)  # Non-square on purpose: swapped axes must fail.
PORT = 8765
ORIGIN = f"http://127.0.0.1:{PORT}"
DISCS = ((25, 30, 14), (60, 85, 20))


def draw(seed: int, dark: int = 70, bright: int = 150) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return an image of two bright discs (row, column, radius) in noise under a ramp of light, and where they are."""
    mask = np.zeros(SHAPE, np.uint8)
    for row, col, radius in DISCS:
        cv2.circle(mask, (col + 3 * seed, row), radius, 1, -1)
    ramp = np.linspace(-15, 15, SHAPE[1])
    image = np.where(mask > 0, bright, dark) + ramp + default_rng(seed).normal(0, 12, SHAPE)
    return np.clip(image, 0, 255).astype(np.uint8), mask > 0


def brush(name: str, label: int, *points: tuple[float, float], radius: float = 2.0, **others: object) -> Edit:
    """Return a stroke."""
    return Edit.model_validate(
        {"id": name, "tool": "brush", "label": label, "radius": radius, "points": points} | others
    )


STROKES = (
    brush("object", 2, (25, 26), (25, 38)),
    brush("object-2", 2, (60, 80), (66, 90)),
    brush("ground", 1, (80, 10), (80, 50)),
    brush("ground-2", 1, (10, 70), (12, 110)),
)


class StudioProcess:
    """A studio in a process of its own."""

    def __init__(self, folder: Path, home: Path, port: int = 0) -> None:
        command = [sys.executable, "-m", "evoseg", "studio", str(folder), "--no-browser", "--port", str(port)]
        environment = os.environ | {"EVOSEG_HOME": str(home), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        self.port = int(self.address.rpartition(":")[2].partition("/")[0])

    def end(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "plates"
    for seed in range(3):
        (root / "images").mkdir(parents=True, exist_ok=True)
        write_image(root / "images" / f"d{seed}.png", draw(seed)[0])
    return root


@pytest.fixture
def project(folder: Path) -> Project:
    return Project(folder)


def paint(project: Project, stem: str = "d0", strokes: tuple[Edit, ...] = STROKES) -> None:
    """Paint strokes on an image."""
    image = next(image for image in project.images.values() if image.stem == stem)
    for stroke in strokes:
        assert project.strokes(image).add(stroke)


class Browser:
    """What a page does: it has the cookie, and names the origin where it changes something."""

    def __init__(self, client: TestClient, token: str) -> None:
        self.client = client
        assert client.get(f"/enter?token={token}").status_code == 200

    def get(self, path: str):
        return self.client.get(path)

    def post(self, path: str, body: object = None):
        return self.client.post(path, json=body if body is not None else {}, headers={"origin": ORIGIN})


@pytest.fixture
def studio(folder: Path) -> Studio:
    return Studio(folder)


@pytest.fixture
def guard(studio: Studio) -> Guard:
    return Guard(make_app(studio), PORT)


@pytest.fixture
def client(guard: Guard) -> Iterator[TestClient]:
    with TestClient(guard, base_url=ORIGIN) as client:
        yield client


@pytest.fixture
def browser(client: TestClient, guard: Guard) -> Browser:
    return Browser(client, guard.token)
