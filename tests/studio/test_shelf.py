"""The library in the studio: similar tasks with pictures, and picking what a stored pipeline does here."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import evoseg
from evoseg.pipeline import read_text
from tests.studio.conftest import Browser, draw
from tests.studio.test_server import pixels, wait_for
from tests.studio.test_workbench import TEXT, image_of, iou

PROGRAM = str(read_text(TEXT))


def answers(folder, *texts: object) -> None:
    """Leave a document as `evoseg reuse --json` prints it."""
    (folder / ".evoseg").mkdir(exist_ok=True)
    found = [{"number": n, "source": "discs", "pipeline": text} for n, text in enumerate(texts, 1)]
    (folder / ".evoseg" / "reuse.json").write_text(json.dumps({"answers": found}))


def test_commands_are_shown(browser: Browser, folder):
    line = browser.post("/api/library/reuse/line", {"task": "instances"}).json()["line"]
    assert line == f"evoseg reuse {folder} --task instances --out {folder}/results/reused --overwrite --json"
    assert browser.post("/api/library/similar/line").json()["line"] == f"evoseg similar {folder} --json"
    assert browser.get("/api/library/reuse").json() == {"state": "none", "words": ""}
    assert browser.post("/api/library/reuse/line", {"task": "<b>"}).status_code == 422


def test_an_answer_is_shown_on_any_image_and_picked(browser, folder):
    answers(folder, PROGRAM)
    (answer,) = browser.get("/api/library/reuse").json()["answers"]
    tile = browser.get(f"/api/images/{image_of(browser, 'd2')}/programs/{answer['program']}/answer/0/0/0.png")
    assert iou(pixels(tile.content)[..., 3] > 0, draw(2)[1]) > 0.85
    picked = browser.post("/api/library/reuse/pick", {"number": 1, "name": "discs"}).json()
    assert evoseg.read_pipeline(folder / "results" / "discs.evo") == read_text(TEXT)
    assert browser.post("/api/bench/open", {"source": picked["id"]}).json()["title"] == "discs"
    for request in ({"number": 2, "name": "x"}, {"number": 1, "name": "discs"}, {"number": 1, "name": "../x"}):
        refused = browser.post("/api/library/reuse/pick", request)
        assert refused.status_code == 400 and refused.json()["error"]


@pytest.mark.parametrize("text", [None, "def pipeline(image):\n    return exec(image)\n", 7])
def test_an_answer_that_is_no_pipeline_is_refused(browser, folder, text):
    answers(folder, text)
    refused = browser.get("/api/library/reuse")
    assert refused.status_code == 400 and refused.json()["error"]


def test_a_document_that_is_cut_short_is_no_answer(browser, folder):
    answers(folder, PROGRAM)
    whole = (folder / ".evoseg" / "reuse.json").read_text()
    (folder / ".evoseg" / "reuse.json").write_text(whole[:40])
    (folder / ".evoseg" / "reuse.log").write_text("disk full\n")
    assert browser.get("/api/library/reuse").json() == {"state": "failed", "words": "disk full"}
    assert browser.post("/api/library/reuse/pick", {"number": 1, "name": "x"}).status_code == 400
    assert browser.get("/api/library/reuse/page").status_code == 500


@pytest.mark.e2e
def test_similar_tasks_come_with_pictures_and_stored_pipelines_are_tried(browser, folder):
    assert browser.post("/api/library/similar/ask").json()["state"] == "running"
    similar = wait_for(lambda: (found := browser.get("/api/library/similar").json())["state"] == "done" and found, 120)
    first = similar["similar"][0]
    shown = Image.open(io.BytesIO(browser.get(f"/api/library/tasks/{first['id']}.png").content))
    assert np.asarray(shown).any() and shown.height == 120
    assert browser.get("/api/library/tasks/nothing.png").status_code == 400
    browser.post("/api/library/reuse/ask")
    wait_for(lambda: browser.get("/api/library/reuse").json()["words"], 60)
    assert browser.post("/api/library/reuse/stop").status_code == 200
    wait_for(lambda: browser.get("/api/library/reuse").json()["state"] == "failed", 60)
    browser.post("/api/library/reuse/ask")
    found = wait_for(lambda: (found := browser.get("/api/library/reuse").json())["state"] == "done" and found, 300)
    assert found["answers"][0]["program"] and found["shown_on"] == ["d0", "d1", "d2"]
    page = browser.get("/api/library/reuse/page")
    assert page.status_code == 200 and "sandbox" in page.headers["content-security-policy"]
