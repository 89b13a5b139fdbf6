"""Objects that are corrected by hand, and the masks that are made of them."""

import json
from threading import Event, Thread

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoseg.core.errors import DatasetError
from evoseg.datasets import check
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.io.files import decode_mask, read_image, write_image
from evoseg.studio.live import Live
from evoseg.studio.objects import Correction, ObjectsError, ObjectStore, as_mask, correct, number, parts_of
from evoseg.studio.project import Project
from tests.studio.conftest import DISCS, STROKES, draw, paint
from tests.studio.test_server import live_answer, paint_all, pixels, wait_for


def corrected(rows: list[str], tool: str, *points: tuple[float, float]) -> list[str]:
    """Return objects, drawn as digits, after a correction."""
    labels = np.array([[int(v) for v in row] for row in rows], np.uint16)
    correct(labels, Correction(id="a", tool=tool, points=points))
    return ["".join(map(str, row)) for row in labels]


SCENE = ["11100222", "11100222", "11100222", "00000000"]


def test_objects_under_a_trace_are_deleted():
    assert corrected(SCENE, "delete", (0.5, 1.5)) == ["00000222"] * 3 + ["00000000"]
    assert corrected(SCENE, "delete", (0.5, 1.5), (0.5, 6.5)) == ["00000000"] * 4
    assert corrected(SCENE, "delete", (3.5, 1.5)) == SCENE
    assert corrected(SCENE, "delete", (90.5, 1.5)) == SCENE


def test_an_object_is_split_along_a_line_and_loses_no_pixel():
    rows = ["0000000", "0111110", "0111110", "0111110", "0000000"]
    # Across column 4: two columns are left of it, one is right of it, and those under the line go to the nearer part.
    found = corrected(rows, "split", (0.2, 4.5), (4.8, 4.5))
    assert [row.replace("2", "1") for row in found] == rows
    assert found[2] in ("0111120", "0111220") and found[1:4] == [found[2]] * 3


def test_a_line_that_ends_in_an_object_or_passes_it_by_splits_nothing():
    assert corrected(SCENE, "split", (0.5, 1.5), (1.5, 1.5)) == SCENE
    assert corrected(SCENE, "split", (0.5, 3.9), (3.5, 3.9)) == SCENE
    assert corrected(SCENE, "split", (3.5, 3.5)) == SCENE


def test_a_cut_along_the_edge_leaves_no_crumbs():
    labels = np.zeros((60, 60), np.uint16)
    cv2.circle(labels, (30, 30), 25, 1, -1)
    before = labels.copy()
    assert correct(labels, Correction(id="a", tool="split", points=((0, 5.6), (60, 5.6)))) is None
    np.testing.assert_array_equal(labels, before)


def test_one_line_splits_all_objects_that_it_crosses():
    rows = ["1111002222", "1111002222", "1111002222", "1111002222"]
    found = corrected(rows, "split", (1.9, -2), (1.9, 12))
    assert len(set(found[0]) | set(found[3])) == 5 and not set(found[0]) & set(found[3]) - {"0"}


def test_a_drag_merges_objects_and_joins_them_along_itself():
    assert corrected(["11222", "11222"], "merge", (0.5, 0.5), (0.5, 4.5)) == ["11111", "11111"]
    assert corrected(["11222", "11222"], "merge", (0.5, 4.5), (0.5, 0.5)) == ["22222", "22222"]
    wide = ["11000022", "11000022", "11000022", "11000022", "11000022", "11000022"]
    found = corrected(wide, "merge", (2.5, 0.5), (2.5, 7.5))
    assert found == ["11000011", "11111111", "11111111", "11111111", "11000011", "11000011"]
    # An end of the trace on background joins nothing.
    ends = ["110000", "110000", "220000", "220000"]
    assert corrected(ends, "merge", (0.5, 0.5), (2.5, 0.5), (2.5, 5.5)) == ["110000", "110000", "110000", "110000"]
    assert corrected(SCENE, "merge", (0.5, 0.5), (2.5, 2.5)) == SCENE


