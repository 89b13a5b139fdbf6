"""The Python interface: what a search returns, writes and refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evoseg
from evoseg.core.errors import DatasetError, EvosegError, SettingsError
from evoseg.datasets.io.files import read_image
from evoseg.datasets.maskrules import read_mask
from evoseg.exporters.excerpts import ExportError
from evoseg.exporters.targets import exported
from evoseg.inference.score import bootstrap_interval, score
from evoseg.metrics.mask_scores import MASK_METRICS
from evoseg.pipeline import print_text, write_json
from evoseg.runs.opening import open_data
from evoseg.runs.run_folder import FilesError, find_run, run_id

ROOT = Path(__file__).resolve().parents[2]
SIMPLE = "def pipeline(image):\n    return threshold(channel(image))\n"
TIMED = ("seconds", "seconds_in_all", "evaluations_per_second", "decided_per_second", "run", "files")


def untimed(result: dict) -> dict:
    """Return a result without what depends on clocks, cores and places."""
    kept = {key: value for key, value in result.items() if key not in TIMED}
    kept["history"] = [(evaluations, best) for evaluations, _, best in result["history"]]
    kept["settings"] = {key: value for key, value in result["settings"].items() if key != "workers"}
    return kept


def copy_of(dataset: Path, target: Path, n: int) -> Path:
    """Copy the first n images and masks."""
    for part in ("images", "masks"):
        (target / part).mkdir(parents=True)
        for file in sorted((dataset / part).iterdir())[:n]:
            shutil.copy(file, target / part)
    return target


def test_importing_evoseg_loads_nothing_heavy_and_knows_its_names():
    program = (
        "import sys, evoseg; print(*sorted({'numpy', 'cv2', 'typer'} & set(sys.modules)));"
        "print(all(hasattr(evoseg, name) for name in evoseg.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["", "True"]
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        evoseg.serach  # noqa: B018


def test_a_search_returns_what_its_parts_say(found, dataset):
    n = found.n_images
    assert n["search"] + n["selection"] + n["test"] == 12
    assert n["test"] == len(found.test_per_image) == 4
    assert found.scores["test"] == pytest.approx(np.mean(list(found.test_per_image.values())))
    assert found.all_metrics_test["iou"] == pytest.approx(found.scores["test"])
    assert set(found.all_metrics_test) == set(MASK_METRICS)
    assert set(found.baselines_test) == {"all", "nothing", "classic"}
    assert found.baselines_test["nothing"] <= found.baselines_test["all"]
    low, high = found.interval_test
    assert low <= found.scores["test"] <= high
    assert found.evaluations == 60
    assert score(found.pipeline, open_data(dataset)).of("iou") == pytest.approx(found.test_per_image)


def test_the_document_holds_every_promised_key(found):
    result = found.to_json()
    promised = (
        "evoseg run dataset task metric seed stopped_by reproducible pipeline digest form n_images scores "
        "interval_test baselines_test test_per_image all_metrics_test cost_ms_per_mpx evaluations decided "
        "evaluations_to_best seconds evaluations_per_second decided_per_second history proposers warm_start llm files "
        "finalists dataset_digest versions settings"
    )
    assert set(promised.split()) <= set(result)
    assert json.loads(found.files["result"].read_text("utf-8")) == json.loads(json.dumps(result))
    bests = [best for _, _, best in result["history"]]
    assert bests == sorted(bests)
    assert result["evaluations_to_best"] == result["history"][-1][0] <= result["evaluations"] <= result["decided"]
    assert sum(result["proposers"].values()) == pytest.approx(1 if result["proposers"] else 0)
    assert sum(result["ancestors"].values()) >= 1
    assert result["stopped_by"] == "evaluations"
    assert {finalist["role"] for finalist in result["finalists"]} >= {"constant", "classic"}


def test_a_search_leaves_its_files_whole(found):
    assert found.files["pipeline"].read_text("utf-8") == print_text(found.pipeline) == found.to_json()["pipeline"]
    with Image.open(found.files["test"]) as image:
        assert image.format == "PNG"
    assert found.files["curve"].read_text("utf-8").startswith("<svg xmlns=")
    assert sorted(p.name for p in found.files["test"].parent.iterdir()) == [
        *("curve.svg", "pipeline.evo", "report.html", "result.json", "run.db", "run.lock", "test.png")
    ]
    assert found._repr_png_().startswith(b"\x89PNG")


@pytest.mark.e2e
@pytest.mark.parametrize("workers", [0, 2])
def test_any_number_of_workers_gives_the_same_document(dataset, workers):
    settings = {"evaluations": 60, "library": evoseg.Library(remember=False)}
    first = evoseg.search(dataset, workers=1, **settings)
    again = evoseg.search(dataset, workers=workers, **settings)
    assert untimed(again.to_json()) == untimed(first.to_json())


def test_the_champion_is_written_before_any_test_image_is_opened(dataset, tmp_path):
    folder, out = copy_of(dataset, tmp_path / "data", 12), tmp_path / "out"
    tests = evoseg.check(folder).splits.test

    def watch(status):
        if status.doing == "searching":  # all checks are over by now
            for stem in tests:
                (folder / "images" / f"{stem}.png").write_bytes(b"")

    with pytest.raises(DatasetError, match=tests[0]) as caught:
        evoseg.search(folder, evaluations=40, workers=0, out=out, progress=watch, report=False)
    assert sorted(p.name for p in out.iterdir()) == ["pipeline.evo", "run.db", "run.lock"]
    evoseg.read_pipeline(out)
    assert str(out) in caught.value.__notes__[0]


def test_too_few_images_for_a_test_are_not_proven(dataset, tmp_path):
    seen = []
    found = evoseg.search(
        copy_of(dataset, tmp_path / "few", 4), evaluations=40, workers=0, out=tmp_path / "out", progress=seen.append
    )
    assert found.scores["test"] is None
    assert (found.interval_test, found.test_per_image, found.all_metrics_test) == (None, {}, {})
    assert found.n_images == {"search": 4, "selection": 0, "test": 0}
    assert found.files["test"].exists()
    assert seen[-1].doing == "proving"


def test_arrays_are_as_good_as_files(dataset):
    stems = sorted(p.stem for p in (dataset / "images").iterdir())
    images = {stem: read_image(dataset / "images" / f"{stem}.png") for stem in stems}
    masks = {stem: read_mask(dataset / "masks" / f"{stem}.png") for stem in stems}
    found = evoseg.search((images, masks), evaluations=30, workers=0, report=False)
    assert set(found.to_json()["splits"]["test"]) < set(stems)
    assert found.dataset == "arrays"
    answer = found.pipeline(images[stems[0]])
    assert (answer.dtype, answer.shape) == (np.bool_, masks[stems[0]].shape)


def test_a_search_begins_with_the_pipelines_that_it_is_given(dataset, tmp_path):
    file = tmp_path / "start.evo"
    file.write_text(SIMPLE)
    found = evoseg.search(dataset, evaluations=1, workers=0, start=[file], report=False)
    assert found.proposers == {}  # the first generation is credited to no proposer
    assert set(found.ancestors) == {"start"}
    assert len(found.settings["start"]) == 1


def test_a_target_score_ends_the_search(dataset):
    found = evoseg.search(dataset, seconds=30, goal=evoseg.Goal(target_score=0.05), workers=0, report=False)
    assert found.stopped_by == "target-score"


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("target", "holds"), [("cpp", "pipeline(const cv::Mat& image)"), ("imagej", "function pipeline(image)")]
)
def test_a_search_for_a_language_uses_only_what_its_files_carry(command, dataset, tmp_path, target, holds):
    done = command(
        "search", dataset, "--evaluations", "60", "--workers", "0", "--target", target, "--out", tmp_path, "--json"
    )
    result = json.loads(done.out)
    assert result["settings"]["operators"] == target
    for program in (result["pipeline"], *(member["pipeline"] for member in result["front"])):
        assert holds in exported(evoseg.read_pipeline(program), target)


def test_a_search_for_a_language_refuses_to_start_from_what_its_files_do_not_carry(dataset, tmp_path):
    start = tmp_path / "start.evo"
    start.write_text("def pipeline(image):\n    return threshold(entropy(channel(image)))\n")
    with pytest.raises(ExportError, match="'entropy'.*--target imagej"):
        evoseg.search(dataset, evaluations=5, goal=evoseg.Goal(target="imagej"), start=[start])


def test_the_answer_stays_below_the_highest_cost(dataset):
    found = evoseg.search(dataset, evaluations=80, workers=0, goal=evoseg.Goal(max_ms_per_mpx=2.0), report=False)
    assert found.cost_ms_per_mpx <= 2.0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"metric": "iuo"}, "unknown metric 'iuo'; did you mean iou"),
        ({"task": "binray"}, "did you mean binary"),
        ({"goal": evoseg.Goal(target="java")}, "known are cpp, imagej, python"),
        ({"seconds": 0}, "seconds is 0"),
        ({"seconds": -1.0}, "seconds is -1"),
        ({"seconds": float("inf")}, "finite"),
        ({"seconds": float("nan")}, "finite"),
        ({"evaluations": 0}, "evaluations is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"workers": 257}, "up to 256"),
        ({"goal": evoseg.Goal(target_score=float("nan"))}, "target_score is nan; scores are between -1 and 1"),
        ({"goal": evoseg.Goal(target_score=1.5)}, "target_score is 1.5"),
        ({"goal": evoseg.Goal(max_ms_per_mpx=0.0)}, "max_ms_per_mpx is 0"),
        ({"task": "binary", "start": ["def pipeline(image):\n    return channel(image)\n"]}, "returns a gray value"),
    ],
)
def test_a_setting_out_of_range_is_refused_before_anything_is_opened(settings, says, home):
    with pytest.raises(SettingsError, match=says):
        evoseg.search("no such folder", **settings)
    assert list(home.iterdir()) == []


def test_results_are_never_written_over(found, dataset, tmp_path):
    with pytest.raises(FilesError, match=r"already contains"):
        evoseg.search(dataset, evaluations=10, workers=0, out=found.files["test"].parent)
    copies = found.save(tmp_path / "kept")
    assert copies["result"].read_bytes() == found.files["result"].read_bytes()
    with pytest.raises(FilesError, match="exists already"):
        found.save(tmp_path / "kept")
    found.save(tmp_path / "kept", overwrite=True)


@pytest.mark.e2e
def test_a_failed_search_leaves_folders_as_they_were(dataset, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    for out in (mine, tmp_path / "new"):
        with pytest.raises(EvosegError, match="no candidate costs less"):
            evoseg.search(
                dataset, seconds=5, workers=0, out=out, library="none", goal=evoseg.Goal(max_ms_per_mpx=0.001)
            )
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert list(mine.iterdir()) == []


def test_pipelines_are_read_from_files_runs_and_texts(found, home, tmp_path):
    (home / "runs").mkdir()
    shutil.copytree(found.files["pipeline"].parent, home / "runs" / found.run)
    twin = tmp_path / "twin.json"
    evoseg.write_pipeline(found.pipeline, twin)
    assert twin.read_text("utf-8") == write_json(found.pipeline) + "\n"
    folder = found.files["pipeline"].parent
    for source in (found.files["pipeline"], folder, str(folder), found.run, twin, print_text(found.pipeline)):
        assert evoseg.read_pipeline(source) == found.pipeline
    with pytest.raises(FilesError, match="exists already"):
        evoseg.write_pipeline(found.pipeline, twin)
    with pytest.raises(FilesError, match=f"Did you mean {found.run}"):
        evoseg.read_pipeline(found.run + "x")
    with pytest.raises(FilesError, match="no file, folder or run"):
        evoseg.read_pipeline("../runs")


def test_ids_of_runs_sort_by_time_and_are_plain():
    assert run_id("Glas glands (Ä)")[15:-4] == "-glas-glands-"
    assert run_id("ÄÖ")[15:-4] == "-run-"
    with pytest.raises(FilesError, match="no file, folder or run"):
        find_run("..")


def test_the_digest_of_a_dataset_is_the_one_that_a_check_shows(dataset):
    assert open_data(dataset).survey.digest == evoseg.check(dataset).card["digest"]


def test_the_interval_is_the_bootstraps():
    assert bootstrap_interval([0.5]) is None
    assert bootstrap_interval([0.25] * 5) == (0.25, 0.25)
    low, high = bootstrap_interval([0.0, 1.0] * 50)
    assert (low, high) == (pytest.approx(0.4, abs=0.015), pytest.approx(0.6, abs=0.015))  # 0.5 -+ 1.96 * 0.05


def test_scoring_says_which_split_is_empty(dataset):
    with pytest.raises(DatasetError, match="selection split is empty"):
        score(evoseg.read_pipeline(SIMPLE), open_data(dataset), "selection")
    with pytest.raises(DatasetError, match="has no ground truth that a gray value can be compared with"):
        score(evoseg.read_pipeline("def pipeline(image):\n    return channel(image)\n"), open_data(dataset))


def test_a_tuple_of_another_length_is_refused():
    with pytest.raises(DatasetError, match="images, masks"):
        evoseg.search(([], [], []))
