"""Inputs that somebody made to hurt: each ends in one clear error, within bounded CPU time and memory."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from evoseg.cli.main import run
from evoseg.datasets.io.files import write_image, write_mask
from tests.bounded import bounded, refused

pytestmark = pytest.mark.e2e

PIPELINE = """def pipeline(image):
    plane_1 = plane(image, channel="G")
    return threshold(plane_1, level=31)
"""


@contextmanager
def waiting_at_most(seconds: int) -> Iterator[None]:
    """Interrupt whoever waits for the other end of a pipe."""

    def ring(number: int, frame: object) -> None:
        raise TimeoutError("the command waits for a pipe")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A small dataset, and beside it a file that is nobody's business."""
    root = tmp_path / "data"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for stem in "ab":
        image = np.zeros((9, 12, 3), np.uint8)
        image[2:5, 3:7] = 200
        write_image(root / "images" / f"{stem}.png", image)
        write_mask(root / "masks" / f"{stem}.png", image[..., 0] > 0)
    (tmp_path / "secret").write_text("root:x:0:0:hunter2\n\t- {[ hunter2\n")
    (tmp_path / "p.evo").write_text(PIPELINE)
    return root


def test_the_dataset_of_these_tests_is_sound(folder, tmp_path):
    done = bounded(["check", folder])
    assert done.returncode == 0, done.stderr
    done = bounded(["show", tmp_path / "p.evo"])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["dataset.yaml", "manifest.csv", "annotations.json", "pairs/shifts.csv"])
def test_a_link_out_of_the_folder_is_refused_without_a_word_of_what_is_there(folder, tmp_path, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(tmp_path / "secret")
    done = bounded(["check", folder])
    assert "hunter2" not in done.stdout + done.stderr
    if name in ("dataset.yaml", "manifest.csv"):
        assert "link out of the folder" in done.stdout + done.stderr
        assert done.returncode == 1


def test_images_that_are_links_out_of_the_folder_are_not_applied_to_but_may_be_named(folder, tmp_path, capfd):
    (tmp_path / "elsewhere.png").write_bytes((folder / "images" / "a.png").read_bytes())
    new = tmp_path / "new"
    new.mkdir()
    (new / "link.png").symlink_to(tmp_path / "elsewhere.png")
    (new / "inner.png").write_bytes((folder / "images" / "a.png").read_bytes())
    (new / "again.png").symlink_to("inner.png")
    apply = ["apply", str(tmp_path / "p.evo"), "--out", str(tmp_path / "out")]
    assert run([*apply, str(new)]) == 1
    assert "link.png: a link out of the folder" in capfd.readouterr().err and not (tmp_path / "out").exists()
    assert run([*apply, str(new / "link.png")]) == 0
    (new / "link.png").unlink()
    assert run([*apply, str(new)]) == 0


def test_a_link_out_of_a_runs_folder_is_refused(folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "pipeline.evo").symlink_to(tmp_path / "secret")
    said = refused(bounded(["show", run]))
    assert "link out of the folder" in said and "hunter2" not in said


@pytest.mark.e2e
@pytest.mark.parametrize("device", ["pipe", "/dev/zero"])
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("data/dataset.yaml", ["check", "data"]),
        ("data/manifest.csv", ["check", "data"]),
        ("data/images/c.png", ["check", "data"]),
        ("c.png", ["apply", "p.evo", "c.png", "--out", "out"]),
        ("c.evo", ["show", "c.evo"]),
        ("c.json", ["show", "c.json"]),
        ("c.yaml", ["library", "add", "c.yaml", "--library", "own.db"]),
        ("c.db", ["library", "merge", "c.db", "--library", "own.db"]),
        ("c.db", ["library", "list", "--library", "c.db"]),
        ("task.py", ["score", "p.evo", "data", "--task", "task.py"]),
    ],
)
def test_a_pipe_or_device_in_place_of_a_file_is_refused(folder, tmp_path, name, command, device, capfd):
    path = tmp_path / name
    if device == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(device)
    arguments = [tmp_path / word if (tmp_path / word).exists() or "." in word else word for word in command]
    with waiting_at_most(120):
        code = run([str(word) for word in arguments])
    said = "".join(capfd.readouterr())
    assert code in (1, 2), said
    assert "should not happen" not in said and "Traceback" not in said
    assert any(words in said for words in ("not a file", "link out of", "no such file")), said


HOSTILE_TASKS = {"nested blocks": "- " * 100_000, "nested flows": "[" * 100_000, "a number": "evoseg: " + "9" * 5000}


@pytest.mark.parametrize("kind", list(HOSTILE_TASKS))
def test_a_hostile_task_file_is_refused_in_seconds_of_cpu_time(tmp_path, kind):
    (tmp_path / "task.yaml").write_text(HOSTILE_TASKS[kind])
    said = refused(bounded(["library", "add", tmp_path / "task.yaml", "--library", tmp_path / "own.db"]))
    assert "task.yaml" in said and len(said) < 500


@pytest.mark.e2e
@pytest.mark.parametrize(
    "text",
    [
        "- " * 1_000_000,
        "splits: {test: [" + ", ".join(f"s{i}" for i in range(90_000)) + "]}",
        "classes: {" + "9" * 5000 + ": a}",
        "a: &a [b]\n" * 100_000,
    ],
    ids=["nested", "splits", "class", "anchors"],
)
def test_a_hostile_card_is_refused_in_seconds_of_cpu_time(folder, text):
    (folder / "dataset.yaml").write_text(text)
    done = bounded(["check", folder])
    assert done.returncode == 1 and "dataset.yaml" in done.stdout + done.stderr


@pytest.mark.e2e
@pytest.mark.parametrize("header", ["a" * 60_000, "a@" * 30_000, "a_" * 30_000 + "@1", "a" * 5_000_000])
def test_the_first_line_of_a_pipeline_is_read_in_linear_time(tmp_path, header):
    (tmp_path / "p.evo").write_text(f"# evoseg 1: {header}\n{PIPELINE}")
    done = bounded(["show", tmp_path / "p.evo"], cpu_s=10)
    assert done.returncode == (0 if len(header) < 65_000 else 1), done.stderr[:500]
