"""The commands: what they print, write and end with."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evoseg
from evoseg.cli import search as demonstration
from evoseg.cli.progress import READING, PlainLines
from evoseg.datasets.io.files import read_image, write_image
from evoseg.datasets.maskrules import read_mask
from evoseg.evolve.tasks.task_kinds import OWN_METRIC, TASKS
from evoseg.exporters.targets import LANGUAGES
from evoseg.metrics import METRIC_LABELS
from evoseg.operators import registry
from evoseg.pipeline import print_text, read_json
from evoseg.runs.status import Status

ROOT = Path(__file__).resolve().parents[2]
RUNS = ("runs list", "runs show", "runs resume", "runs replay", "runs delete")
COMMANDS = (
    "demo",
    "check",
    "search",
    "apply",
    "score",
    "show",
    "report",
    "studio",
    "doctor",
    "export",
    "operators list",
    "operators show",
    *RUNS,
)
SIMPLE = "def pipeline(image):\n    return threshold(channel(image))\n"


@pytest.fixture
def simple(tmp_path) -> Path:
    file = tmp_path / "simple.evo"
    file.write_text(SIMPLE)
    return file


def test_help_loads_nothing_heavy():
    # Structure instead of the clock: what is not loaded takes no time.
    program = (
        "import sys; from evoseg.cli.main import run; code = run(['--help']);"
        "heavy = {'numpy', 'cv2', 'rich', 'PIL', 'yaml', 'matplotlib', 'skimage', 'torch', 'sqlalchemy'};"
        "print(code, *sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.split() == ["0"]
    assert all(name.split()[0] in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(command, name):
    done = command(*name.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Example: evoseg {name}" in done.out


def test_help_names_every_value_that_an_option_may_take(command):
    text = " ".join(command("search", "--help").out.split())
    metrics = {name for kind in TASKS.values() for name in kind.metrics}
    for name in (*metrics, *TASKS, "python", *LANGUAGES):
        assert name in text
    assert set(METRIC_LABELS) == metrics | {OWN_METRIC}


def test_the_version_is_printed(command):
    assert command("--version").out == f"evoseg {evoseg.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serach", "x"], "serach"),
        (["search"], "DATASET"),
        (["search", "x", "--secnods", "3"], "--secnods"),
        (["search", "x", "--seconds", "soon"], "--seconds"),
        (["library", "list", "--library", "mine"], "a file ending in .db"),
        (["search", "x", "--workers", "100000"], "workers is 100000"),
        (["search", "x", "--workers", "--5"], "--5"),
        (["search", "x", "--min-score", "nan"], "min_score is nan; scores are between -1 and 1"),
        (["search", "x", "--min-score", "inf"], "min_score is inf"),
        (["search", "x", "--min-score", "60"], "min_score is 60"),
        (["search", "x", "--min-score", "-2"], "scores are between -1 and 1"),
        (["score", "x", "y", "--metric", "dcie"], "did you mean dice"),
        (["export", "{simple}", "--to", "pyhton"], "did you mean python"),
        (["score", "{simple}", "{dataset}", "--split", "tset"], "did you mean test"),
        (["apply", "{simple}", "{dataset}"], "--out"),
    ],
)
def test_misuse_is_exit_code_2_and_one_message(command, arguments, says, simple, dataset):
    done = command(*(a.format(simple=simple, dataset=dataset) for a in arguments))
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert "Traceback" not in done.err


def test_it_runs_as_a_module_of_python():
    done = subprocess.run([sys.executable, "-m", "evoseg", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"evoseg {evoseg.__version__}\n")


def test_a_traceback_is_shown_only_when_asked_for(command):
    assert "Traceback" not in command("check", "no such folder").err
    for arguments in (["--debug", "check", "none"], ["check", "none", "--debug"]):
        done = command(*arguments)
        assert done.code == 1
        assert "Traceback" in done.err
        assert "error: none: no such folder" in done.err


def test_a_fault_of_evosegs_own_is_one_line_too(command, monkeypatch):
    def broken(text):
        raise RuntimeError("boom")

    monkeypatch.setattr("evoseg.runs.pipeline_files.find_run", broken)
    done = command("show", "x")
    assert done.code == 1
    words = "This should not happen: please report it with what --debug prints."
    assert done.err.splitlines() == [f"error: RuntimeError: boom. {words}"]


def test_check_prints_figures_splits_and_faults(command, dataset, tmp_path):
    done = command("check", dataset)
    assert (done.code, done.err) == (0, "")
    assert "12 images" in done.out
    assert "4 test" in done.out
    document = json.loads(command("check", dataset, "--json").out)
    assert document["ok"]
    assert sum(map(len, document["splits"].values())) == 12
    shutil.copytree(dataset, tmp_path / "bad")
    (tmp_path / "bad" / "masks" / "nuclei_000.png").write_bytes(b"")
    (tmp_path / "bad" / "images" / "nuclei_001.png").write_bytes(b"")
    done = command("check", tmp_path / "bad", "--json")
    assert done.code == 1
    faults = " ".join(json.loads(done.out)["faults"])
    assert "nuclei_000.png" in faults and "nuclei_001.png" in faults


def test_search_prints_one_document_and_progress_elsewhere(command, dataset, home):
    done = command("search", dataset, "--evaluations", "30", "--workers", "0", "--json", "--library", "none")
    document = json.loads(done.out)
    assert done.code == 0
    assert "candidates" in done.err
    folder = home / "runs" / document["run"]
    assert Path(document["files"]["pipeline"]) == folder / "pipeline.evo"
    assert json.loads((folder / "result.json").read_text("utf-8")) == document


def test_search_tells_a_person_what_counts(command, dataset, tmp_path):
    done = command("search", dataset, "--evaluations", "30", "--workers", "0", "--out", tmp_path / "run")
    assert "on 4 held-out test images" in done.out
    assert "best classic" in done.out
    assert re.search(r"^(Better|Not significantly better|Worse) than ", done.out, re.MULTILINE)
    assert "ended because all evaluations were used" in done.out
    assert evoseg.read_pipeline(tmp_path / "run" / "pipeline.evo").digest
    for name in ("pipeline.evo", "result.json", "test.png", "curve.svg"):
        assert f"  {tmp_path / 'run' / name}\n" in done.out
    again = command("search", dataset, "--evaluations", "30", "--workers", "0", "--out", tmp_path / "run")
    assert (again.code, again.out) == (1, "")
    assert "--overwrite" in again.err
    replaced = ("search", dataset, "--evaluations", "5", "--workers", "0", "--out", tmp_path / "run", "--overwrite")
    assert command(*replaced).code == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text("utf-8"))["evaluations"] == 5


@pytest.mark.e2e
def test_a_score_below_the_wanted_one_is_exit_code_3_with_the_whole_answer(command, dataset):
    arguments = ["search", dataset, "--evaluations", "10", "--workers", "0", "--json", "--min-score"]
    done = command(*arguments, "0.9999")
    assert done.code == 3
    assert "below --min-score 0.9999" in done.err
    assert json.loads(done.out)["scores"]["test"] < 0.9999
    assert command(*arguments, "0").code == 0


def test_a_constant_champion_is_said_to_ignore_the_image(command, tmp_path):
    # Noise whose masks have nothing to do with it.
    rng = np.random.default_rng(20261120)
    images = [rng.integers(0, 256, (32, 40, 1), np.uint8) for _ in range(8)]
    masks = [rng.random((32, 40)) < 0.7 for _ in range(8)]
    found = evoseg.search((images, masks), evaluations=40, workers=0)
    assert not found.good_enough
    assert "The pipeline above ignores the image" in str(found)


def test_apply_writes_masks_and_overlays_that_score_as_promised(command, found, dataset, tmp_path):
    folder, out = found.files["pipeline"].parent, tmp_path / "out"
    done = command("apply", folder, dataset / "images", "--out", out)
    assert (done.code, done.err) == (0, "")
    assert "12 of 12 images segmented" in done.out
    assert "Mpx/s" in done.out
    stems = sorted(p.stem for p in (dataset / "images").iterdir())
    for part in ("masks", "overlays"):
        assert sorted(p.name for p in (out / part).iterdir()) == [f"{stem}.png" for stem in stems]
    for stem, score in found.test_per_image.items():
        values = read_image(out / "masks" / f"{stem}.png")
        assert set(np.unique(values)) <= {0, 255}
        truth, answer = read_mask(dataset / "masks" / f"{stem}.png"), values[..., 0] > 0
        union = (truth | answer).sum()
        assert (truth & answer).sum() / union == pytest.approx(score)
    again = command("apply", folder, dataset, "--out", out)
    assert again.code == 1
    assert "exists already" in again.err
    document = json.loads(command("apply", folder, dataset, "--out", out, "--overwrite", "--json").out)
    assert len(document["images"]) == 12


def test_apply_goes_on_past_an_image_that_fails(command, simple, dataset, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(dataset / "images", folder)
    (folder / "nuclei_003.png").write_bytes((folder / "nuclei_003.png").read_bytes()[:500])
    done = command("apply", simple, folder, "--out", tmp_path / "out")
    assert done.code == 1
    assert f"error: {folder / 'nuclei_003.png'}: " in done.err
    assert done.err.count("error: ") == 1
    assert "11 of 12 images segmented, 1 failed" in done.out
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 11


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (["{empty}"], "no image found"),
        (["{dataset}/images", "nowhere.png"], "nowhere.png: no such file"),
        (
            ["{dataset}/images/nuclei_000.png", "{dataset}/masks/nuclei_000.png"],
            "would both become the answer nuclei_000",
        ),
    ],
)
def test_apply_refuses_before_anything_is_written(command, simple, dataset, tmp_path, images, says):
    (tmp_path / "empty").mkdir()
    given = [text.format(empty=tmp_path / "empty", dataset=dataset) for text in images]
    done = command("apply", simple, *given, "--out", tmp_path / "out")
    assert (done.code, done.out) == (1, "")
    assert says in done.err
    assert not (tmp_path / "out").exists()


def test_apply_appends_the_planes_that_a_dataset_has(command, tmp_path):
    rng = np.random.default_rng(5)
    for part in ("images", "planes/depth"):
        (tmp_path / "data" / part).mkdir(parents=True)
        write_image(tmp_path / "data" / part / "a.png", rng.integers(0, 256, (20, 30, 1), np.uint8))
    file = tmp_path / "second.evo"
    file.write_text(
        'def pipeline(image):\n    return threshold(channel(image, index=1), level=99, polarity="bright")\n'
    )
    assert command("apply", file, tmp_path / "data", "--out", tmp_path / "out").code == 0
    plane = read_image(tmp_path / "data" / "planes" / "depth" / "a.png")[..., 0]
    assert np.array_equal(read_mask(tmp_path / "out" / "masks" / "a.png"), plane > 99)


def test_images_that_lack_a_channel_which_the_pipeline_reads_are_refused_once(command, dataset, tmp_path):
    rng = np.random.default_rng(6)
    (tmp_path / "mixed").mkdir()
    for name, channels in (("colour", 3), ("grey", 1)):
        write_image(tmp_path / "mixed" / f"{name}.png", rng.integers(0, 256, (20, 30, channels), np.uint8))
    third, fourth = tmp_path / "third.evo", tmp_path / "fourth.evo"
    for file, index in ((third, 2), (fourth, 3)):
        file.write_text(f"def pipeline(image):\n    return threshold(channel(image, index={index}))\n")
    out = tmp_path / "out"
    for file, images in ((fourth, tmp_path / "mixed"), (third, tmp_path / "mixed" / "grey.png")):
        done = command("apply", file, images, "--out", out)
        assert (done.code, done.out) == (1, "")
        assert len(done.err.splitlines()) == 1
        assert "but the pipeline reads channel" in done.err
        assert not out.exists()
    assert command("apply", third, tmp_path / "mixed", "--out", out).code == 0
    for arguments in (("score", fourth, dataset), ("search", dataset, "--warm-start", fourth, "--evaluations", "5")):
        done = command(*arguments)
        assert (done.code, done.out) == (1, "")
        assert "the pipeline reads channel 3, counted from 0" in done.err


def test_score_prints_every_metric_and_refits_nothing(command, found, dataset):
    folder = found.files["pipeline"].parent
    document = json.loads(command("score", folder, dataset, "--json").out)
    assert document["score"] == pytest.approx(found.scores["test"])
    assert document["all_metrics"] == pytest.approx(found.all_metrics_test)
    assert document["digest"] == found.pipeline.digest
    assert document["dataset_digest"] == found.dataset_digest
    done = command("score", folder, dataset, "--split", "all", "--metric", "dice")
    assert "12 labelled images" in done.out
    assert "Dice per image, worst first" in done.out
    everything = json.loads(command("score", folder, dataset, "--split", "search", "--json").out)
    assert everything["score"] == pytest.approx(found.scores["search"])


def test_score_lists_the_metric_of_the_run(command, found, dataset, tmp_path):
    run = shutil.copytree(found.files["pipeline"].parent, tmp_path / "run")
    result = json.loads((run / "result.json").read_text("utf-8")) | {"metric": "dice"}
    (run / "result.json").write_text(json.dumps(result), "utf-8")
    assert "Dice per image, worst first" in command("score", run, dataset).out
    assert json.loads(command("score", run / "pipeline.evo", dataset, "--json").out)["metric"] == "iou"


def test_show_explains_each_step(command, found):
    done = command("show", found.files["pipeline"])
    assert done.out.startswith(print_text(found.pipeline))
    for step in found.pipeline.steps:
        assert registry.get(step.operator).summary in done.out
    document = json.loads(command("show", found.files["pipeline"], "--json").out)
    assert document["cost_ms_per_mpx"] == pytest.approx(sum(s["cost_ms_per_mpx"] for s in document["steps"]))
    assert len(document["steps"]) == len(found.pipeline)


def test_reach_adds_up_along_the_longest_way(command, tmp_path):
    file = tmp_path / "p.evo"
    file.write_text(
        "def pipeline(image):\n    a = channel(image)\n    b = median(a, radius=2)\n"
        "    return threshold(difference(median(b, radius=3), a))\n"
    )
    steps = json.loads(command("show", file, "--json").out)
    medians = [s["reach_px"] for s in steps["steps"] if s["operator"] == "median"]
    assert steps["reach_px"] == sum(medians) > max(medians) > 0


def test_an_exported_file_gives_the_same_masks_without_evoseg(command, found, dataset, tmp_path):
    target = tmp_path / "new folder" / "segment.py"
    done = command("export", found.files["pipeline"], "--to", "python", "--out", target)
    assert (done.code, done.out) == (0, f"{target}\n")
    image = tmp_path / "nuclei_000.png"
    shutil.copy(dataset / "images" / image.name, image)
    subprocess.run([sys.executable, target, image], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run([sys.executable, target, "--self-test"], cwd=tmp_path, check=True, capture_output=True)
    assert np.array_equal(read_mask(tmp_path / "nuclei_000_mask.png"), found.pipeline(read_image(image)))
    assert command("export", found.files["pipeline"], "--to", "python", "--out", target).code == 1
    assert read_json(command("export", found.files["pipeline"], "--to", "json").out) == found.pipeline


def test_operators_are_listed_and_explained(command):
    listed = json.loads(command("operators", "list", "--json").out)["operators"]
    assert {op["name"] for op in listed} == {op.name for op in registry.operators(retired=True)}
    text = command("operators", "list").out
    assert all(f"  {op['name']}(" in text for op in listed)
    for op in listed:
        shown = command("operators", "show", op["name"])
        assert op["summary"] in shown.out
        assert all(f"{p['name']} = " in shown.out for p in op["parameters"])
    assert json.loads(command("operators", "show", "threshold", "--json").out)["output"] == "mask"
    done = command("operators", "show", "treshold")
    assert done.code == 1
    assert "did you mean threshold" in done.err


@pytest.mark.e2e
def test_the_demo_replaces_its_own_folder_and_no_other(command, tmp_path, monkeypatch):
    monkeypatch.setattr(demonstration, "N_IMAGES", 6)
    monkeypatch.setattr(demonstration, "SHAPE", (60, 80))
    monkeypatch.chdir(tmp_path)
    arguments = ("demo", "--seconds", "4", "--workers", "0")
    first = command(*arguments, "--json")
    assert (first.code, json.loads(first.out)["warm_start"]) == (0, [])
    (tmp_path / "demo" / "note.txt").write_text("mine")
    done = command(*arguments)
    assert done.code == 0
    assert "replaced the demo" in done.err
    assert f"Open {tmp_path / 'demo' / 'result' / 'report.html'}" in done.out
    assert (tmp_path / "demo" / "note.txt").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "cracks").write_text("precious")
    done = command(*arguments, "--out", "other")
    assert (done.code, done.out) == (1, "")
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["cracks"]


@pytest.mark.parametrize("options", [("--seconds", "inf"), ("--seconds", "0"), ("--workers", "-1")])
def test_a_demo_that_cannot_run_replaces_none(command, tmp_path, options):
    result = tmp_path / "demo" / demonstration.RESULT / "report.html"
    result.parent.mkdir(parents=True)
    result.touch()
    (tmp_path / "demo" / ".evoseg-demo").touch()
    done = command("demo", "--out", tmp_path / "demo", *options)
    assert (done.code, done.out) == (2, "")
    assert result.exists()


def test_the_training_of_networks_is_shown_with_its_share(capsys):
    lines = PlainLines()
    for share in (0.0, 0.1, 0.2, 0.4):
        lines(Status("training", 40 * share, 9, 0.5, 3, 20.0, None, "binary", "iou", share=share))
    printed = capsys.readouterr().err.splitlines()
    assert [re.search(r"training networks, (\d+) %", line)[1] for line in printed] == ["0", "20", "40"]
    assert "/s" not in printed[0], "no candidate is tried meanwhile"


def test_waiting_for_a_model_is_a_line_of_its_own_but_not_each_time(capsys):
    lines = PlainLines()
    for seconds, doing in [
        (0.0, "searching"),
        (0.2, "waiting"),
        (0.2, "searching"),
        (2.0, "waiting"),
        (2.0, "searching"),
    ]:
        lines(Status(doing, seconds, 9, 0.5, 3, None, 20, "binary", "iou"))
    printed = capsys.readouterr().err.splitlines()
    assert ["waiting for the model" in line for line in printed] == [False, True]
    assert "9 candidates, " in printed[0] and "candidates" not in printed[1]


def test_plain_lines_come_with_news_and_not_too_often(capsys):
    lines = PlainLines()
    for tenths in range(120):
        lines(Status("searching", tenths / 10, 10 * tenths, 0.5 if tenths < 30 else 0.6, 3, 9.0, None, "binary", "iou"))
    printed = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in printed] == ["0", "3", "8"]
    assert "IoU 0.600 with 3 steps" in printed[1]
    lines.still_reading()
    assert not capsys.readouterr().err
    PlainLines().still_reading()
    assert capsys.readouterr().err == f"{READING}\n"
