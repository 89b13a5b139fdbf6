"""The whole loop without a browser: open, paint, answer, search, apply, export; kill and open again."""

import asyncio
import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

import evoseg
from evoseg.core.errors import DatasetError
from evoseg.datasets import check
from evoseg.datasets.io.files import read_image, write_image
from evoseg.networks.weights import is_pretrained_available
from evoseg.operators.network import EXAMPLE_NETWORK, network_bytes
from evoseg.pipeline import read_text
from evoseg.runs.network_folders import network_file
from evoseg.runs.pipeline_files import write_pipeline
from evoseg.studio import display
from evoseg.studio.away import ENDING_OF
from evoseg.studio.events import Events
from evoseg.studio.project import BytesCache, Project
from evoseg.studio.searching import Command
from tests.studio.conftest import SHAPE, STROKES, Browser, brush, draw, paint

ROOT = Path(__file__).resolve().parents[2]


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def wait_for(ask, seconds: float = 60):
    """Return what `ask` gives once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := ask():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def paint_all(browser: Browser, name: str = "d0") -> str:
    """Paint all strokes on an image and return its id."""
    key = next(image["id"] for image in browser.get("/api/project").json()["images"] if image["name"] == name)
    for stroke in STROKES:
        done = browser.post(f"/api/images/{key}/edits", stroke.model_dump() | {"id": f"{name}-{stroke.id}"})
        assert done.status_code == 200, done.text
    return key


def live_answer(browser: Browser) -> dict:
    return wait_for(
        lambda: (live := browser.get("/api/project").json()["live"])["number"] and live.get("scores") and live
    )


def test_an_image_is_shown_as_it_is(browser):
    images = browser.get("/api/project").json()["images"]
    assert [image["name"] for image in images] == ["d0", "d1", "d2"]
    facts = browser.get(f"/api/images/{images[1]['id']}").json()
    assert (facts["height"], facts["width"], facts["levels"]) == (*SHAPE, 1) and facts["why_not_paint"] == ""
    shown = pixels(browser.get(f"/api/images/{facts['id']}/tiles/0/0/0.png").content)
    np.testing.assert_array_equal(shown[:, :, 0], draw(1)[0])
    assert pixels(browser.get(f"/api/images/{facts['id']}/thumbnail.png").content).shape == (*SHAPE, 3)
    for path in ("tiles/0/1/0", "tiles/1/0/0", "tiles/-1/0/0", "tiles/99/0/0", "tiles/0/0/-1"):
        answer = browser.get(f"/api/images/{facts['id']}/{path}.png")
        assert answer.status_code == 400 and "has no tile" in answer.json()["error"]
    assert browser.get(f"/api/images/{facts['id']}/tiles/0/0/0.png?channel=7").status_code == 400
    assert browser.get(f"/api/images/{facts['id']}/tiles/0/0/0.png?low=x").status_code == 422


def test_painting_is_seen_undone_and_saved_as_every_command_reads_it(browser, folder):
    key = paint_all(browser)
    tile = pixels(browser.get(f"/api/images/{key}/strokes/0/0/0.png").content)
    assert tile[25, 30].tolist() == [255, 145, 0, 255] and tile[80, 20].tolist() == [70, 165, 240, 255]
    assert tile[40, 5, 3] == 0
    history = browser.post(f"/api/images/{key}/undo").json()
    assert history["undo"] and history["redo"] and history["version"] == 5
    assert browser.post(f"/api/images/{key}/redo").json()["redo"] is False
    file = folder / "scribbles" / "d0.png"
    wait_for(file.exists)
    assert read_image(file)[25, 30, 0] == 2 and read_image(file)[80, 20, 0] == 1
    report = check(folder)
    assert report.ok and report.layout == "plain"
    states = {image["name"]: image["state"] for image in browser.get("/api/project").json()["images"]}
    assert states == {"d0": "strokes", "d1": "unlabelled", "d2": "unlabelled"}


def test_the_live_answer_comes_with_its_held_out_score(browser, studio):
    assert "on an object and one on background" in wait_for(
        lambda: browser.get("/api/project").json()["live"]["reason"]
    )
    key = paint_all(browser)
    live = live_answer(browser)
    assert live["scores"][0]["what"] == "strokes" and live["scores"][0]["share"] > 0.9
    other = browser.get("/api/project").json()["images"][2]["id"]
    tile = browser.get(f"/api/images/{other}/answer/labels/{live['number']}/0/0/0.png")
    shown, truth = pixels(tile.content)[:, :, 3] > 0, draw(2)[1]
    assert (shown & truth).sum() / (shown | truth).sum() > 0.85
    assert (
        pixels(browser.get(f"/api/images/{other}/answer/doubt/{live['number']}/0/0/0.png").content)[..., 3].max() > 100
    )
    # With its undoing, the answer goes.
    for _ in STROKES:
        browser.post(f"/api/images/{key}/undo")
    wait_for(lambda: browser.get("/api/project").json()["live"]["number"] == 0)
    assert browser.get(f"/api/images/{other}/answer/labels/9/0/0/0.png").status_code == 204
    assert "reason" in browser.post(f"/api/images/{other}/next").json()
    assert browser.post("/api/live/save").status_code == 400


def test_a_whole_object_of_the_answer_gets_a_label(browser, studio):
    paint_all(browser)
    live_answer(browser)
    images = {image["name"]: image["id"] for image in browser.get("/api/project").json()["images"]}
    request = {"id": "o1", "label": 2, "place": [60.5, 88.5]}
    assert browser.post(f"/api/images/{images['d1']}/object", request).json()["version"] == 1
    labels = studio.project.strokes(studio.project.image(images["d1"])).labels
    truth = draw(1)[1]
    truth[:45] = False  # the other disc
    assert ((labels == 2) & truth).sum() / ((labels == 2) | truth).sum() > 0.75
    none = browser.post(f"/api/images/{images['d1']}/object", request | {"id": "o2", "place": [85, 5]})
    assert none.status_code == 400 and "no object" in none.json()["error"]
    assert browser.post(f"/api/images/{images['d1']}/object", request | {"place": [9e9, 5]}).status_code == 422
    assert (
        browser.post(f"/api/images/{images['d1']}/object", request | {"id": "o3", "place": [500, 5]}).status_code == 400
    )


def test_next_goes_to_doubt_here_and_then_to_another_image(browser):
    key = paint_all(browser)
    live_answer(browser)
    skip = []
    for _ in range(200):
        found = browser.post(f"/api/images/{key}/next", {"skip": skip}).json()
        if "box" not in found:
            break
        top, left, bottom, right = found["box"]
        skip.append([top + (bottom - top) // 2, left + (right - left) // 2])
    images = {image["id"]: image["name"] for image in browser.get("/api/project").json()["images"]}
    assert images[found["image"]] in ("d1", "d2")


@pytest.mark.skipif(not is_pretrained_available(), reason="the encoder's weights are not installed")
def test_a_network_of_the_live_answer_is_saved_with_it_and_replaces_the_one_before(browser, folder):
    key = paint_all(browser)
    wait_for(lambda: "network(image" in browser.get("/api/project").json()["live"].get("programs", {}).get("2", ""))
    assert browser.post("/api/live/save").status_code == 200
    (first,) = folder.glob("*.onnx")
    assert evoseg.read_pipeline(folder / "live.evo").networks == (first.stem,)
    number = live_answer(browser)["number"]
    browser.post(f"/api/images/{key}/edits", brush("more", 1, (45, 5), (45, 60)).model_dump())
    wait_for(lambda: browser.get("/api/project").json()["live"]["number"] > number)
    assert browser.post("/api/live/save").status_code == 200
    (second,) = folder.glob("*.onnx")
    assert second != first
    # Another pipeline still needs the network.
    shutil.copy(folder / "live.evo", folder / "mine.evo")
    number = live_answer(browser)["number"]
    browser.post(f"/api/images/{key}/undo")
    wait_for(lambda: browser.get("/api/project").json()["live"]["number"] > number)
    assert browser.post("/api/live/save").status_code == 200 and second in folder.glob("*.onnx")


@pytest.mark.parametrize("to", ["evo", "json", "cpp", "python", ""])
def test_a_network_of_an_earlier_live_answer_stays_if_a_file_beside_it_names_it(folder, studio, to):
    earlier = read_text(
        f'def pipeline(image):\n    return level(network(image, weights="{EXAMPLE_NETWORK}"), level=127)\n'
    )
    write_pipeline(earlier, folder / "live.evo")
    network = network_file(folder, EXAMPLE_NETWORK)
    network.write_bytes(network_bytes(EXAMPLE_NETWORK))
    if to:
        text = str(earlier) if to == "evo" else evoseg.export(earlier, to=to)
        (folder / f"mine{ENDING_OF.get(to, '.evo')}").write_text(text)
    paint(studio.project)
    studio.away.save_live(studio.live.fit(filters_only=True))
    assert EXAMPLE_NETWORK not in (folder / "live.evo").read_text()
    assert network.exists() == bool(to)


def test_what_reads_the_strokes_is_refused_while_a_file_of_another_program_is_in_their_place(browser, folder, studio):
    key = paint_all(browser)
    live_answer(browser)
    studio.project.save()
    file = folder / "scribbles" / "d0.png"
    write_image(file, np.ones(SHAPE, np.uint8), overwrite=True)
    before = file.read_bytes()
    assert browser.post(f"/api/images/{key}/edits", brush("more", 1, (45, 5), (45, 60)).model_dump()).status_code == 200
    refused = browser.post("/api/live/save")
    assert refused.status_code == 400 and "Move it away" in refused.json()["error"]
    studio.close()  # says it once more, and ends
    assert file.read_bytes() == before
    file.unlink()
    studio.project.save()
    np.testing.assert_array_equal(read_image(file)[:, :, 0], studio.project.strokes(studio.project.image(key)).labels)


@pytest.mark.skipif(not is_pretrained_available(), reason="the encoder's weights are not installed")
def test_a_search_starts_from_a_live_answer_without_its_network(browser, folder, monkeypatch):
    paint_all(browser)
    wait_for(lambda: "network(image" in browser.get("/api/project").json()["live"].get("programs", {}).get("2", ""))
    started = []
    monkeypatch.setattr(Command, "start", lambda self, log: started.append(self) or SimpleNamespace(poll=lambda: 0))
    wanted = {"start": "live", "seconds": 5}
    assert browser.post("/api/runs", wanted).status_code == 200
    assert f"--warm-start {folder}/live-filters.evo" in started[0].line
    assert (
        started[0].line.partition(" --out ")[0]
        == (browser.post("/api/runs/line", wanted).json()["line"].partition(" --out ")[0])
    )
    pipeline = evoseg.read_pipeline(folder / "live-filters.evo")
    assert not pipeline.has_network and not (folder / "live.evo").exists()
    assert "network(image" in browser.get("/api/project").json()["live"]["programs"]["2"], "it is still shown"


@pytest.mark.e2e
def test_the_live_answer_is_exported_and_applied(browser, folder):
    paint_all(browser)
    live = live_answer(browser)
    found = browser.get("/api/export?source=live&to=python").json()
    assert found["name"] == "segment.py" and "import evoseg" not in found["text"]
    assert found["line"] == f"evoseg export {folder}/live.evo --to python --out segment.py"
    saved = evoseg.read_pipeline(folder / "live.evo")
    assert saved == evoseg.read_pipeline(live["programs"]["2"]) and saved.made_for is not None
    started = browser.post("/api/results", {"source": "live", "table": True}).json()
    assert started["line"].startswith(f"evoseg apply {folder}/live.evo {folder} --out {folder}/results/")
    done = wait_for(
        lambda: (r := browser.get(f"/api/results/{started['name']}").json())["rows"] and not r["running"] and r
    )
    assert (done["done"], done["total"]) == (3, 3) and [row["image"] for row in done["rows"]] == ["d0", "d1", "d2"]
    out = Path(done["folder"])
    mask = read_image(out / "masks" / "d1.png")[:, :, 0] > 0
    truth = draw(1)[1]
    assert (mask & truth).sum() / (mask | truth).sum() > 0.85
    with (out / "objects.csv").open() as file:
        assert len({row["image"] for row in csv.DictReader(file)}) == 3
    overlay = browser.get(f"/api/results/{started['name']}/1.png")
    assert pixels(overlay.content).shape == (*SHAPE, 3)
    assert browser.get(f"/api/results/{started['name']}/3.png").status_code == 400
    bad = browser.post("/api/results", {"source": "live", "images": str(folder / "none")})
    assert bad.status_code == 400 and "no such file or folder" in bad.json()["error"]


@pytest.mark.e2e
def test_a_search_is_started_watched_stopped_and_resumed(browser, folder):
    for name in ("d0", "d1", "d2"):
        paint_all(browser, name)
    request = {"seconds": 600, "networks": False}
    line = browser.post("/api/runs/line", request).json()["line"]
    assert line == f"evoseg search {folder} --seconds 600 --out {folder}/runs/NAME --no-networks"
    started = browser.post("/api/runs", request).json()
    key = next(run["id"] for run in started["runs"] if run["folder"] == started["folder"])

    def details():
        return browser.get(f"/api/runs/{key}").json()

    going = wait_for(lambda: (run := details()).get("curve") and run)
    assert going["state"] == "running" and going["budget"] == 600 and going["program"]
    assert {"name", "n", "improved", "best"} == set(going["proposers"][0])
    assert sum(point["front"] for point in going["cloud"]) > 0
    image = browser.get("/api/project").json()["images"][2]["id"]
    tile = pixels(browser.get(f"/api/images/{image}/runs/{key}/0/0/0.png").content)
    assert tile.shape == (*SHAPE, 4) and tile[..., 3].any()
    assert browser.post(f"/api/runs/{key}", {"action": "stop"}).status_code == 200
    ended = wait_for(lambda: (run := details())["state"] == "interrupted" and not run["alive"] and run)
    assert ended["has_pipeline"] and ended["report"] and ended["answers"] == []
    # Of two pipelines, the recommended one comes first, and is chosen by the page.
    run = Path(started["folder"])
    (run / "readable.evo").write_text("another program")
    (run / "accurate.evo").write_bytes((run / "pipeline.evo").read_bytes())
    assert details()["answers"] == ["accurate", "readable"]
    report = browser.get(f"/api/runs/{key}/report")
    assert report.status_code == 200 and "sandbox" in report.headers["content-security-policy"]
    assert browser.post(f"/api/runs/{key}", {"action": "resume"}).status_code == 200
    wait_for(lambda: details()["state"] == "running")
    browser.post(f"/api/runs/{key}", {"action": "stop"})
    wait_for(lambda: not details()["alive"])
    assert browser.get("/api/runs/nothing").status_code == 400
    code = browser.get(f"/api/export?source={key}&to=python").json()
    assert "def " in code["text"]


@pytest.mark.e2e
def test_a_killed_studio_loses_no_acknowledged_stroke(folder, tmp_path):
    environment = os.environ | {"EVOSEG_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}

    def start() -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "evoseg", "studio", str(folder), "--no-browser"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    import httpx

    for round_, expected in enumerate((1, 2)):
        process, address = start()
        try:
            origin = address.partition("/enter")[0]
            with httpx.Client(base_url=origin, follow_redirects=True, headers={"origin": origin}) as client:
                assert client.get(address).status_code == 200
                assert client.get("/api/project", headers={"host": "evil.example"}).status_code == 421
                key = client.get("/api/project").json()["images"][0]["id"]
                stroke = STROKES[round_].model_dump()
                assert client.post(f"/api/images/{key}/edits", json=stroke).json()["version"] == 1
        finally:
            process.send_signal(signal.SIGKILL if round_ == 0 else signal.SIGINT)
            process.wait(20)
            assert process.stdout is not None
            process.stdout.close()
        log = next((folder / ".evoseg" / "strokes").iterdir()).read_text()
        assert log.count('"edit"') == expected
    # Ctrl-C has written what the killed one had not.
    found = read_image(folder / "scribbles" / "d0.png")[:, :, 0]
    assert found[25, 30] == 2 and found[63, 85] == 2


def test_a_folder_of_images_becomes_a_dataset(tmp_path):
    for seed in range(2):
        write_image(tmp_path / f"d{seed}.png", draw(seed)[0])
    project = Project(tmp_path)
    image = project.images[next(iter(project.images))]
    for stroke in STROKES:
        project.strokes(image).add(stroke)
    project.save()
    report = check(tmp_path)
    assert report.ok and report.layout == "images beside scribbles or masks"
    assert [image.stem for image in Project(tmp_path).images.values()] == ["d0", "d1"]
    assert evoseg.Dataset(tmp_path).labelled == ("d0",)


def test_other_layouts_are_shown_but_not_painted_on(tmp_path):
    write_image(tmp_path / "a.png", draw(0)[0])
    write_image(tmp_path / "a_mask.png", draw(0)[1].astype(np.uint8))
    write_image(tmp_path / "b.png", draw(1)[0])
    project = Project(tmp_path)
    states = {image.stem: (project.state(image), project.why_not_paint(image)) for image in project.images.values()}
    assert states["a"][0] == "mask" and states["b"][0] == "unlabelled"
    assert "Put the images into images/" in states["b"][1]
    with pytest.raises(DatasetError, match="Strokes are saved in scribbles/"):
        project.strokes(next(image for image in project.images.values() if image.stem == "b"))


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(evoseg.EvosegError, match="no image found"):
        Project(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        Project(tmp_path / "none")


def test_a_cache_keeps_to_its_budget_and_makes_each_value_once():
    made: list[int] = []

    def make(n: int) -> int:
        made.append(n)
        return n

    cache = BytesCache[int, int](10)
    for key in (4, 5, 4, 3):
        assert cache.get(key, lambda key=key: make(key), lambda value: value) == key
    assert made == [4, 5, 3] and cache.held == 7  # 5 was the one that was not used since
    cache.get(20, lambda: make(20), lambda value: value)
    assert cache.held == 20
    with pytest.raises(ZeroDivisionError):
        cache.get(1, lambda: 1 // 0, lambda value: value)
    assert cache.get(1, lambda: make(1), lambda value: value) == 1
    cache.drop(lambda key: key == 1)
    cache.get(1, lambda: make(1), lambda value: value)
    assert made == [4, 5, 3, 20, 1, 1]


def test_events_reach_every_page_and_a_page_that_does_not_read_is_no_burden():
    async def scene() -> list[str]:
        events = Events()
        events.publish("lost", n=0)  # nobody is there yet
        events.open()
        streams = [events.stream(), events.stream(), events.stream()]
        for stream in streams:
            assert "hello" in await anext(stream)
        for n in range(1000):
            events.publish("strokes", n=n)
        await asyncio.sleep(0)
        found = [await anext(stream) for stream in streams[:2]]
        late = events.stream()
        await anext(late)
        events.close()
        assert [text async for text in late] == []
        for stream in streams:
            await stream.aclose()
        return found

    assert asyncio.run(scene()) == ['event: strokes\ndata: {"n": 0}\n\n'] * 2


OPENER = """\
import sys, time, httpx
address, _, view = sys.argv[1].partition("#")
with httpx.Client(follow_redirects=True) as client:
    client.get(address)
    runs = client.get(address.partition("/enter")[0] + "/api/runs").json()["runs"]
