"""Take the pictures of docs/studio.md: `python -m tests.browser.pictures OUT` opens the studio on drawn tissue, paints,
searches, corrects and applies, and writes OUT/VIEW-COLOURS-WIDTH.png of each view in both colours and two widths.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from evoseg.datasets.io.files import read_image
from evoseg.synthetic import draw_dataset
from tests.browser.test_studio_in_chromium import Page, start_browser
from tests.studio.conftest import StudioProcess

SIZES = ((1280, 800), (1920, 1080))
COLOURS = ("light", "dark")
VIEWS = {
    "paint": "paint",
    "library": "library",
    "search": "search",
    "beside": "search",
    "pipeline": "bench",
    "correct": "correct",
    "apply": "away",
}
"""Pictures, and the tab of each."""
PAINTED, SHOWN, CORRECTED = 3, "tissue_000", "tissue_004"


def draw(folder: Path) -> dict[str, np.ndarray]:
    """Draw images without masks, and return where their nuclei are."""
    draw_dataset("tissue", folder, 6, (300, 400), 5)
    truths = {path.stem: read_image(path)[:, :, 0] for path in sorted((folder / "masks").iterdir())}
    shutil.rmtree(folder / "masks")
    (folder / "dataset.yaml").unlink()
    return truths


def middle_lines(inside: np.ndarray, n: int, long: int) -> list[list[tuple[float, float]]]:
    """Return lines along rows, through the places that are farthest from the edge."""
    depth = cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    found = []
    for _ in range(n):
        row, col = divmod(int(depth.argmax()), depth.shape[1])
        reach = min(long, 0.7 * float(depth[row, col]))
        found.append([(row + 0.5, col + x) for x in (-reach, 0, reach)])
        cv2.circle(depth, (col, row), 60, 0, -1)
    return found


def paint(page: Page, truth: np.ndarray) -> None:
    """Paint some nuclei and some background of the open image."""
    for key, inside in (("2", truth > 0), ("1", truth == 0)):
        page.keys(key)
        page.ask("studio.paint.setSize(4)")
        for line in middle_lines(inside, 4, 25):
            page.stroke(*line)


def search(folder: Path, home: Path, name: str, evaluations: int) -> None:
    """Search on the command line, so that the time of day does not matter, and wait until it has ended."""
    words = ["search", str(folder), "--out", str(folder / "runs" / name), "--evaluations", str(evaluations)]
    command = [sys.executable, "-m", "evoseg", *words, "--no-networks", "--workers", "0"]
    subprocess.run(command, env=os.environ | {"EVOSEG_HOME": str(home)}, check=True)


def try_library(page: Page) -> None:
    """Ask both questions of the library."""
    page.ask("studio.showTab('library')")
    for question in ("reuse", "similar"):
        page.ask(f"document.getElementById('{question}-ask').click()")
        page.wait(f"studio.library.found.{question}.state === 'done'", 600)


def choose(page: Page, stem: str) -> None:
    """Open an image."""
    page.ask(f"studio.images.choose(studio.images.images.find((one) => one.name === '{stem}').id)")
    page.wait(f"studio.facts.name === '{stem}'")


def fill(page: Page, folder: Path, home: Path, truths: dict[str, np.ndarray]) -> None:
    """Do what there is to do in each view."""
    for stem in list(truths)[:PAINTED]:
        choose(page, stem)
        paint(page, truths[stem])
    page.wait(f"studio.paint.live.images === {PAINTED} && studio.paint.live.scores.length === 2", 120)
    for name, evaluations in (("quick", 60), ("longer", 200)):
        search(folder, home, name, evaluations)
    page.wait("studio.search.runs.filter((run) => run.state === 'done').length === 2", 60)
    page.ask("studio.openPipeline(studio.search.runs.at(-1).id)")
    page.wait("document.querySelectorAll('#bench-steps li').length > 1")
    choose(page, CORRECTED)
    page.ask("studio.showTab('correct')")
    page.ask("studio.sourceChosen('live')")
    page.ask("document.getElementById('correct-begin').click()")
    page.wait("studio.correct.isOpen", 120)
    page.ask("studio.showTab('away')")
    page.ask("document.getElementById('apply-form').requestSubmit()")
    page.wait("document.querySelectorAll('#results .gallery img').length === 6", 200)


def show(page: Page, name: str) -> None:
    """Bring a view into the state that its picture shows."""
    choose(page, CORRECTED if name == "correct" else SHOWN)
    page.ask(f"studio.showTab('{VIEWS[name]}')")
    page.ask("[...document.querySelectorAll('aside section')].forEach((one) => { one.scrollTop = 0; })")
    if name == "paint":
        page.ask("studio.sourceChosen('live')")
    elif name == "library":
        page.ask("document.querySelector('#reuse-found .answer .step').click()")
    elif name in ("search", "beside"):
        page.ask("studio.search.choose(studio.search.runs.at(-1).id)")
        page.ask("studio.search.show(studio.search.runs.at(-1).id)")
        if name == "beside":
            page.ask("studio.search.runs.forEach((run) => studio.search.pick(run.id))")
            page.wait("document.querySelectorAll('#run .curve').length === 2")
        page.wait("document.querySelector('#run svg')")
        page.ask("document.getElementById('runs').scrollIntoView()")
    elif name == "pipeline":
        page.ask("studio.sourceChosen('bench')")
    elif name == "correct":
        page.wait("studio.correct.isOpen")
    page.ask("document.activeElement.blur()")
    page.ask("studio.stage.fit()")
    page.wait("!Object.values(studio.stage.layers).some((layer) => layer.loading)", 120)
    time.sleep(1)


def main(out: Path) -> None:
    """Write all pictures."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "tissue"
        truths = draw(folder)
        studio = StudioProcess(folder, Path(scratch) / "home")
        driver = start_browser(Path(scratch) / "profile")
        try:
            page = Page(driver)
            page.open(studio.address)
            fill(page, folder, Path(scratch) / "home", truths)
            try_library(page)
            for colours in COLOURS:
                media = {"features": [{"name": "prefers-color-scheme", "value": colours}]}
                driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
                for width, height in SIZES:
                    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                    for name in VIEWS:
                        show(page, name)
                        driver.save_screenshot(str(out / f"{name}-{colours}-{width}.png"))
        finally:
            driver.quit()
            studio.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
