"""Several classes from end to end: a run each, an image of classes, and what goes wrong."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import evoseg
from evoseg.core.errors import DatasetError, SettingsError
from evoseg.datasets.checking import open_dataset
from evoseg.datasets.classes import classes_of, of_class
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.io.files import read_image, write_image
from evoseg.datasets.reading import DEFAULT_OPTIONS
from evoseg.datasets.splits import split
from evoseg.inference.multiclass import ClassPart, ClassPipeline
from evoseg.llm.limits import UNPRICED_TOKENS
from evoseg.pipeline import print_text, read_text
from evoseg.runs.control import RunLock
from evoseg.runs.run_folder import FilesError
from evoseg.runs.stored import delete, list_source_images
from tests.datasets.drawn_outlines import labelme_document, rings
from tests.system.interrupted import Killed, killed_at

SHAPE = (48, 61)  # Non-square on purpose: swapped axes must fail.
CARD = "classes: {1: bright, 4: dark}\n"
BRIGHT, DARK = 1, 4


def scene(i: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noise with bright and dark squares, two each, and the image of their classes."""
    rng = np.random.default_rng(i)
    classes = np.zeros(SHAPE, np.uint8)
    for value, cols in ((BRIGHT, (3, 20)), (DARK, (35, 50))):
        for col in cols:
            row = int(rng.integers(2, 34))
            classes[row : row + 10, col : col + 9] = value
    image = rng.normal(128, 8, SHAPE) + 70 * (classes == BRIGHT) - 70 * (classes == DARK)
    return np.clip(image, 0, 255).astype(np.uint8), classes