open(sys.argv[2], "w").write(f"{view} {runs}")
"""
"""Stands for a browser: it opens the address, and writes down which view that names, and what runs there are."""


def test_files_in_the_working_folder_do_not_stand_in_for_modules_of_commands(tmp_path, monkeypatch):
    for name in ("random.py", "typer.py"):
        (tmp_path / name).write_text("raise SystemExit('this is not the module you are looking for')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    log = tmp_path / "log"
    assert Command(("--help",)).start(log).wait(60) == 0, log.read_text()


@pytest.mark.e2e
def test_a_search_of_the_command_line_opens_the_studio_and_closes_it(folder, tmp_path):
    (folder / "masks").mkdir()
    for seed in range(3):
        write_image(folder / "masks" / f"d{seed}.png", draw(seed)[1].astype(np.uint8) * 255)
    (tmp_path / "opener.py").write_text(OPENER)
    opener = f"{sys.executable} {tmp_path}/opener.py %s {tmp_path}/seen"
    environment = os.environ | {"EVOSEG_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "BROWSER": opener}
    command = [sys.executable, "-m", "evoseg", "search", str(folder), "--evaluations", "20", "--workers", "0"]
    done = subprocess.run(
        [*command, "--no-networks", "--studio", "--json"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.startswith("{"), done.stderr
    assert (tmp_path / "seen").read_text().startswith("search [")
    address = done.stderr.partition("shows the search: ")[2].split()[0]
    import httpx

    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


def test_tiles_are_the_same_whether_reduced_images_are_kept_or_not(tmp_path, monkeypatch):
    image = default_rng(0).integers(0, 255, (1301, 1903, 3)).astype(np.uint8)
    write_image(tmp_path / "a.png", image)
    project = Project(tmp_path)
    (opened,) = project.images.values()

    def tiles() -> list[bytes]:
        shown = display.Display(project)
        places = [(z, row, col) for z in range(3) for row in range(3 >> z) for col in range(4 >> z)]
        return [shown.tile(opened, *place, display.Look()) for place in places]

    kept = tiles()
    monkeypatch.setattr(display, "MOST_KEPT", 650 * 500)
    monkeypatch.setattr(display, "_BAND", 1903 * 100)
    assert tiles() == kept
