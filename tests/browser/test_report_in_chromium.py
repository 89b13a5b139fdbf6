"""The report as a browser shows it; `make test-browser`. Skipped where there is no Chromium."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import evoseg
from evoseg.datasets.io.files import read_image
from evoseg.synthetic import draw_dataset

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")
PROBE = """<script>
addEventListener("load", () => {
  const pictures = [...document.images];
  document.title = JSON.stringify({
    pictures: pictures.length,
    missing: pictures.filter(p => !p.complete || p.naturalWidth === 0).length,
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  });
});
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip(f"no Chromium found under the names {', '.join(NAMES)}")
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """Return the report of a small search; names with accents and markup travel too."""
    folder = tmp_path_factory.mktemp("browser")
    drawn = draw_dataset("cracks", folder / "drawn", 8, (90, 120), seed=5)
    for kind in ("images", "masks"):
        file = sorted((drawn / kind).iterdir())[0]
        file.rename(file.with_stem("né & <b>"))
    return evoseg.search(drawn, evaluations=60, workers=1, out=folder / "run").files["report"]


def run(browser: str, page: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    fixed = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={folder}/profile",
    )
    return subprocess.run(
        [browser, *fixed, *options, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )


def test_it_opens_without_a_word_on_the_console(browser, report, tmp_path):
    picture = tmp_path / "page.png"
    done = run(
        browser, report, tmp_path, "--enable-logging=stderr", "--window-size=1100,1600", f"--screenshot={picture}"
    )
    assert "CONSOLE" not in done.stderr
    shown = read_image(picture)
    assert shown.shape[:2] == (1600, 1100)
    assert len(np.unique(shown.reshape(-1, shown.shape[2]), axis=0)) > 200  # pictures, not a blank page


def test_the_console_is_heard_at_all(browser, report, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(report.read_text("utf-8").replace("<h1>", '<h1 style="color: red">'), "utf-8")
    done = run(browser, broken, tmp_path, "--enable-logging=stderr", "--dump-dom")
    assert "CONSOLE" in done.stderr


@pytest.mark.parametrize("width", [500, 1400])
def test_all_pictures_are_there_and_nothing_sticks_out(browser, report, tmp_path, width):
    probed = tmp_path / "probed.html"
    text = report.read_text("utf-8").replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
    probed.write_text(text.replace("</body>", f"{PROBE}</body>"), "utf-8")
    done = run(browser, probed, tmp_path, f"--window-size={width},900", "--virtual-time-budget=5000", "--dump-dom")
    found = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert found is not None
    assert re.fullmatch(r'\{"pictures":\d{2,},"missing":0,"wide":0\}', found[1])
