"""The workbench: steps changed by hand, what runs again, scores, refitting, comparison and saving."""

import io
import time

import numpy as np
import pytest
from PIL import Image

import evoseg
from evoseg.core.errors import PipelineError
from evoseg.datasets.io.files import write_image
from evoseg.operators import registry
from evoseg.pipeline import read_text
from evoseg.runs.run_folder import FilesError
from evoseg.studio.display import BESIDE
from evoseg.studio.drafts import Draft
from evoseg.studio.project import Project
from evoseg.studio.values import Values
from tests.studio.conftest import SHAPE, Browser, draw, paint

TEXT = """\
def pipeline(image):
    plane = gaussian(channel(image), sigma=2.0)
    return open_mask(level(plane, level=110, polarity="bright"), radius=2)
"""
OPERATORS = ["channel", "gaussian", "level", "open_mask"]


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def iou(found: np.ndarray, truth: np.ndarray) -> float:
    return (found & truth).sum() / (found | truth).sum()


@pytest.fixture
def masked(folder):
    """The folder with masks of its images, one of which is a test image, and a saved pipeline."""
    for seed in range(3):
        (folder / "masks").mkdir(exist_ok=True)
        write_image(folder / "masks" / f"d{seed}.png", draw(seed)[1].astype(np.uint8) * 255)
    (folder / "dataset.yaml").write_text("splits:\n  train: [d0, d1]\n  test: [d2]\n")
    (folder / "results").mkdir()
    (folder / "results" / "first.evo").write_text(str(read_text(TEXT)))
    return folder


@pytest.fixture
def opened(masked, browser: Browser) -> dict:
    """What is on the workbench after opening the saved pipeline."""
    (saved,) = browser.get("/api/pipelines").json()["saved"]
    assert saved["name"] == "first"
    answer = browser.post("/api/bench/open", {"source": saved["id"]})
    assert answer.status_code == 200, answer.text
    return answer.json()


def image_of(browser: Browser, name: str) -> str:
    return next(one["id"] for one in browser.get("/api/project").json()["images"] if one["name"] == name)


def test_a_step_that_is_switched_off_is_replaced_by_its_input():
    draft = Draft.of(read_text(TEXT))
    assert [draft.can_switch(i) for i in range(4)] == [False, True, False, True]
    without = draft.switched(1, off=True)
    assert without.pipeline == read_text(TEXT.replace("gaussian(channel(image), sigma=2.0)", "channel(image)"))
    assert without.until(1) == draft.until(0) and without.until(2) != draft.until(2)
    both = without.switched(3, off=True)
    assert [s.operator for s in both.pipeline.steps] == ["channel", "level"]
    assert both.switched(1, off=False).switched(3, off=False) == draft
    with pytest.raises(PipelineError, match="of the same kind"):
        draft.switched(2, off=True)
    with pytest.raises(PipelineError, match="no step 9"):
        draft.switched(8, off=True)


def test_a_parameter_takes_the_nearest_value_that_is_possible():
    draft = Draft.of(read_text(TEXT))
    assert draft.changed(2, "level", 99.6).pipeline.steps[2].params[0] == 100
    assert draft.changed(2, "level", 1e9).pipeline.steps[2].params[0] == 255
    assert draft.changed(2, "polarity", "dark").pipeline.steps[2].params[1] == "dark"
    with pytest.raises(PipelineError, match="polarity"):
        draft.changed(2, "polarity", "brihgt")
    with pytest.raises(PipelineError, match="no parameter 'sgima'"):
        draft.changed(1, "sgima", 2.0)
    with pytest.raises(PipelineError, match="sigma"):
        draft.changed(1, "sigma", "wide")


def test_only_steps_after_a_change_run_again(project: Project, monkeypatch):
    ran: list[str] = []
    run = registry.Operator.run
    monkeypatch.setattr(
        registry.Operator, "run", lambda op, arrays, values: ran.append(op.name) or run(op, arrays, values)
    )
    values, image = Values(project), next(iter(project.images.values()))
    draft = Draft.of(read_text(TEXT))
    np.testing.assert_array_equal(values.value(draft.pipeline, image), draft.pipeline(draw(0)[0]))
    assert ran[:4] == OPERATORS
    ran.clear()
    values.value(draft.changed(2, "level", 120).pipeline, image)
    assert ran == OPERATORS[2:]
    ran.clear()
    values.value(draft.switched(3, off=True).pipeline, image)
    assert ran == []