def test_an_outline_makes_an_object_or_adds_to_the_one_that_it_begins_in():
    around = ((1, 1), (1, 6), (3, 6), (3, 1))
    assert corrected(["00000000"] * 4, "draw", *around) == ["00000000", "01111100", "01111100", "00000000"]
    rows = ["22000000"] * 4
    assert corrected(rows, "draw", *around) == ["22000000", "22222200", "22222200", "22000000"]
    assert corrected(rows, "draw", (1, 2), *around[1:])[1] == "22333300"
    assert corrected(rows, "draw", (0.5, 5.5)) == rows


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_correction_but_drawing_and_joining_changes_what_is_background(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    labels = parts_of(cv2.blur(rng.integers(0, 255, (40, 50)).astype(np.uint8), (7, 7)) > 127)
    points = data.draw(st.lists(st.tuples(st.floats(-5, 45), st.floats(-5, 55)), min_size=1, max_size=6))
    before = labels.copy()
    for tool in ("split", "merge", "delete", "draw"):
        after = before.copy()
        patch = correct(after, Correction(id="a", tool=tool, points=tuple(points)))
        assert (patch is None) == np.array_equal(after, before)
        if tool == "split":
            np.testing.assert_array_equal(after > 0, before > 0)
            assert len(np.unique(after)) >= len(np.unique(before))
        elif tool == "delete":
            assert not (after > 0)[before == 0].any() and ((after == before) | (after == 0)).all()
        else:
            assert (after > 0)[before > 0].all()
        if patch is not None:
            patch.put(after, undone=True)
            np.testing.assert_array_equal(after, before)


def test_objects_are_numbered_from_1():
    np.testing.assert_array_equal(number(np.array([[0, 70_000], [7, 7]])), [[0, 2], [1, 1]])
    with pytest.raises(ObjectsError, match="more than 65,535 objects"):
        number(np.arange(70_000).reshape(7, 10_000))


def test_masks_hold_numbers_or_foreground_with_a_gap_between_objects():
    labels = np.array([[1, 1, 5, 5, 0, 9]], np.uint16)
    assert as_mask(labels, "instances").tolist() == [[1, 1, 2, 2, 0, 3]]
    assert as_mask(labels, "instances").dtype == np.uint8
    assert as_mask(labels, "binary").tolist() == [[255, 255, 0, 255, 0, 255]]
    many = np.arange(300, dtype=np.uint16).reshape(1, -1)
    assert as_mask(many, "instances").dtype == np.uint16


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_mask_of_foreground_has_as_many_parts_as_there_were_large_objects(seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros((60, 80), np.uint16)
    for i, (row, col) in enumerate(rng.integers(8, 52, (6, 2)).tolist()):
        cv2.circle(labels, (col, row), 7, i + 1, -1)
    mask = as_mask(labels, "binary") > 0
    assert ((labels > 0) | ~mask).all()
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    for part in range(1, parts.max() + 1):
        assert len(np.unique(labels[parts == part])) == 1


def opened(folder) -> ObjectStore:
    return ObjectStore(folder / "masks" / "a.png", folder / ".evoseg" / "a.jsonl", (4, 8))


def scene() -> np.ndarray:
    return np.array([[int(v) for v in row] for row in SCENE], np.uint16)


def test_objects_opened_anew_at_any_time_are_as_before(tmp_path):
    store = opened(tmp_path)
    assert store.as_json()["title"] == ""
    store.begin("b", scene(), "an answer", "binary")
    steps = [
        lambda: store.add(Correction(id="c", tool="delete", points=((0.5, 0.5),))),
        lambda: store.add(Correction(id="c", tool="delete", points=((0.5, 6.5),))),  # sent twice
        lambda: store.save("instances"),
        store.undo,
        lambda: store.add(Correction(id="d", tool="merge", points=((0.5, 0.5), (0.5, 6.5)))),
        store.undo,
        store.redo,
        lambda: store.save("binary"),
        store.withdraw,
    ]
    masks = ["", "", "current", "older", "older", "older", "older", "current", ""]
    for step, mask in zip(steps, masks, strict=True):
        step()
        again = opened(tmp_path)
        np.testing.assert_array_equal(again.labels, store.labels)
        assert again.as_json() | {"version": 0} == store.as_json() | {"version": 0}
        assert store.as_json()["mask"] == mask
    assert store.as_json()["title"] == "an answer" and store.as_json()["objects"] == 1
    assert not (tmp_path / "masks").exists()


def test_the_beginning_is_undone_too(tmp_path):
    store = opened(tmp_path)
    store.begin("b", scene(), "one", "binary")
    store.begin("c", np.zeros((4, 8), np.uint16), "another that finds nothing", "instances")
    assert store.as_json()["title"] == "another that finds nothing"
    store.undo()
    assert (store.as_json()["title"], store.as_json()["objects"]) == ("one", 2)
    store.undo()
    assert store.as_json()["title"] == "" and store.as_json()["redo"]


def test_a_correction_that_changes_nothing_says_what_to_do(tmp_path):
    store = opened(tmp_path)
    store.begin("b", scene(), "one", "binary")
    for tool, words in (
        ("delete", "no object here"),
        ("split", "from one side"),
        ("merge", "to another"),
        ("draw", "outline"),
    ):
        with pytest.raises(ObjectsError, match=words):
            store.add(Correction(id=tool, tool=tool, points=((3.5, 0.5),)))
    assert store.as_json()["objects"] == 2


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_mask_of_another_program_is_never_overwritten_or_removed(tmp_path, name):
    store = opened(tmp_path)
    store.begin("b", scene(), "one", "binary")
    (tmp_path / "masks").mkdir()
    write_image(tmp_path / "masks" / name, np.ones((4, 8), np.uint8))
    before = (tmp_path / "masks" / name).read_bytes()
    with pytest.raises(ObjectsError, match=rf"masks/{name}: not made in the studio, so it is left as it is"):
        store.save("binary")
    with pytest.raises(ObjectsError, match="no mask was saved here"):
        store.withdraw()
    assert (tmp_path / "masks" / name).read_bytes() == before


def test_a_mask_that_was_changed_by_another_program_is_no_longer_ours(tmp_path):
    store = opened(tmp_path)
    store.begin("b", scene(), "one", "binary")
    store.save("binary")
    write_image(tmp_path / "masks" / "a.png", np.ones((4, 8), np.uint8), overwrite=True)
    assert store.as_json()["mask"] == ""
    with pytest.raises(ObjectsError, match="not made in the studio"):
        store.save("binary")


def test_a_correction_that_changed_nothing_leaves_the_mask_current_after_a_restart(tmp_path):
    store = opened(tmp_path)
    store.begin("b", scene(), "one", "binary")
    store.save("binary")
    with pytest.raises(ObjectsError, match="no object here"):
        store.add(Correction(id="c", tool="delete", points=((3.5, 0.5),)))
    assert store.as_json()["mask"] == opened(tmp_path).as_json()["mask"] == "current"


def test_a_history_that_is_none_is_an_error(tmp_path):
    (tmp_path / ".evoseg").mkdir()
    (tmp_path / ".evoseg" / "a.jsonl").write_text(json.dumps({"edit": {"id": "a", "tool": "explode"}}) + "\n")
    with pytest.raises(DatasetError, match="not a history of what was drawn"):
        opened(tmp_path)


def begun(browser, name: str = "d1") -> str:
    """Paint on d0, take the live answer over on another image, and return its address."""
    paint_all(browser)
    live_answer(browser)
    images = {image["name"]: image["id"] for image in browser.get("/api/project").json()["images"]}
    base = f"/api/images/{images[name]}/objects"
    assert browser.get(base).json()["title"] == ""
    done = browser.post(f"{base}/begin", {"id": "begin", "source": "live"})
    assert done.status_code == 200 and done.json()["title"] == "the live answer", done.text
    return base


def trace(tool: str, *points: tuple[float, float]) -> dict:
    return {"id": f"{tool}-{points}".translate({ord(c): "_" for c in " (),.'-"})[:60], "tool": tool, "points": points}


def discs_of(browser, base: str) -> int:
    """Delete all objects but the two discs of d1, and return how many there are."""
    tile = pixels(browser.get(f"{base}/0/0/0.png").content)
    _, parts, stats, _ = cv2.connectedComponentsWithStats((tile[..., 3] > 0).astype(np.uint8), connectivity=8)
    for i in range(1, len(stats)):
        if stats[i, cv2.CC_STAT_AREA] < 200:
            row, col = np.argwhere(parts == i)[0] + 0.5
            assert browser.post(f"{base}/correct", trace("delete", (float(row), float(col)))).status_code == 200
    return browser.get(base).json()["objects"]


def test_an_answer_is_corrected_and_saved_as_a_mask_that_every_command_reads(browser, folder, studio):
    base = begun(browser)
    assert discs_of(browser, base) == 2
    done = browser.post(f"{base}/correct", trace("split", (60, 60), (60, 120))).json()
    assert done["objects"] == 3 and done["task"] == "binary"
    done = browser.post(f"{base}/mask/save", {"task": "instances"}).json()
    assert done["mask"] == "current"
    report = check(folder)
    assert report.ok, report
    sample = Dataset(folder).load("d1")
    truth = draw(1)[1]
    assert (sample.mask & truth).sum() / (sample.mask | truth).sum() > 0.85
    assert len(np.unique(sample.labels)) == 4
    states = {image["name"]: image["state"] for image in browser.get("/api/project").json()["images"]}
    assert states == {"d0": "strokes", "d1": "mask", "d2": "unlabelled"}
    # The live answer is fitted to the mask, too.
    wait_for(lambda: browser.get("/api/project").json()["live"].get("images") == 2)
    # Undo keeps the mask until it is saved again, or taken back.
    assert browser.post(f"{base}/undo").json() | {"version": 0} == done | {
        "mask": "older",
        "objects": 2,
        "redo": True,
        "version": 0,
        "task": "instances",
    }
    assert len(np.unique(read_image(folder / "masks" / "d1.png"))) == 4
    assert browser.post(f"{base}/mask/save", {"task": "binary"}).json()["mask"] == "current"
    assert np.unique(read_image(folder / "masks" / "d1.png")).tolist() == [0, 255]
    assert browser.post(f"{base}/mask/withdraw").json()["mask"] == ""
    assert not (folder / "masks").exists() and check(folder).ok
    wait_for(lambda: browser.get("/api/project").json()["live"].get("images") == 1)
    assert browser.post(f"{base}/mask/withdraw").status_code == 400


def test_strokes_are_put_away_for_a_mask_and_come_back_after_a_restart(browser, folder, studio):
    base = begun(browser, "d0")
    key = base.split("/")[3]
    before = studio.project.strokes(studio.project.image(key)).labels.copy()
    browser.post(f"{base}/mask/save", {"task": "binary"})
    assert not (folder / "scribbles" / "d0.png").exists() and check(folder).ok
    refused = browser.post(f"/api/images/{key}/edits", STROKES[0].model_dump() | {"id": "late"})
    assert refused.status_code == 400 and "taken back" in refused.json()["error"]
    assert "taken back" in browser.get(f"/api/images/{key}").json()["why_not_paint"]
    again = Project(folder)
    image = again.image(key)
    assert again.state(image) == "mask" and again.objects(image).owns_mask
    np.testing.assert_array_equal(again.mask(image) == 2, read_image(folder / "masks" / "d0.png")[:, :, 0] > 0)
    again.withdraw_mask(image)
    np.testing.assert_array_equal(again.strokes(image).labels, before)
    assert again.state(image) == "strokes"
    for project in (again, Project(folder)):  # a redo would put them away, without a mask
        assert project.strokes(image).history()["redo"] is False
        assert project.strokes(image).redo() is None
        np.testing.assert_array_equal(project.strokes(image).labels, before)


def test_a_mask_that_cannot_be_saved_leaves_the_strokes(browser, folder, studio):
    base = begun(browser, "d0")
    image = studio.project.image(base.split("/")[3])
    before = studio.project.strokes(image).labels.copy()
    write_first(folder, "d0", np.ones(draw(0)[1].shape, np.uint8))  # by another program, after the folder was opened
    refused = browser.post(f"{base}/mask/save", {"task": "binary"})
    assert refused.status_code == 400 and "not made in the studio" in refused.json()["error"]
    np.testing.assert_array_equal(studio.project.strokes(image).labels, before)
    assert before.any() and studio.project.state(image) == "strokes"


def test_a_stroke_that_comes_while_a_mask_is_saved_is_refused(browser, studio, monkeypatch):
    base = begun(browser, "d0")
    image = studio.project.image(base.split("/")[3])
    came = []

    def paint():
        came.append(browser.post(f"/api/images/{image.id}/edits", STROKES[0].model_dump() | {"id": "late"}))

    painting = Thread(target=paint)
    save = studio.project.objects(image).save

    def save_while_painting(task):
        painting.start()
        painting.join(0.5)  # as long as it waits for the mask, it is still there
        save(task)

    monkeypatch.setattr(studio.project.objects(image), "save", save_while_painting)
    assert browser.post(f"{base}/mask/save", {"task": "binary"}).status_code == 200
    painting.join()
    assert came[0].status_code == 400 and "taken back" in came[0].json()["error"]
    assert studio.project.state(image) == "mask"


def test_a_pipeline_of_objects_suggests_a_mask_of_objects(browser, folder):
    (folder / "results").mkdir()
    program = 'def pipeline(image):\n    return components(level(channel(image), level=110, polarity="bright"))\n'
    (folder / "results" / "objects.evo").write_text(program)
    (saved,) = browser.get("/api/pipelines").json()["saved"]
    base = f"/api/images/{browser.get('/api/project').json()['images'][0]['id']}/objects"
    found = browser.post(f"{base}/begin", {"id": "b", "source": saved["id"]}).json()
    assert found["task"] == "instances" and found["title"] == "objects" and found["objects"] >= 2


def write_first(folder, stem: str, labels: np.ndarray) -> None:
    (folder / "masks").mkdir(exist_ok=True)
    write_image(folder / "masks" / f"{stem}.png", labels)


def test_masks_are_suggested_in_the_form_of_those_that_are_there(folder, request):
    for seed, values in ((1, [1, 2, 3]), (2, [1, 2])):
        labels = np.zeros(draw(0)[1].shape, np.uint8)
        for i, value in enumerate(values):
            labels[10 + 20 * i : 20 + 20 * i, 5:30] = value
        write_first(folder, f"d{seed}", labels)
    browser = request.getfixturevalue("browser")
    base = begun(browser, "d0")
    assert browser.get(base).json()["task"] == "instances"
    other = next(image for image in browser.get("/api/project").json()["images"] if image["name"] == "d1")
    refused = browser.get(f"/api/images/{other['id']}/objects").json()
    assert "was not made in the studio" in refused["why_not"]
    for path, body in (("begin", {"id": "b", "source": "live"}), ("mask/save", {"task": "binary"}), ("undo", {})):
        assert browser.post(f"/api/images/{other['id']}/objects/{path}", body).status_code == 400


def test_masks_of_classes_are_not_mixed_with_objects(folder, request):
    (folder / "dataset.yaml").write_text("classes:\n  1: nucleus\n  2: cytoplasm\n")
    write_first(folder, "d2", np.full(draw(0)[1].shape, 2, np.uint8))
    browser = request.getfixturevalue("browser")
    base = begun(browser, "d1")
    refused = browser.post(f"{base}/mask/save", {"task": "binary"})
    assert refused.status_code == 400 and "misread" in refused.json()["error"]


def test_answers_without_objects_are_refused(browser, folder):
    (folder / "results").mkdir()
    (folder / "results" / "plane.evo").write_text(
        "def pipeline(image):\n    return gaussian(channel(image), sigma=2.0)\n"
    )
    (folder / "results" / "nuclei.evo").write_text(
        'def pipeline(image):\n    return components(level(channel(image), level=110, polarity="bright"))\n'
    )
    ids = {one["name"]: one["id"] for one in browser.get("/api/pipelines").json()["saved"]}
    base = f"/api/images/{browser.get('/api/project').json()['images'][0]['id']}/objects"
    for source, words in (
        (ids["plane"], "not objects"),
        ("program:none", "no program"),
        ("none", "no run"),
        ("live", "Paint a stroke"),
    ):
        refused = browser.post(f"{base}/begin", {"id": f"b-{source[:9].replace(':', '')}", "source": source})
        assert refused.status_code == 400 and words in refused.json()["error"], source
    assert browser.post(f"{base}/mask/save", {"task": "binary"}).status_code == 400
    assert browser.post(f"{base}/correct", {"id": "a", "tool": "begin", "points": [[1, 1]]}).status_code == 422
    assert browser.post(f"{base}/mask/save", {"task": "classes"}).status_code == 422


def test_a_folder_of_images_with_saved_masks_is_a_dataset(tmp_path):
    for seed in range(2):
        write_image(tmp_path / f"d{seed}.png", draw(seed)[0])
    project = Project(tmp_path)
    paint(project, "d0")
    image = next(image for image in project.images.values() if image.stem == "d1")
    project.objects(image).begin("b", parts_of(draw(1)[1]), "drawn", "binary")
    project.save_mask(image, "binary")
    project.save()
    report = check(tmp_path)
    assert report.ok and report.layout == "images beside scribbles or masks"
    np.testing.assert_array_equal(Dataset(tmp_path).load("d1").mask, draw(1)[1])
    assert [one.stem for one in Project(tmp_path).images.values()] == ["d0", "d1"]


def begun_on_drawn_discs(project: Project, stem: str = "d0"):
    """Begin with the true objects of an image, and return it."""
    image = next(image for image in project.images.values() if image.stem == stem)
    project.objects(image).begin("b", parts_of(draw(int(stem[1:]))[1]), "the truth", "binary")
    return image


def test_a_mask_is_not_saved_if_the_strokes_cannot_be_set_aside(folder, project):
    image = begun_on_drawn_discs(project)
    paint(project)
    project.save()
    before, file = project.strokes(image).labels.copy(), folder / "scribbles" / "d0.png"
    write_image(file, np.ones(before.shape, np.uint8), overwrite=True)  # by another program
    with pytest.raises(DatasetError, match=r"scribbles/d0\.png: written by another program"):
        project.save_mask(image, "binary")
    assert not (folder / "masks").exists() and project.state(image) == "strokes"
    assert (read_image(file) == 1).all()
    np.testing.assert_array_equal(project.strokes(image).labels, before)
    assert project.strokes(image).redo() is None


def test_masks_beside_images_in_the_folder_itself_go_where_they_are_read(tmp_path):
    (tmp_path / "labels").mkdir()
    for seed in range(2):
        write_image(tmp_path / f"d{seed}.png", draw(seed)[0])
        write_image(tmp_path / "labels" / f"figure{seed}.png", draw(seed)[0])
    project = Project(tmp_path)
    project.save_mask(begun_on_drawn_discs(project), "binary")
    assert Dataset(tmp_path).labelled == ("d0",)
    np.testing.assert_array_equal(read_image(tmp_path / "masks" / "d0.png")[..., 0] > 0, draw(0)[1])


def test_a_mask_that_is_saved_while_the_last_one_is_read_is_the_one_that_counts(project, monkeypatch):
    image = begun_on_drawn_discs(project)
    project.save_mask(image, "binary")
    live, has_read, may_go_on = Live(project), Event(), Event()

    def read_slowly(*given):
        found = decode_mask(*given)
        has_read.set()
        assert may_go_on.wait(60)
        return found

    monkeypatch.setattr("evoseg.studio.project.decode_mask", read_slowly)
    thread = Thread(target=live.fit)
    thread.start()
    assert has_read.wait(60)
    monkeypatch.setattr("evoseg.studio.project.decode_mask", decode_mask)
    row, col, _ = DISCS[0]
    project.objects(image).add(Correction(id="c", tool="delete", points=((row, col),)))
    project.save_mask(image, "binary")
    may_go_on.set()
    thread.join()
    assert project.mask(image)[row, col] == 1 and (project.mask(image) == 2).any()


def test_masks_of_both_forms_are_not_mixed(folder, project):
    # Among numbers of objects, all foreground of an image would be read as one object.
    first, second = begun_on_drawn_discs(project, "d0"), begun_on_drawn_discs(project, "d1")
    project.save_mask(first, "binary")
    for opened in (project, Project(folder)):
        with pytest.raises(DatasetError, match="other images hold foreground; .* Save this one as foreground, too"):
            opened.save_mask(second, "instances")
    assert not (folder / "masks" / "d1.png").exists()
    project.save_mask(second, "binary")
    project.withdraw_mask(first)
    project.save_mask(second, "instances")
    with pytest.raises(DatasetError, match="hold separate objects"):
        project.save_mask(first, "binary")
    project.save_mask(first, "instances")
    for path in (folder / "masks").iterdir():
        assert np.unique(read_image(path)).tolist() == [0, 1, 2]