SCENES = [scene(i) for i in range(8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("classes") / "parts"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for i, (image, classes) in enumerate(SCENES):
        write_image(root / "images" / f"s{i}.png", image)
        write_image(root / "masks" / f"s{i}.png", classes)
    (root / "dataset.yaml").write_text(CARD)
    return root


@pytest.fixture(scope="module")
def found(folder, tmp_path_factory) -> evoseg.MulticlassResult:
    out = tmp_path_factory.mktemp("runs") / "found"
    return evoseg.search_classes(folder, evaluations=80, workers=0, library="none", out=out)


def parts(*entries: tuple[int, str, float]) -> ClassPipeline:
    """Return a pipeline per class of (value, name of an answer, expected score)."""
    above, below = "threshold(channel(image), level=100)", "invert_mask(threshold(channel(image), level=150))"
    texts = {
        "above": f"def pipeline(image):\n    return {above}\n",
        "below": f"def pipeline(image):\n    return {below}\n",
    }
    return ClassPipeline(
        tuple(ClassPart(v, f"class-{v}", read_text(texts[how]), e) for v, how, e in entries), DEFAULT_OPTIONS
    )


def test_each_class_is_told_from_all_else(found):
    assert set(found.classes) == {"bright", "dark"}
    assert all(one.scores["test"] is not None and one.scores["test"] > 0.9 for one in found.classes.values())
    assert found.scores["test"] == pytest.approx(np.mean([one.scores["test"] for one in found.classes.values()]))
    assert min(found.combined_test.values()) > 0.9
    for image, classes in SCENES:
        assert (found.pipeline(image) == classes).mean() > 0.97
    assert found.to_json()["classes"][1]["value"] == DARK


def test_all_classes_share_their_splits_and_the_budget(found, folder):
    data = open_dataset(folder)
    assert split(of_class(data, BRIGHT)) == split(of_class(data, DARK)) == split(data)
    assert {tuple(one.to_json()["splits"]["test"]) for one in found.classes.values()} == {split(data).test}
    assert [one.settings["evaluations"] for one in found.classes.values()] == [40, 40]


@pytest.mark.e2e
@pytest.mark.parametrize(("tokens", "each"), [(9001, 4500), (None, UNPRICED_TOKENS // 2)])
def test_all_classes_together_cost_no_more_than_was_allowed(folder, tmp_path, tokens, each):
    agent = evoseg.Agent("openai:x", base_url="http://127.0.0.1:9/v1", calls=5, tokens=tokens, usd=1)
    usual = {"evaluations": 8, "workers": 0, "library": "none", "out": tmp_path / "a"}
    told: list[str] = []
    found = evoseg.search_classes(folder, agent=agent, progress=lambda s: told.append(s.task), **usual)
    assert list(dict.fromkeys(told)) == ["bright", "dark"], "whoever watches is told which class is searched for"
    for one in found.classes.values():
        asked = one.settings
        assert (asked["llm_calls"], asked["llm_tokens"], asked["llm_usd"]) == (2, each, 0.5)


def test_trust_is_the_least_of_all_classes(found, folder, tmp_path, command):
    alone = {}
    for name in ("bright", "dark"):
        (tmp_path / name).mkdir()
        results = evoseg.apply(
            found.file.parent / name, folder / "images", tmp_path / name, doubt=tmp_path / name / "d"
        )
        alone[name] = {one.stem: one.trust for one in results}
    done = command(
        "apply", found.file, folder / "images", "--out", tmp_path / "both", "--doubt", tmp_path / "d", "--json"
    )
    said = {row["name"]: row["trust"] for row in json.loads(done.out)["images"]}
    assert said == {stem: min(alone["bright"][stem], alone["dark"][stem]) for stem in said}
    pictures = [
        read_image(folder / "s0.png") for folder in (tmp_path / "bright/d", tmp_path / "dark/d", tmp_path / "d")
    ]
    np.testing.assert_array_equal(pictures[2], np.maximum(*pictures[:2]))
    copied = shutil.copy(found.file, tmp_path / "alone.json")
    assert "trust     unknown" in command("apply", copied, folder / "images", "--out", tmp_path / "c").out


def test_deleting_takes_all_runs_or_none(found, tmp_path, command):
    group = shutil.copytree(found.file.parent, tmp_path / "copy")
    with RunLock(group / "dark"):
        refused = command("runs", "delete", group)
        assert refused.code == 1 and "dark: a process is using this run" in refused.err
        assert (group / "bright" / "run.db").is_file() and (group / "classes.json").is_file()
    assert command("runs", "delete", group).code == 0 and not group.exists()


@pytest.mark.e2e
def test_killed_at_any_step_the_deletion_of_all_runs_can_be_repeated(found, tmp_path, command):
    for step in range(60):
        group = Path(shutil.copytree(found.file.parent, tmp_path / "copy"))
        with killed_at(step):
            delete(group)
        if not group.exists():
            break
        if any(group.iterdir()):
            again = command("runs", "delete", group)
            assert (again.code, again.out) == (0, f"deleted {group}\n") and not group.exists()
        else:
            group.rmdir()  # no trace of a run is left
    assert step > 10


@pytest.mark.e2e
def test_killed_at_any_step_of_its_beginning_a_search_for_classes_can_be_taken_up(folder, tmp_path, command, home):
    asked = {"evaluations": 16, "workers": 0, "library": "none"}
    taken_up = 0
    for step in range(0, 80, 4):
        group = home / "runs" / f"group-{step}"
        with killed_at(step):
            evoseg.search_classes(folder, out=group, **asked, progress=_no_further)
        if len(list(group.glob("*/run.db"))) == 2:
            break
        listed = json.loads(command("runs", "list", "--json").out)
        told = [run["run"].split("/")[0] for run in listed["runs"] + listed["damaged"]]
        assert group.name in told or not group.exists()
        if not list(group.glob("*/run.db")):
            done = command("runs", "resume", group)
            assert done.code == 1 and "Traceback" not in done.err
        elif not taken_up:  # once is enough: it takes a search
            taken_up = 1
            found = evoseg.resume_classes(group)
        assert not group.exists() or command("runs", "delete", group).code == 0
    assert taken_up
    shutil.rmtree(group)
    undisturbed = evoseg.search_classes(folder, out=tmp_path / "whole", **asked)
    assert {n: one.pipeline for n, one in found.classes.items()} == {
        n: one.pipeline for n, one in undisturbed.classes.items()
    }


def _no_further(status: object) -> None:
    raise Killed


def test_one_process_at_a_time_searches_for_the_classes(found, folder, tmp_path, command):
    group = shutil.copytree(found.file.parent, tmp_path / "copy")
    before = {path: path.read_bytes() for path in group.rglob("*") if path.is_file() and path.name != "run.lock"}
    with RunLock(group):
        for arguments in (
            ("runs", "resume", group),
            ("runs", "delete", group),
            ("search", folder, "--task", "classes", "--out", group, "--overwrite"),
        ):
            refused = command(*arguments)
            assert refused.code == 1 and f"{group}: process" in refused.err and "is using this run" in refused.err
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_folder_holds_either_the_runs_of_classes_or_one_run(found, folder, tmp_path, command):
    group = shutil.copytree(found.file.parent, tmp_path / "group")
    how = ("--evaluations", 8, "--workers", 0, "--library", "none", "--no-report", "--out", group)
    refused = command("search", folder, "--task", "binary", *how)
    assert refused.code == 1 and f"{group}: already contains a run (classes.json)" in refused.err
    done = command("search", folder, "--task", "binary", *how, "--overwrite", "--json")
    assert done.code == 0, done.err
    assert sorted(path.name for path in group.iterdir()) == ["pipeline.evo", "result.json", "run.db", "run.lock"]
    assert json.loads(command("show", group, "--json").out)["digest"] == json.loads(done.out)["digest"]
    refused = command("search", folder, "--task", "classes", *how)
    assert refused.code == 1 and "run.db), which is not overwritten" in refused.err
    assert command("search", folder, "--task", "classes", *how, "--overwrite").code == 0
    assert sorted(path.name for path in group.iterdir()) == ["bright", "classes.json", "dark", "run.lock"]


def test_classes_can_be_described(folder, command):
    done = command("describe", folder, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["card"]


def test_masks_of_one_class_are_where_its_value_is(folder):
    data = open_dataset(folder)
    dark = of_class(data, DARK)
    sample = dark.load("s0")
    assert np.array_equal(sample.mask, SCENES[0][1] == DARK)
    assert dark.card.foreground == "dark" and dark.survey.digest != data.survey.digest
    with pytest.raises(DatasetError, match="no class 2; there are 1, 4"):
        of_class(data, 2)


def test_overlaps_go_to_the_class_that_was_expected_to_score_higher():
    image = np.array([[50, 120, 200]], np.uint8)
    assert parts((1, "above", 0.9), (7, "below", 0.8))(image).tolist() == [[7, 1, 1]]
    assert parts((1, "above", 0.7), (7, "below", 0.8))(image).tolist() == [[7, 7, 1]]
    assert parts((1, "above", 0.8), (7, "below", 0.8))(image).tolist() == [[7, 1, 1]]


@pytest.mark.e2e
def test_the_command_makes_a_run_per_class_and_says_so(folder, tmp_path, command):
    done = command(
        "search", folder, "--evaluations", 16, "--workers", 0, "--library", "none", "--out", tmp_path / "a", "--json"
    )
    assert done.code == 0, done.err
    assert "a pipeline for each of 2 classes, with equal shares of the budget: bright, dark" in done.err
    document = json.loads(done.out)
    assert document["task"] == "classes" and [entry["name"] for entry in document["classes"]] == ["bright", "dark"]
    assert json.loads((tmp_path / "a" / "classes.json").read_text()) == document
    for name in ("bright", "dark"):
        assert {path.name for path in (tmp_path / "a" / name).iterdir()} >= {"pipeline.evo", "report.html", "run.db"}
    again = command("search", folder, "--evaluations", 16, "--workers", 0, "--out", tmp_path / "a")
    assert again.code == 1 and "which is not overwritten" in again.err


@pytest.mark.e2e
def test_one_foreground_can_still_be_asked_for(folder, tmp_path, command):
    done = command("search", folder, "--task", "binary", "--evaluations", 8, "--workers", 0, "--library", "none",
                   "--out", tmp_path / "a", "--json")  # fmt: skip
    assert done.code == 0 and json.loads(done.out)["task"] == "binary"
    with pytest.raises(evoseg.api.SeveralClassesError, match=r"classes bright \(1\), dark \(4\)"):
        evoseg.search(folder, evaluations=8, workers=0, library="none", out=tmp_path / "b")


def test_images_of_classes_are_applied_and_scored(found, folder, tmp_path, command):
    done = command("apply", found.file.parent, folder, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    for (image, _), row in zip(SCENES, json.loads(done.out)["images"], strict=True):
        written = read_image(row["mask"])[..., 0]
        assert written.dtype == np.uint8 and np.array_equal(written, found.pipeline(image))
        assert Path(row["overlay"]).stat().st_size > 100
    scored = json.loads(command("score", found.file, folder, "--json").out)
    assert scored["by_class"] == pytest.approx(dict(found.combined_test))
    assert "mean of the classes" in command("score", found.file, folder, "--split", "all").out
    refused = command("score", found.file, folder, "--radius", "3")
    assert refused.code == 2 and "Leave out --task and --radius" in refused.err
    refused = command("runs", "resume", found.file.parent, "--task", "own.py")
    assert refused.code == 2 and "Leave out --task" in refused.err
    table = tmp_path / "t.csv"
    assert command("apply", found.file, folder, "--out", tmp_path / "b", "--table", table).code == 0
    assert {line.split(",")[2] for line in table.read_text().splitlines()[1:]} == {"bright", "dark"}


def test_annotated_classes_are_searched_for_and_scored_by_their_names(found, folder, home, tmp_path, command):
    root = tmp_path / "annotated"
    root.mkdir()
    for i, (image, classes) in enumerate(SCENES):
        write_image(root / f"s{i}.png", image)
        shapes = [
            {"label": name, "points": ring, "group_id": None, "shape_type": "polygon", "flags": {}}
            for value, name in ((DARK, "dark"), (BRIGHT, "bright"))
            for ring in rings(classes == value)
        ]
        (root / f"s{i}.json").write_text(json.dumps(labelme_document(f"s{i}.png", image, shapes)))
    out = tmp_path / "run"
    how = ("--evaluations", 80, "--workers", 0, "--library", "none")
    done = command("search", root, "--task", "classes", "--classes", "bright,dark", *how, "--out", out)
    assert done.code == 0 and "2 classes" in done.err
    document = json.loads((out / "classes.json").read_text())
    assert [(c["value"], c["name"]) for c in document["classes"]] == [(1, "bright"), (2, "dark")]
    # The same pixels give the same search.
    assert [c["pipeline"] for c in document["classes"]] == [print_text(one.pipeline) for one in found.classes.values()]
    told = command("score", out, root, "--json")
    assert told.code == 0 and json.loads(told.out)["by_class"] == pytest.approx(found.combined_test)
    assert command("runs", "resume", out).code == 0
    one = command("score", out / "dark", root, "--split", "all", "--json")
    assert one.code == 0 and json.loads(one.out)["score"] > 0.9


def test_the_run_of_one_class_is_a_run_like_any_other(found, folder, tmp_path, command):
    dark = found.file.parent / "dark"
    scored = json.loads(command("score", dark, folder, "--json").out)
    assert scored["score"] == pytest.approx(found.classes["dark"].scores["test"])
    assert json.loads(command("score", dark / "pipeline.evo", folder, "--json").out)["score"] == scored["score"]
    assert command("runs", "replay", dark, "--workers", 0).code == 0
    assert command("report", dark, "--out", tmp_path / "dark.html").code == 0
    exported = command("export", dark, "--to", "python").out
    assert exported.startswith("# Made for images that evoseg read with masks equal to 4")
    for arguments in (("show", found.file.parent), ("show", found.file), ("export", found.file, "--to", "python")):
        done = command(*arguments)
        assert done.code == 1 and "found/bright, found/dark" in done.err


def test_the_run_of_one_class_is_known_by_its_id_as_well(found, folder, home, command):
    dark = Path(shutil.copytree(found.file.parent, home / "runs" / "group")) / "dark"
    result = json.loads((dark / "result.json").read_text("utf-8")) | {"metric": "dice"}
    (dark / "result.json").write_text(json.dumps(result), "utf-8")
    for named in (dark, "group/dark", "group/dark#1"):
        assert json.loads(command("score", named, folder, "--json").out)["metric"] == "dice"
    assert len(list_source_images("group/dark")) == len(SCENES)


@pytest.mark.e2e
def test_a_search_that_was_cut_goes_on_to_the_same_classes(folder, found, home, tmp_path, command, monkeypatch):
    from evoseg import class_search

    def cut(path, *arguments, **named):
        if path.name == "dark":
            raise KeyboardInterrupt
        return evoseg.api.resume(path, *arguments, **named)

    monkeypatch.setattr(class_search, "resume", cut)
    with pytest.raises(KeyboardInterrupt) as caught:
        evoseg.search_classes(folder, evaluations=80, workers=0, library="none")
    monkeypatch.undo()
    monkeypatch.setenv("EVOSEG_HOME", str(home))
    (group,) = (home / "runs").iterdir()
    assert any(f"evoseg runs resume {group}" in note for note in caught.value.__notes__)
    listed = {run["run"]: run["state"] for run in json.loads(command("runs", "list", "--json").out)["runs"]}
    assert listed == {f"{group.name}/bright": "done", f"{group.name}/dark": "interrupted"}
    half = command("apply", group.name, folder, "--out", group / "out")
    assert half.code == 1 and "no pipeline for bright, dark yet" in half.err
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    write_image(other / "images" / "s0.png", 255 - SCENES[0][0], overwrite=True)
    refused = command("runs", "resume", group.name, "--dataset", other)
    assert refused.code == 1 and "s0's image has changed" in refused.err
    done = command("runs", "resume", group.name, "--json")
    assert done.code == 0, done.err
    pipelines = [entry["pipeline"] for entry in json.loads(done.out)["classes"]]
    assert pipelines == [one.to_json()["pipeline"] for one in found.classes.values()]
    assert command("runs", "delete", group.name).code == 0 and not group.exists()


@pytest.mark.e2e
def test_arrays_and_scribbles_have_classes_too(tmp_path):
    images, masks = [list(arrays) for arrays in zip(*SCENES, strict=True)]
    data = Dataset.from_arrays(images, masks)
    assert classes_of(data) == {1: "class-1", 4: "class-4"}
    found = evoseg.search_classes(data, evaluations=16, workers=0, library="none", out=tmp_path / "a")
    assert set(found.classes) == {"class-1", "class-4"} and found.dataset_path is None
    with pytest.raises(DatasetError, match="were arrays"):
        evoseg.resume_classes(tmp_path / "a")
    assert evoseg.resume_classes(tmp_path / "a", data).to_json() == found.to_json()


def test_values_that_are_no_classes_are_refused(tmp_path):
    images, masks = [list(arrays) for arrays in zip(*SCENES, strict=True)]
    ramp = [(mask > 0) * (300 + np.arange(61) // 4) for mask in masks]
    with pytest.raises(DatasetError, match="values that cannot be classes"):
        evoseg.search_classes(Dataset.from_arrays(images, ramp), evaluations=4, workers=0, out=tmp_path / "a")
    tested = split(Dataset.from_arrays(images, masks)).test
    few = [mask * ((mask == BRIGHT) | (f"{i:03d}" in tested)) for i, mask in enumerate(masks)]
    with pytest.raises(DatasetError, match="class class-4: none of the 6 search images"):
        evoseg.search_classes(Dataset.from_arrays(images, few), evaluations=4, workers=0, out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_similar_tasks_of_classes_are_those_of_masks(folder):
    assert len(evoseg.similar(folder, 2).tasks) == 2


def test_settings_that_do_not_go_together_leave_nothing_behind(folder, tmp_path):
    for asked, said in (
        ({"metric": "ap50"}, "ap50, which scores the task instances"),
        ({"task": "points"}, "task is points"),
        ({"agent": "gpt"}, "a model is named like openai:MODEL"),
    ):
        with pytest.raises(SettingsError, match=said):
            evoseg.search_classes(folder, evaluations=4, workers=0, out=tmp_path / "a", **asked)
    with pytest.raises(SettingsError, match="library is 'no.txt'"):
        evoseg.search_classes(folder, evaluations=4, workers=0, library="no.txt", out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_the_document_can_be_taken_elsewhere(found, folder, tmp_path, command):
    (tmp_path / "parts.json").write_text(found.file.read_text())
    done = command("apply", tmp_path / "parts.json", folder / "images" / "s3.png", "--out", tmp_path / "out")
    assert done.code == 0
    assert np.array_equal(read_image(tmp_path / "out" / "masks" / "s3.png")[..., 0], found.pipeline(SCENES[3][0]))


def test_a_damaged_document_is_one_clear_error(tmp_path):
    from evoseg.inference.multiclass import read_classes

    for text, said in (
        ("{", "cannot be read"),
        ("{}", "names no classes"),
        ('{"classes": [{"name": "a", "pipeline": 3}]}', "classes cannot be read"),
    ):
        (tmp_path / "classes.json").write_text(text)
        with pytest.raises(FilesError, match=said):
            read_classes(tmp_path / "classes.json")
    for text, said in (
        ('{"classes": [3]}', "names no classes"),
        ('{"classes": [{"name": "a"}]}', "does not name the dataset of the search"),
    ):
        (tmp_path / "classes.json").write_text(text)
        with pytest.raises(FilesError, match=said):
            evoseg.resume_classes(tmp_path)
