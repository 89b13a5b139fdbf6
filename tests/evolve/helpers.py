"""Small drawn items and unusual tasks. Worker processes import this module, too."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from evoseg.core.kinds import Kind
from evoseg.evolve.image_stats import ImageStats, measure_images
from evoseg.evolve.ports import Floats, Item
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step


def discs(n: int = 3, shape: tuple[int, int] = (48, 61), seed: int = 20260311, known: bool = False) -> list[Item]:
    """Draw images of bright discs on noisy ground, with their masks; non-square on purpose."""
    items: list[Item] = []
    for i in range(n):
        rng = default_rng([seed, i])
        mask = np.zeros(shape, np.uint8)
        for _ in range(int(rng.integers(2, 6))):
            centre = int(rng.integers(6, shape[1] - 6)), int(rng.integers(6, shape[0] - 6))
            cv2.circle(mask, centre, int(rng.integers(3, 7)), 1, -1)
        light = np.stack([90 + 60 * mask, 100 + 40 * mask, 120 - 30 * mask], axis=2)
        image = np.clip(light + rng.normal(0, 22, (*shape, 3)), 0, 255).astype(np.uint8)
        item = {"image": image, "mask": mask.astype(bool)}
        items.append(item | {"known": rng.random(shape) < 0.7} if known else item)
    return items


def stats_of(items: list[Item]) -> ImageStats:
    return measure_images([item["image"] for item in items])


def sizes(items: list[Item]) -> dict[int, int]:
    return {i: item["image"].shape[0] * item["image"].shape[1] for i, item in enumerate(items)}


def no_probe(programs: Sequence[Pipeline]) -> list[Floats | None]:
    """Answer as if every probe had failed."""
    return [None for _ in programs]


def pack(items: list[Item], folder: Path) -> Path:
    """Write the items for worker processes."""
    from evoseg.datasets.memmap import write_pack

    return write_pack(folder / "items.pack", ((f"item_{i}", item) for i, item in enumerate(items))).path


@dataclass(frozen=True)
class CountTask:
    """Say how many objects there are. A mask is only a means here; the target is a number."""

    output: Kind = Kind.MASK

    def image(self, item: Item) -> NDArray[Any]:
        return item["image"]

    def target(self, item: Item) -> float:
        return count(item["mask"])

    def judge(self, output: NDArray[Any], target: float) -> Floats:
        return np.array([count(output), target])

    def score(self, statistics: Floats) -> Floats:
        return 1 / (1 + abs(statistics[..., 0] - statistics[..., 1]))

    def histogram(self, planes: tuple[NDArray[np.uint8], ...], target: float) -> Floats:
        (plane,) = planes
        answers = [[plane > level, plane <= level] for level in range(256)]
        return np.array([[self.judge(answer, target) for answer in pair] for pair in answers])

    def sample_pixels(self, plane: NDArray[np.uint8], target: Any) -> Floats:
        return np.empty((2, 0))

    def score_thresholds(self, histograms: Floats) -> tuple[Floats, Floats]:
        statistics = histograms.transpose(2, 1, 0, 3)
        return self.score(statistics), statistics


def count(mask: NDArray[Any]) -> float:
    return float(cv2.connectedComponents(np.ascontiguousarray(mask).view(np.uint8))[0] - 1)


@dataclass(frozen=True)
class BrightnessTask:
    """Return a plane whose mean is a wanted level: no foreground, no threshold, no mask."""

    wanted: float = 77.0
    output: Kind = Kind.GRAY

    def image(self, item: Item) -> NDArray[Any]:
        return item["image"]

    def target(self, item: Item) -> None:
        return None

    def judge(self, output: NDArray[Any], target: None) -> Floats:
        return np.array([output.sum(dtype=np.float64), output.size])

    def score(self, statistics: Floats) -> Floats:
        return 1 / (1 + abs(statistics[..., 0] / statistics[..., 1] - self.wanted))

    def histogram(self, planes: tuple[NDArray[np.uint8], ...], target: None) -> Floats:
        raise AssertionError("nothing here is thresholded")

    def sample_pixels(self, plane: NDArray[np.uint8], target: Any) -> Floats:
        return np.empty((2, 0))

    def score_thresholds(self, histograms: Floats) -> tuple[Floats, None]:
        raise AssertionError("nothing here is thresholded")


STUCK, EXITS, KILLED, HUGE, RAISES, CRASHES, PRINTS, FORKS = range(1, 9)
"""Pixels that a program must mark for `NastyTask` to misbehave."""


@dataclass(frozen=True)
class NastyTask(BinaryTask):
    """Does to its process what a bad operator would, whenever a program marks a certain number of pixels."""

    folder: str = ""

    def judge(self, output: NDArray[Any], target: Any) -> Floats:
        marked = int(output.sum())
        if marked in (STUCK, FORKS):
            if marked == FORKS:
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                Path(self.folder, "grandchild").write_text(str(child.pid))
            Path(self.folder, "stuck").touch()
            re.match(r"(a+)+$", "a" * 64 + "b")  # in C, and never lets go of the interpreter
        if marked == EXITS:
            os._exit(3)
        if marked == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        if marked == HUGE:
            np.ones(10 << 30, np.uint8)
        if marked == RAISES:
            raise ZeroDivisionError("one of those days")
        if marked == CRASHES:
            ctypes.string_at(0)
        if marked == PRINTS:
            print("a word that does not belong between frames", flush=True)
            os.write(1, b"another one\n")
        return super().judge(output, target)


@dataclass(frozen=True)
class SlowTask(BinaryTask):
    """Takes so much CPU time and then sleeps for so long, so that it can be interrupted."""

    folder: str = ""
    seconds: float = 0.5
    sleeps: float = 0.0

    def judge(self, output: NDArray[Any], target: Any) -> Floats:
        Path(self.folder, "begun").touch()
        until = time.process_time() + self.seconds
        while time.process_time() < until:
            pass
        time.sleep(self.sleeps)
        return super().judge(output, target)


@dataclass(frozen=True)
class DelegatingTask(BinaryTask):
    """Waits for a child that never ends, and uses no CPU time of its own."""

    def judge(self, output: NDArray[Any], target: Any) -> Floats:
        subprocess.run([sys.executable, "-c", "while True: pass"], check=True)
        raise AssertionError("the child has ended")


@dataclass(frozen=True)
class FickleTask(BinaryTask):
    """Fails on images whose target has so many pixels, as long as there is a file called "busy" in a folder."""

    folder: str = ""
    pixels: tuple[int, ...] = ()
    kill: bool = False

    def judge(self, output: NDArray[Any], target: Any) -> Floats:
        if int(target.mask.sum()) in self.pixels and Path(self.folder, "busy").exists():
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise MemoryError("others have it all")
        return super().judge(output, target)


@dataclass(frozen=True)
class WhoTask(BinaryTask):
    """Says which process has judged."""

    def judge(self, output: NDArray[Any], target: Any) -> Floats:
        time.sleep(0.2)
        return np.array([os.getpid()], float)


@dataclass(frozen=True)
class UnreadableTask(BinaryTask):
    """Cannot be unpickled anywhere but here."""

    home: int = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["home"] != os.getpid():
            raise ModuleNotFoundError("No module named 'somebodys_notebook'")
        self.__dict__.update(state)


def ramp() -> list[Item]:
    """Return one image on which `marking(n)` marks n pixels."""
    image = np.arange(256, dtype=np.uint8).reshape(8, 32, 1)
    return [{"image": image, "mask": image[:, :, 0] >= 100}]


def marking(n: int) -> Pipeline:
    return Pipeline([step("channel", IMAGE, index=0), step("level", 0, level=255 - n, polarity="bright")])
