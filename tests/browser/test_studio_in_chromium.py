"""The studio in a real browser; `make test-studio`. Skipped where there is no Chromium with its driver."""

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evoseg.datasets.io.files import read_image, write_image
from tests.studio.conftest import DISCS, StudioProcess, draw

webdriver = pytest.importorskip("selenium.webdriver")

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,800",
)


class Page:
    """A tab that shows the studio."""

    def __init__(self, driver) -> None:
        self.driver = driver

    def ask(self, script: str, *values: object):
        return self.driver.execute_script(f"return {script}", *values)

    def wait(self, script: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.ask(script):
                return
            time.sleep(0.1)
        raise AssertionError(f"{script} never became true; the page says: {self.ask('studio.stage && document.title')}")

    def open(self, address: str) -> None:
        self.driver.get(address)
        self.wait("window.studio && studio.facts && studio.stage.width > 100")

    def stroke(self, *points: tuple[float, float], lift: bool = True) -> None:
        """Paint through points (row, col) of the image with the pointer."""
        from selenium.webdriver.common.action_chains import ActionChains

        script = """arguments[0].map(([row, col]) => {
            const {view, root} = studio.stage, box = root.getBoundingClientRect();
            return [box.left + (col - view.x) * view.scale, box.top + (row - view.y) * view.scale].map(Math.round);
        })"""
        places = self.ask(script, [list(point) for point in points])
        chain = ActionChains(self.driver, duration=30)
        pointer = chain.w3c_actions.pointer_action
        pointer.move_to_location(*places[0])
        pointer.pointer_down()
        for place in places[1:]:
            pointer.move_to_location(*place)
        if lift:
            pointer.pointer_up()
        chain.perform()

    def keys(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.driver, duration=0).send_keys(key).perform()

    def version(self) -> int:
        return self.ask("studio.facts.strokes.version")


@pytest.fixture
def folder(tmp_path) -> Path:
    for seed in range(4):
        (tmp_path / "plates" / "images").mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / "plates" / "images" / f"d{seed}.png", draw(seed)[0])
    return tmp_path / "plates"


def start_browser(profile: Path):
    """Return a Chromium without a window."""
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(DRIVER))


@pytest.fixture
def page(tmp_path) -> Iterator[Page]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium with chromedriver found")
    driver = start_browser(tmp_path / "profile")
    try:
        yield Page(driver)
    finally:
        driver.quit()


@pytest.fixture
def studio(folder, tmp_path) -> Iterator[StudioProcess]:
    studio = StudioProcess(folder, tmp_path / "home")
    yield studio
    if studio.process.poll() is None:
        studio.end()


def paint_discs(page: Page) -> None:
    """Paint a stroke in each disc and two on the background of the open image, by keys and pointer."""
    seed = int(page.ask("document.getElementById('image-name').textContent")[1])
    page.keys("2")
    for row, col, _ in DISCS:
        page.stroke((row - 3, col + 3 * seed - 4), (row + 3, col + 3 * seed + 4))
    page.keys("1")
    page.stroke((82, 8), (82, 45))
    page.stroke((8, 75), (12, 110))


