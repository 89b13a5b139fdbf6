"""Files of solved tasks: read as written, refused where wrong, and those that come with evoseg are fresh."""

import json

import numpy as np
import pytest
import yaml

from evoseg.library.collection import bundled_folder, bundled_tasks, bundled_transfers
from evoseg.library.exchange import current_revisions
from evoseg.library.task_files import (
    MAX_BYTES,
    TRANSFER_FILE,
    TaskError,
    TransferResult,
    parse_task,
    print_task,
    print_transfers,
    read_file,
    read_task,
    read_transfers,
    task_document,
    write_task,
    write_transfers,
)
from tests.library.helpers import task


def unit(n: int = 16) -> np.ndarray:
    vector = np.arange(1, n + 1, dtype=np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float16).astype(np.float32)


def test_what_is_written_is_read(tmp_path):
    there = task(vectors={"net-1": unit()})
    write_task(there, tmp_path / "plates.yaml")
    again = read_file(tmp_path / "plates.yaml")
    assert print_task(again) == print_task(there) and again.id == there.id
    assert np.array_equal(again.vectors["net-1"], there.vectors["net-1"])
    assert parse_task(json.loads(json.dumps(task_document(there)))).id == there.id


def test_macros_are_kept_and_must_be_definitions():
    text = "def spots(a):\n    return white_tophat(a, radius=4)"
    there = task(macros={"spots": text})
    assert read_task(print_task(there)).macros == {"spots": text}
    assert there.id == task().id
    assert "macros" not in task_document(task())
    for wrong, says in (
        ("import os", "macro 1: .*function definitions"),
        (3, "macros.0: Input should be a valid string"),
        ("x" * 3000, "at most"),
    ):
        with pytest.raises(TaskError, match=says):
            read_task(changed(macros=[wrong]))


def test_the_id_is_of_the_content_and_not_of_the_words():
    assert task("a").id == task("b").id
    assert task(score=0.7).id != task(score=0.8).id


def changed(**entries) -> str:
    return yaml.safe_dump(task_document(task()) | entries)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "key: value"),
        ("[1, 2]", "key: value"),
        ("a: [", "YAML"),
        ("a: &x [1]\nb: *x", "alias"),
        ("!!python/object/apply:os.system ['true']", "YAML"),
        ("x" * (MAX_BYTES + 1), "at most"),
        ("[" * 5000, "nested"),
        ("- " * 100_000, "nested"),
        (changed(images={"count": 10**400, "channels": 1}), "images.count"),
        (changed(images={"count": 10**30, "channels": 1}), "too large"),
        ("name: a\nname: b", "line 2 gives name a second time"),
        ("a: 1\n--- 2", "second document"),
        (changed(evoseg=2), "version 2"),
        (changed(extra=1), "extra"),
        (changed(name="../../etc/passwd"), "name"),
        (changed(metric="luck"), "luck"),
        (changed(card={"task": "instanses"}), "did you mean instances"),
        (changed(card={"task": "points"}), "metric"),
        (changed(card={"task": "points"}, metric="f1"), "gives a mask value; this task needs a points value"),
        (changed(images={"count": 0, "channels": 1}), "count"),
        (changed(images={"count": 1, "channels": float("nan")}), "channels"),
        (changed(pipelines=[]), "pipelines: List should have at least 1 item"),
        (changed(pipelines=[{"role": "best", "score": 7, "text": "x"}]), "pipelines.0.score"),
        (changed(pipelines=[{"role": "best", "score": 0.5, "text": "import os"}]), "pipeline 1"),
        (changed(pipelines=[{"role": "boss", "score": 0.5, "text": "x"}]), "boss"),
        (changed(seen=["zz"]), "seen"),
        (changed(statistics={"masks": {"share": "much"}}), "share"),
        (changed(vectors={"net": "!!"}), "base64"),
        (changed(vectors={"net": "AAAAAA=="}), "unit length"),
        (changed(card={"titel": "x"}), "did you mean title"),
    ],
)
def test_a_third_party_file_that_is_wrong_is_refused_with_one_clear_error(tmp_path, text, says):
    path = tmp_path / "strange.yaml"
    path.write_text(text)
    with pytest.raises(TaskError, match=r"strange\.yaml") as error:
        read_file(path)
    assert says in str(error.value)


def test_numbers_of_an_unknown_descriptor_are_passed_over():
    assert "moods" not in read_task(changed(statistics={"moods": {"joy": 1.0}})).statistics


def test_every_seed_is_read_and_printed_as_it_is():
    assert len(bundled_tasks()) >= 20
    for path in sorted(bundled_folder().glob("*.yaml")):
        assert print_task(read_file(path)) == path.read_text("utf-8"), path.name


def test_seeds_were_scored_with_the_present_revisions_of_operators():
    pipelines = [stored for task in bundled_tasks() for stored in task.pipelines]
    assert all(p.revisions == current_revisions(p.pipeline) for p in pipelines), "run: make seeds"


def test_the_seeds_ledger_is_about_the_seeds():
    ids = {t.id for t in bundled_tasks()}
    forms = {(t.id, p.pipeline.form) for t in bundled_tasks() for p in t.pipelines}
    assert len(bundled_transfers()) > 1000
    assert all(r.target in ids and (r.source, r.form) in forms for r in bundled_transfers()), "run: make seeds"


def test_a_ledger_is_read_as_written(tmp_path):
    rows = [TransferResult("a", "b", "f", 1.0, None, 0.5), TransferResult("a", "c", "f", 0.213, 0.1, 0.5, True)]
    write_transfers(rows, tmp_path / TRANSFER_FILE)
    assert read_transfers(tmp_path / TRANSFER_FILE) == rows
    assert read_transfers(tmp_path / "none.csv") == []


@pytest.mark.parametrize("line", ["a,b,f,1,0.5", "a,b,f,x,,0.5,", "a,b,f,1,,nan,", "a,b,f,1,,0.5,7"])
def test_a_line_that_is_no_row_is_named(tmp_path, line):
    (tmp_path / TRANSFER_FILE).write_text(print_transfers([]) + line + "\n")
    with pytest.raises(TaskError, match="line 2"):
        read_transfers(tmp_path / TRANSFER_FILE)