def test_values_of_long_chains_and_of_unnamed_programs(project: Project):
    values, image = Values(project), next(iter(project.images.values()))
    lines = [f"    x{i} = gaussian({f'x{i - 1}' if i else 'channel(image)'}, sigma={1 + i % 7})" for i in range(190)]
    long = read_text("def pipeline(image):\n" + "\n".join(lines) + "\n    return level(x189)\n")
    np.testing.assert_array_equal(values.value(long, image), long(draw(0)[0]))
    with pytest.raises(FilesError, match="Reload the page"):
        values.named(long.digest)
    assert values.named(values.name(long)) == long


def test_a_slider_changes_the_answer_and_can_be_undone(opened, browser):
    image = image_of(browser, "d1")
    assert [step["operator"] for step in opened["steps"]] == OPERATORS and not opened["undo"]

    def answer(state) -> np.ndarray:
        tile = browser.get(f"/api/images/{image}/programs/{state['digest']}/answer/0/0/0.png")
        return pixels(tile.content)[..., 3] > 0

    assert iou(answer(opened), draw(1)[1]) > 0.9
    change = {"step": 2, "name": "level"}
    for again, value in enumerate((140, 160, 180)):
        high = browser.post("/api/bench/change", change | {"value": value, "again": bool(again)}).json()
    assert answer(high).sum() < 0.5 * answer(opened).sum()
    assert "level 110 to 180" in high["changes"]
    # The first two steps are as before, so the browser has their pictures.
    digests = [[step["digest"] for step in state["steps"]] for state in (opened, high)]
    assert [a == b for a, b in zip(*digests, strict=True)] == [True, True, False, False]
    off = browser.post("/api/bench/change", {"step": 1, "value": False}).json()
    assert off["steps"][1]["off"] and off["here"]["n_steps"] == 3
    # What a held slider did is one change.
    assert browser.post("/api/bench/undo").json()["digest"] == high["digest"]
    first = browser.post("/api/bench/undo").json()
    assert first["digest"] == opened["digest"] and not first["undo"] and first["redo"] and first["changes"] == ""
    assert browser.post("/api/bench/undo").json()["digest"] == opened["digest"]
    assert browser.post("/api/bench/redo").json()["digest"] == high["digest"]
    assert browser.get("/api/bench").json()["digest"] == high["digest"]


def test_each_step_has_its_picture(opened, browser):
    image = image_of(browser, "d0")
    for step in opened["steps"]:
        shown = pixels(browser.get(f"/api/images/{image}/programs/{step['digest']}/value/0/0/0.png").content)
        assert shown.shape == (*SHAPE, 3)
        assert pixels(browser.get(f"/api/images/{image}/programs/{step['digest']}/thumbnail.png").content).any()
    assert set(np.unique(shown)) == {0, 255}  # the last one is a mask
    gone = browser.get(f"/api/images/{image}/programs/{'0' * 32}/value/0/0/0.png")
    assert gone.status_code == 400 and "Reload" in gone.json()["error"]


@pytest.mark.parametrize(
    "change",
    [
        {"step": 9, "name": "sigma", "value": 1},
        {"step": 1, "name": "<b>", "value": 1},
        {"step": 2, "value": False},
        {"step": 2, "name": "polarity", "value": "up"},
    ],
)
def test_a_change_that_cannot_be_is_refused_and_changes_nothing(opened, browser, change):
    answer = browser.post("/api/bench/change", change)
    assert answer.status_code == 400 and answer.json()["error"]
    assert browser.get("/api/bench").json()["digest"] == opened["digest"]


def test_without_a_pipeline_there_is_nothing_to_change(browser):
    assert browser.get("/api/bench").json() == {}
    assert browser.post("/api/bench/change", {"step": 0, "value": False}).status_code == 400
    assert browser.post("/api/bench/open", {"source": "live"}).status_code == 400
    assert browser.post("/api/bench/open", {"source": "nothing"}).status_code == 400
    assert browser.post("/api/bench/burn").status_code == 422


def test_scores_are_of_search_images_only_and_follow_changes(opened, browser):
    good = browser.get(f"/api/bench/scores/{opened['digest']}").json()
    truth = [draw(seed)[1] for seed in (0, 1)]
    found = [read_text(TEXT)(draw(seed)[0]) for seed in (0, 1)]
    assert good["metric"] == "IoU" and good["n"] == 2
    assert good["score"] == pytest.approx(np.mean([iou(a, b) for a, b in zip(found, truth, strict=True)]))
    bad = browser.post("/api/bench/change", {"step": 2, "name": "level", "value": 30}).json()
    assert browser.get(f"/api/bench/scores/{bad['digest']}").json()["score"] < 0.3