def test_the_whole_loop(page, studio, folder):
    page.open(studio.address)
    paint_discs(page)
    page.keys("j")
    page.wait("studio.facts.name === 'd1'")
    paint_discs(page)
    page.wait("studio.paint.live.strokes === 8 && studio.paint.live.scores.length === 2")
    assert all(score["share"] > 0.9 for score in page.ask("studio.paint.live.scores"))
    # The answer is seen: orange over the discs of an image without strokes.
    page.keys("j")
    page.wait("studio.facts.name === 'd2'")
    page.wait("[...studio.stage.layers.answer.tiles.values()].some((tile) => tile.bitmap)")
    time.sleep(0.5)
    seen = page.ask(ALPHA, [[60, 91], [82, 10]])
    assert seen[0] > 50 and seen[1] == 0
    page.keys("n", "a", "a", "d", "d", "s", "s", "[", "]", "l", "l", "+", "-", "0")
    page.driver.find_element("id", "tab-search").click()
    page.ask("(document.getElementById('seconds').value = 5, document.getElementById('networks').checked = false)")
    page.ask("document.getElementById('search-form').requestSubmit()")
    page.wait("studio.search.runs.length === 1 && studio.search.runs[0].state === 'done'", 180)
    page.wait("document.querySelector('#run dl.scores')")
    # On a busy machine, 5 s may be too short for a candidate of the search's own.
    page.wait("!studio.search.runs[0].evaluations || document.querySelector('#run svg.chart .curve')")
    # What is seen is what is applied.
    page.ask("studio.search.show(studio.search.runs[0].id)")
    page.driver.find_element("id", "tab-away").click()
    assert page.ask("document.getElementById('source').value.startsWith(studio.search.runs[0].id)")
    page.ask("document.getElementById('apply-form').requestSubmit()")
    page.wait("document.querySelectorAll('#results .gallery img').length === 4", 120)
    page.wait("document.querySelector('#results table')")
    (out,) = (path for path in (folder / "results").iterdir() if path.is_dir())
    mask, truth = read_image(out / "masks" / "d3.png")[:, :, 0] > 0, draw(3)[1]
    assert (mask & truth).sum() / (mask | truth).sum() > 0.7
    page.ask("document.querySelector('#exports button').click()")
    page.wait("document.querySelector('#dialog[open] pre')?.textContent.includes('import cv2')")
    faults = [entry["message"] for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert not faults


def test_a_pipeline_is_changed_on_the_workbench(page, studio, folder):
    from selenium.webdriver.common.keys import Keys

    (folder / "results").mkdir()
    (folder / "results" / "first.evo").write_text(PROGRAM)
    page.open(studio.address)
    page.driver.find_element("id", "tab-bench").click()
    page.wait("document.getElementById('bench-source').options.length === 2")
    page.ask("(document.getElementById('bench-source').selectedIndex = 1)")
    page.ask("document.getElementById('bench-source').dispatchEvent(new Event('change'))")
    page.wait("document.querySelectorAll('#bench-steps li').length === 4")
    page.wait("[...document.querySelectorAll('#bench-steps img')].every((shown) => shown.naturalWidth > 0)")
    page.wait(MARKED + " > 50")
    # A slider by the keyboard: the answer on the image follows, and goes back with Z.
    page.driver.find_elements("css selector", "#bench-steps .step")[2].click()
    page.ask("document.getElementById('p-2-level').focus()")
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    page.wait("studio.bench.state.steps[2].parameters[0].value === 112 && studio.bench.state.undo")
    page.keys(Keys.END)
    page.wait("studio.bench.state.steps[2].parameters[0].value === 255")
    page.wait(MARKED + " === 0")
    page.keys("z", "z", "z")
    page.wait(
        "!studio.bench.state.undo && studio.bench.state.redo && studio.bench.state.steps[2].parameters[0].value === 110"
    )
    page.wait(MARKED + " > 50")
    # The step that is chosen is seen instead of the image, until V.
    page.wait("[...studio.stage.layers.image.tiles.values()].every((tile) => tile.wanted.includes('/value/'))")
    page.keys("v")
    page.wait("[...studio.stage.layers.image.tiles.values()].every((tile) => tile.wanted.includes('/tiles/'))")
    page.driver.find_elements("css selector", "#bench-steps .step")[3].click()
    page.driver.find_element("css selector", "[aria-expanded=true] + .step-body .check input").click()
    page.wait("studio.bench.state.here.n_steps === 3")
    page.driver.find_element("id", "bench-name").send_keys("mine")
    page.driver.find_element("id", "bench-search").click()
    page.wait("document.getElementById('search-line').textContent.includes('--warm-start')")
    assert page.ask("studio.tab") == "search" and "open_mask" not in (folder / "results" / "mine.evo").read_text()
    assert not [entry["message"] for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]


def test_a_stored_pipeline_is_tried_seen_and_picked(page, studio, folder):
    page.open(studio.address)
    page.driver.find_element("id", "tab-library").click()
    page.wait("document.getElementById('reuse-line').textContent.includes('evoseg reuse')")
    page.driver.find_element("id", "reuse-ask").click()
    page.wait("studio.library.found.reuse.state === 'done' && document.querySelector('#reuse-found .answer img')", 400)
    page.driver.find_element("css selector", "#reuse-found .answer .step").click()
    page.wait("document.getElementById('answer-source').value.startsWith('program:')")
    page.wait("[...studio.stage.layers.answer.tiles.values()].some((tile) => tile.bitmap)")
    page.driver.find_element("css selector", "#reuse-found .answer [aria-label='Pick answer 1']").click()
    page.wait("studio.tab === 'bench' && document.querySelectorAll('#bench-steps img').length")
    (saved,) = (folder / "results").glob("*.evo")
    assert saved.stem == page.ask("studio.bench.state.title")
    assert not [entry["message"] for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]


def begin_objects(page: Page) -> None:
    """Put a pipeline's objects on the open image, and look at them."""
    page.driver.find_element("id", "tab-correct").click()
    page.wait("document.getElementById('correct-source').options.length > 1")
    page.ask("studio.sourceChosen('bench')")
    page.driver.find_element("id", "correct-begin").click()
    page.wait("studio.correct.isOpen && document.getElementById('answer-source').value === 'objects'")
    page.wait(MARKED + " > 50")


def test_objects_are_corrected_and_saved_as_a_mask(page, studio, folder):
    from selenium.webdriver.common.keys import Keys

    (folder / "results").mkdir()
    (folder / "results" / "first.evo").write_text(PROGRAM)
    page.open(studio.address)
    page.wait("studio.bench.saved.length === 1")
    page.ask("studio.bench.open(studio.bench.saved[0].id)")
    page.wait("studio.bench.isOpen")
    begin_objects(page)
    assert page.ask("studio.correct.state.objects") == 2
    page.keys("c")
    page.stroke((60, 60), (60, 85), (60, 110))
    page.wait("studio.correct.state.objects === 3")
    page.keys("m")
    page.stroke((50, 85), (70, 85))
    page.wait("studio.correct.state.objects === 2")
    page.keys("p")
    page.stroke((75, 10), (75, 30), (85, 30), (85, 10))
    page.wait("studio.correct.state.objects === 3")
    page.keys("x")
    page.stroke((25, 30))
    page.wait("studio.correct.state.objects === 2")
    page.wait(MARKED.replace("[60, 85]", "[25, 30]") + " === 0")
    # Begun, split, merged, drawn, deleted; undone and redone at once, before either has been answered.
    page.ask("(studio.correct.undo(), studio.correct.redo(), 0)")
    page.wait("studio.correct.state.version === 7 && studio.correct.state.objects === 2")
    page.keys("z", "z", "y")
    page.wait("studio.correct.state.version === 10 && studio.correct.state.objects === 3")
    # The keyboard alone: a click at the crosshair, which is in the middle of the image.
    page.ask("studio.stage.root.focus()")
    page.keys(*[Keys.ARROW_RIGHT] * 8, "x", Keys.ENTER, Keys.ENTER)
    page.wait("studio.correct.state.objects === 2")
    page.keys("z")
    page.wait("studio.correct.state.objects === 3")
    page.driver.find_element("css selector", "#mask-task option[value=instances]").click()
    page.driver.find_element("id", "mask-save").click()
    page.wait("studio.correct.state.mask === 'current' && studio.facts.state === 'mask'")
    mask = read_image(folder / "masks" / "d0.png")[:, :, 0]
    assert sorted(set(mask.ravel().tolist())) == [0, 1, 2, 3] and mask[60, 85] and mask[80, 20] and mask[25, 30]
    page.keys("z")
    page.wait("studio.correct.state.mask === 'older'")
    page.driver.find_element("id", "mask-withdraw").click()
    page.wait("studio.correct.state.mask === '' && studio.facts.state === 'unlabelled'")
    # Elsewhere, the pointer paints again, and the answer is seen instead of the objects.
    page.driver.find_element("id", "tab-paint").click()
    assert page.ask("document.getElementById('answer-source').value") == "bench"
    page.stroke((25, 25), (25, 35))
    page.wait("studio.facts.strokes.version === 1")
    assert not [entry["message"] for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]


def test_shift_and_a_drag_move_the_image(page, studio):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.open(studio.address)
    before, scale = page.ask("[studio.stage.view.x, studio.stage.view.scale]")
    drag = ActionChains(page.driver, duration=30).move_to_element(page.driver.find_element("id", "stage"))
    drag.key_down(Keys.SHIFT).click_and_hold().move_by_offset(50, 0).release().key_up(Keys.SHIFT).perform()
    assert abs(before - page.ask("studio.stage.view.x") - 50 / scale) < 1
    page.stroke((25, 25), (25, 35))
    page.wait("studio.facts.strokes.version === 1")


def test_the_keyboard_alone_is_enough_to_paint(page, studio):
    from selenium.webdriver.common.keys import Keys

    page.open(studio.address)
    page.ask("studio.stage.root.focus()")
    page.keys("1", *[Keys.ARROW_UP] * 3, Keys.ENTER, *[Keys.ARROW_RIGHT] * 4, Keys.ENTER)
    page.wait("studio.facts.strokes.version === 1")
    page.keys("2", *[Keys.ARROW_DOWN] * 6, Keys.ENTER, *[Keys.ARROW_LEFT] * 3, Keys.ENTER)
    page.wait("studio.facts.strokes.version === 2 && studio.paint.live.number")
    page.keys("z")
    page.wait("studio.facts.strokes.version === 3 && studio.facts.strokes.redo")
    page.keys("y", "?")
    page.wait("studio.facts.strokes.version === 4 && document.getElementById('dialog').open")
    page.keys(Keys.ESCAPE)
    page.wait("!document.getElementById('dialog').open")


def test_two_tabs_show_the_same_and_a_reload_in_mid_stroke_loses_nothing(page, studio, folder):
    page.open(studio.address)
    page.stroke((25, 25), (25, 35))
    page.wait("studio.facts.strokes.version === 1")
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    page.open(f"http://127.0.0.1:{studio.port}/")
    assert page.ask("studio.facts.strokes.undo")
    page.stroke((60, 80), (62, 90))
    page.wait("studio.facts.strokes.version === 2")
    page.driver.switch_to.window(first)
    page.wait("studio.facts.strokes.version === 2")
    page.stroke((82, 8), (82, 30), (82, 45), lift=False)
    page.driver.refresh()
    page.wait("window.studio && studio.facts && studio.facts.strokes.version === 3")
    end = time.monotonic() + 20
    file = folder / "scribbles" / "d0.png"
    while time.monotonic() < end and not (file.exists() and read_image(file)[82, 40, 0]):
        time.sleep(0.2)
    found = read_image(file)[:, :, 0]
    assert found[25, 30] == found[61, 85] == found[82, 20] == found[82, 40] == 2


def test_a_stroke_loads_only_the_tiles_that_it_touches(page, folder, tmp_path):
    write_image(folder / "images" / "a.png", np.full((1000, 1500), 90, np.uint8))
    studio = StudioProcess(folder, tmp_path / "home")
    try:
        page.open(studio.address)
        page.ask("(studio.stage.view.scale = 1 / studio.stage.ratio, studio.stage.centre(750, 500))")
        page.wait("!studio.stage.layers.strokes.loading && studio.stage.layers.strokes.tiles.size")
        shown = {key for key in page.ask("[...studio.stage.layers.strokes.tiles.keys()]") if key.startswith("0/")}
        assert len(shown) > 2
        page.ask("performance.clearResourceTimings()")
        # From one tile of 512 px into the next one below; undoing it changes the same two.
        for version, change in enumerate((lambda: page.stroke((500, 700), (530, 700)), lambda: page.keys("z")), 1):
            change()
            page.wait(f"studio.facts.strokes.version === {version} && !studio.stage.pending.length")
            page.wait("!studio.stage.waiting && !studio.stage.layers.strokes.loading")
        loaded = page.ask("performance.getEntriesByType('resource').map((one) => one.name)")
        tiles = [name.rpartition("/strokes/")[2] for name in loaded if "/strokes/" in name]
        assert sorted(tiles) == sorted(["0/0/1.png", "0/1/1.png"] * 2)
    finally:
        studio.end()


def test_a_studio_that_is_killed_and_started_again_has_everything(page, studio, folder, tmp_path):
    page.open(studio.address)
    page.stroke((25, 25), (25, 35))
    page.wait("studio.facts.strokes.version === 1")
    studio.end(signal.SIGKILL)
    page.stroke((60, 80), (62, 90))  # nobody is there to take it
    page.wait("document.getElementById('message').textContent.includes('does not answer')")
    again = StudioProcess(folder, tmp_path / "home", studio.port)
    try:
        page.open(again.address)
        page.wait("studio.facts.strokes.version === 1 && studio.facts.strokes.undo")
    finally:
        again.end()
    found = read_image(folder / "scribbles" / "d0.png")[:, :, 0]
    assert found[25, 30] == 2 and found[61, 85] == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_view_has_contrast_names_and_an_order_of_focus(page, studio, folder, scheme):
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    (folder / "results").mkdir()
    (folder / "results" / "first.evo").write_text(PROGRAM)
    page.open(studio.address)
    page.driver.execute_script(AUDIT)
    page.driver.execute_script(CANNED, RUN, ANSWERED)
    for tab, fill in VIEWS:
        page.ask(f"studio.showTab('{tab}')")
        fill(page)
        page.ask("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
        assert page.ask("audit.text()") == [], tab
        assert page.ask("audit.parts()") == [], tab
        assert unnamed(page) == [], tab
        assert walk(page) == [], tab
        assert page.ask("document.body.scrollHeight <= innerHeight && document.body.scrollWidth <= innerWidth"), tab


def test_a_dialog_keeps_the_focus_and_gives_it_back(page, studio):
    from selenium.webdriver.common.keys import Keys

    page.open(studio.address)
    page.ask("document.getElementById('help-open').focus()")
    page.keys(Keys.ENTER)
    page.wait("document.getElementById('dialog').open")
    for _ in range(4):
        page.keys(Keys.TAB)
        assert page.ask("document.activeElement === document.body || dialog.contains(document.activeElement)")
    page.keys(Keys.ESCAPE)
    page.wait("!document.getElementById('dialog').open && document.activeElement.id === 'help-open'")


def test_keys_of_one_sign_can_be_switched_off_for_good(page, studio, folder, tmp_path):
    from selenium.webdriver.common.keys import Keys

    page.open(studio.address)
    page.keys("e", "?")
    assert page.ask("studio.paint.tool === 'erase' && document.getElementById('dialog').open")
    page.driver.find_element("css selector", "#dialog input[type=checkbox]").click()
    page.keys(Keys.ESCAPE, "b", "2", "t", "?")
    assert page.ask(
        "studio.paint.tool === 'erase' && studio.tab === 'paint' && !document.getElementById('dialog').open"
    )
    again = StudioProcess(folder, tmp_path / "home")  # has another port
    try:
        page.open(again.address)
        page.keys("e")
        assert page.ask("studio.paint.tool") == "brush"
    finally:
        again.end()
    page.open(f"http://127.0.0.1:{studio.port}/")
    assert page.ask("document.querySelector('#tools kbd').checkVisibility()") is False
    # What needs the focus, or a key with a longer name, is as before.
    page.ask("studio.stage.root.focus()")
    page.keys(Keys.ENTER, *[Keys.ARROW_RIGHT] * 3, Keys.ENTER, Keys.PAGE_DOWN)
    page.wait("studio.facts.name === 'd1'")
    assert page.ask("studio.images.images[0].state") == "strokes"
    page.driver.find_element("id", "help-open").click()
    page.driver.find_element("css selector", "#dialog input[type=checkbox]").click()
    page.keys(Keys.ESCAPE, "e")
    assert page.ask("studio.paint.tool") == "erase"


def test_arrow_keys_move_within_a_group_of_choices(page, studio):
    from selenium.webdriver.common.keys import Keys

    page.open(studio.address)
    page.ask("document.querySelector('#tools [aria-checked=true]').focus()")
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert page.ask("[studio.paint.tool, document.activeElement.dataset.tool]") == ["polygon", "polygon"]
    page.keys(Keys.ARROW_LEFT, Keys.ARROW_UP, Keys.ARROW_UP)
    assert page.ask("[studio.paint.tool, document.activeElement.dataset.tool]") == ["object", "object"]
    assert page.ask("document.querySelectorAll('#tools [tabindex=\"0\"]').length") == 1
    page.ask("document.querySelector('#labels [aria-checked=true]').focus()")
    page.keys(Keys.ARROW_UP)
    assert page.ask("[studio.paint.label, document.activeElement.getAttribute('aria-checked')]") == [1, "true"]


def test_what_is_drawn_anew_keeps_the_focus(page, studio):
    page.open(studio.address)
    page.driver.execute_script(CANNED, RUN, ANSWERED)
    page.ask("studio.showTab('search')")
    page.wait("document.querySelector('#run details')")
    page.ask("(document.querySelector('#run details').open = true)")
    for place in ("#run .buttons button", "#run summary", "#runs button"):
        page.ask(f"document.querySelector('{place}').focus()")
        page.ask("studio.search.draw({...arguments[0], seconds: 40, state: 'finishing'})", RUN)
        page.ask("studio.search.setRuns([{...arguments[0], best: 0.8, words: ''}])", RUN)
        assert page.ask(f"document.activeElement === document.querySelector('{place}')"), place
    assert page.ask("document.querySelector('#run details').open")


def test_runs_are_put_side_by_side(page, studio):
    page.open(studio.address)
    page.driver.execute_script(CANNED, RUN, ANSWERED)
    page.ask("studio.showTab('search')")
    page.wait("document.querySelector('#run details')")
    assert not page.ask("document.querySelectorAll('#runs input').length")
    fill_beside(page)
    rows = page.ask(
        "[...document.querySelectorAll('#run tr')].map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    found = {row[0]: row[1:] for row in rows}
    # In the order in which they were ticked; the newest is the first in the list.
    assert found[""] == ["1", "2"] and found["search images"] == ["0.700", "0.800"]
    assert found["test images"] == ["0.650", "-"] and found["ms/Mpx"] == ["3.25", "3.25"]
    strokes = "[...document.querySelectorAll('#run .curve')].map((line) => getComputedStyle(line).stroke)"
    swatches = (
        "[...document.querySelectorAll('#run .legend .swatch')].map((one) => getComputedStyle(one).backgroundColor)"
    )
    assert page.ask(strokes) == page.ask(swatches) and len(set(page.ask(strokes))) == 2
    page.wait("[...studio.stage.layers.other.tiles.values()].some((tile) => tile.wanted?.includes('/outlines/'))")
    # One of them alone is shown as before.
    page.driver.find_element("css selector", "#runs input").click()
    page.driver.find_element("css selector", "#runs button").click()
    page.wait("document.querySelector('#run h2').textContent === 'Run 2026-01-02'")
    assert not [entry["message"] for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]


def fill_paint(page: Page) -> None:
    paint_discs(page)
    page.keys("j")
    page.wait("studio.facts.name === 'd1'")
    paint_discs(page)
    page.wait("studio.paint.live.strokes === 8 && studio.paint.live.scores.length === 2")


def fill_bench(page: Page) -> None:
    page.ask("studio.bench.open(studio.bench.saved[0].id)")
    page.wait("document.querySelectorAll('#bench-steps li').length === 4")
    page.ask("studio.bench.compare('live')")
    page.driver.find_elements("css selector", "#bench-steps .step")[2].click()
    page.wait("document.getElementById('bench-overlap').textContent && studio.bench.chosen === 2")
    page.ask("studio.bench.change(2, 'level', 112, false)")
    page.wait("studio.bench.state.undo && studio.bench.scores.has(studio.bench.state.digest)")
    page.wait("document.getElementById('bench-overlap').textContent")


def fill_correct(page: Page) -> None:
    begin_objects(page)
    page.driver.find_element("id", "mask-save").click()
    page.wait("!document.getElementById('mask-withdraw').hidden")
    page.stroke((60, 85))
    page.wait("studio.correct.state.mask === 'older'")


def fill_beside(page: Page) -> None:
    page.ask("studio.search.setRuns(arguments[0])", [RUN, OTHER_RUN])
    for nth in (1, 2):
        page.driver.find_element("css selector", f"#runs li:nth-child({nth}) input").click()
        assert page.ask(f"document.activeElement === document.querySelector('#runs li:nth-child({nth}) input')")
    page.wait("document.querySelectorAll('#run svg .curve').length === 2")


VIEWS = (
    ("paint", fill_paint),
    ("library", lambda page: page.wait("document.querySelectorAll('.answer, .task').length === 2")),
    ("search", lambda page: page.wait("document.querySelectorAll('#run svg').length === 2")),
    ("search", fill_beside),
    ("bench", fill_bench),
    ("correct", fill_correct),
    ("away", lambda page: page.wait("document.querySelectorAll('.result').length === 1")),
)
"""Tabs, and how each gets its contents."""


def unnamed(page: Page) -> list[str]:
    """Return what can have the focus and has no name, as a screen reader is told."""
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    return [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"] not in ("RootWebArea", "dialog")
        and any(one["name"] == "focusable" and one["value"]["value"] for one in node["properties"])
        and not node.get("name", {}).get("value", "").strip()
    ]


def walk(page: Page) -> list[str]:
    """Return what is wrong where the Tab key goes, from the first to the last control and, with Shift, back."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.driver.execute_script("audit.begin()")
    found: list[str] = []
    for _ in range(200):
        here = page.ask("audit.step()")
        if here is None:
            break
        found += here
        page.keys(Keys.TAB)
    else:
        return [*found, "the focus never comes to an end"]
    n = page.ask("audit.count()")
    page.ask("document.querySelector('#tab-' + studio.tab).focus()")
    for _ in range(n):
        ActionChains(page.driver, duration=0).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
        if page.ask("document.activeElement.matches('.skip')"):
            return found + page.ask("audit.missed()")
    return [*found, "Shift+Tab does not come back to the first control"]


AUDIT = Path(__file__).with_name("audit.js").read_text()
RUN = {
    "id": "run-1",
    "name": "2026-01-01",
    "folder": "runs/2026-01-01",
    "state": "running",
    "best": 0.8,
    "evaluations": 40,
    "budget": 60,
    "seconds": 30,
    "metric": "iou",
    "has_pipeline": True,
    "report": True,
    "program": "def pipeline(image):\n    return otsu(channel(image))",
    "curve": [{"seconds": s, "score": 0.6 + s / 150, "proposer": "classic"} for s in (1, 10, 30)],
    "cloud": [{"cost": c, "score": 0.7, "steps": 3, "front": c < 3} for c in (1.0, 2.0, 8.0, 20.0)],
    "proposers": [{"name": "classic", "n": 40, "improved": 2, "best": 0.8}],
}
OTHER_RUN = RUN | {
    "id": "run-2",
    "name": "2026-01-02",
    "best": 0.7,
    "scores": {"search": 0.7, "test": 0.65},
    "splits": {"test": 3},
    "curve": [{"seconds": s, "score": 0.5 + s / 200, "proposer": "tune"} for s in (2, 40)],
}
_PIPELINE = {"digest": "-", "cost": 3.25, "n_steps": 4}
_STORED = {"number": 1, "source": "nuclei", "program": "none", "share": 0.2, "stability": 0.9, "likeness": 0.8}
_TASK = {"id": "none", "task": "nuclei", "title": "Nuclei", "foreground": "nuclei", "modality": "fluorescence"}
_RESULT = {"name": "live", "done": 1, "total": 2, "running": False, "overlays": ["d0.png", "d1.png"], "words": ""}
ANSWERED = {
    "/api/runs/run-1": RUN,
    "/api/runs/run-2": OTHER_RUN,
    "/api/bench/beside?source=run-1": _PIPELINE,
    "/api/bench/beside?source=run-2": _PIPELINE,
    "/api/library/reuse": {"state": "done", "answers": [_STORED | {"scale": 2, "score": 0.7, "metric": "iou"}]},
    "/api/library/similar": {
        "state": "done",
        "any_alike": False,
        "similar": [_TASK | {"likeness": 0.9, "expected": 0.7, "own_score": None, "why": ["size of objects"]}],
    },
    "/api/results": {
        "results": [
            _RESULT | {"rows": [{"image": "d0", "foreground_share": 0.2}], "line": "evoseg apply live.evo images"}
        ]
    },
}
CANNED = """
const [run, answered] = arguments, real = window.fetch;
window.fetch = (path, options) => {
  const known = options?.method ? null : answered[path];
  return known ? Promise.resolve(Response.json(known)) : real(path, options);
};
studio.search.setRuns([run]);
studio.search.choose(run.id);
"""
"""A search that is under way, stored answers and results, which would take minutes to make."""

PROGRAM = """\
def pipeline(image):
    plane = gaussian(channel(image), sigma=2.0)
    return open_mask(level(plane, level=110, polarity="bright"), radius=2)
"""
ALPHA = """arguments[0].map(([row, col]) => {
  const {view, layers} = studio.stage;
  const at = [(col - view.x) * view.scale, (row - view.y) * view.scale].map(Math.round);
  return layers.answer.context.getImageData(...at, 1, 1).data[3];
})"""
"""Opacity of the answer at places of the image."""
MARKED = f"({ALPHA.replace('arguments[0]', '[[60, 85]]')})[0]"
"""The same in a disc of the first image."""