def test_refitting_finds_the_level_again(opened, browser):
    browser.post("/api/bench/change", {"step": 2, "name": "level", "value": 30})
    fitted = browser.post("/api/bench/refit").json()
    assert [step["operator"] for step in fitted["steps"]] == [*OPERATORS[:2], "threshold", OPERATORS[3]]
    assert browser.get(f"/api/bench/scores/{fitted['digest']}").json()["score"] > 0.9
    assert browser.post("/api/bench/undo").json()["steps"][2]["parameters"][0]["value"] == 30


def test_nothing_is_scored_or_fitted_without_labels(folder, browser):
    (folder / "results").mkdir()
    (folder / "results" / "first.evo").write_text(TEXT)
    (saved,) = browser.get("/api/pipelines").json()["saved"]
    digest = browser.post("/api/bench/open", {"source": saved["id"]}).json()["digest"]
    scores = browser.get(f"/api/bench/scores/{digest}").json()
    assert scores["n"] == 0 and "Paint some strokes" in scores["reason"]
    refused = browser.post("/api/bench/refit")
    assert refused.status_code == 400 and "Paint some strokes" in refused.json()["error"]


def test_another_pipeline_stands_beside_the_draft(opened, browser):
    image = image_of(browser, "d0")
    other = browser.get(f"/api/bench/beside?source={opened['source']}").json()
    assert other["digest"] == opened["digest"] and other["n_steps"] == 4 and other["held_out"] is None
    assert other["cost"] == pytest.approx(read_text(TEXT).cost)
    path = f"/api/images/{image}/overlap/{{}}/{other['digest']}"
    assert browser.get(path.format(opened["digest"])).json()["iou"] == 1
    all_of_it = browser.post("/api/bench/change", {"step": 2, "name": "level", "value": 0}).json()
    found = browser.get(path.format(all_of_it["digest"])).json()
    assert found["one"] == 1 and found["iou"] == pytest.approx(found["other"])
    outline = pixels(browser.get(f"/api/images/{image}/outlines/0/0/0.png?programs={other['digest']}").content)
    assert 0 < (outline[..., 3] > 0).mean() < 0.2
    # Several together, each in its colour; those that coincide take turns. Where there is none yet, nothing is seen.
    both = f"/api/images/{image}/outlines/0/0/0.png?programs={other['digest']}%20-%20{other['digest']}"
    seen = pixels(browser.get(both).content)
    np.testing.assert_array_equal(seen[..., 3], outline[..., 3])
    assert set(map(tuple, seen[seen[..., 3] > 0][:, :3])) == {BESIDE[0], BESIDE[2]}
    unknown = browser.get(f"/api/images/{image}/outlines/0/0/0.png?programs=none")
    assert unknown.status_code == 400 and "no program" in unknown.json()["error"]


def test_the_live_answer_stands_beside_the_draft_before_it_was_saved(folder, browser, studio):
    paint(studio.project)
    (folder / "results").mkdir()
    (folder / "results" / "first.evo").write_text(TEXT)
    end = time.monotonic() + 30
    while studio.loop.model is None and time.monotonic() < end:
        studio.loop.touch()
        time.sleep(0.1)
    assert browser.get("/api/bench/beside?source=live").json()["n_steps"] > 1
    assert (folder / "live.evo").is_file()


def test_a_saved_pipeline_is_applied_exported_and_searched_from(opened, browser, masked):
    changed = browser.post("/api/bench/change", {"step": 3, "name": "radius", "value": 3}).json()
    saved = browser.post("/api/bench/save/file", {"name": "mine"}).json()
    path = masked / "results" / "mine.evo"
    assert evoseg.read_pipeline(path) == read_text(changed["program"]) and saved["path"] == str(path)
    assert saved["lines"] == [f"evoseg apply {path} {masked} --out MASKS", f"evoseg score {path} {masked}"]
    assert [one["name"] for one in saved["saved"]] == ["first", "mine"]
    assert "def " in browser.get(f"/api/export?source={saved['id']}&to=python").json()["text"]
    line = browser.post("/api/results/line", {"source": saved["id"]}).json()["line"]
    assert line.startswith(f"evoseg apply {path} {masked} --out")
    line = browser.post("/api/runs/line", {"seconds": 20, "start": saved["id"]}).json()["line"]
    assert line.endswith(f"--warm-start {path}")
    assert browser.get("/api/results").json() == {"results": []}
    for name in ("mine", "../mine", ".mine", "a/b", ""):
        refused = browser.post("/api/bench/save/file", {"name": name})
        assert refused.status_code == 400 and refused.json()["error"]
