"""The studies of the library: a dataset is solved, its pipelines are tried on others, and tables are told by hand."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from evoseg.base.kinds import Kind
from evoseg.data.dataset import Dataset
from evoseg.data.scenes import draw_dataset
from evoseg.data.splits import split
from evoseg.library.checkpoint import shipped
from evoseg.library.describing import describe
from evoseg.library.embedder import Embedder
from evoseg.library.files import print_task, read_file, write_task
from evoseg.library.seeds import seed_tasks

FOLDER = Path(__file__).resolve().parents[2] / "experiments"


SCRIPTS = ("seeds", "study_vectors", "transfer", "transfer_ideas", "transfer_tables")
BINARY = [task for task in seed_tasks() if task.output is Kind.MASK]


@pytest.fixture
def scripts(script):
    return {name: script(name) for name in SCRIPTS}


def test_a_dataset_is_solved_without_its_test_images_and_tried_on_itself(scripts, tmp_path):
    folder = draw_dataset("nuclei", tmp_path / "drawn", 10, (64, 80), seed=3)
    task = scripts["seeds"].solved(folder, 60, 0)
    assert task.name == "drawn" and task.n_images == 7 == len(task.hashes)
    write_task(task, tmp_path / "drawn.yaml")
    assert print_task(read_file(tmp_path / "drawn.yaml")) == print_task(task)
    forgetful = replace(task, statistics={})
    assert print_task(scripts["seeds"].described(folder, forgetful)) == print_task(task)
    (rows,) = scripts["transfer"].rows_of(folder, task, [task], 4)
    best = next(r for r in rows if r["role"] == "best")
    assert best["refitted"] >= best["retrieved"] > 0.3 and best["n_images"] == 4


def test_a_study_takes_learned_vectors_by_weights_of_its_own_and_keeps_them(scripts, tmp_path):
    folder = draw_dataset("nuclei", tmp_path / "drawn", 4, (64, 80), seed=3)
    forgetful = replace(BINARY[0], name="drawn", vectors={})
    described_by, out = scripts["study_vectors"].described_by, tmp_path / "rows.jsonl"
    (found,) = described_by([forgetful], shipped(), tmp_path, out)
    whole = describe(Dataset(folder), split(Dataset(folder)).search, Embedder())
    assert found.vectors.keys() == whole.vectors.keys()
    assert all((found.vectors[name] == vector).all() for name, vector in whole.vectors.items())
    assert found.id == forgetful.id and not out.exists()
    shutil.rmtree(folder)
    (again,) = described_by([forgetful], shipped(), tmp_path, out)
    assert all((again.vectors[name] == vector).all() for name, vector in whole.vectors.items())


def test_a_ledger_holds_what_the_tables_are_made_of(scripts):
    tasks, rows = BINARY[:12], rows_by_hand()
    ledger = scripts["transfer"].ledger_of(rows, tasks)
    assert scripts["transfer"].rows_in(ledger, tasks) == rows


def rows_by_hand() -> list[dict]:
    """Let every stranger reach half of a target's own score, and the first one all of it."""
    tasks = BINARY[:12]
    return [
        {
            "target": t.name,
            "source": s.name,
            "role": "best",
            "scale": 1.0,
            "form": s.best.pipeline.form,
            "retrieved": 0.1,
            "refitted": 0.8 if s is t or s is tasks[0] else 0.4,
        }
        for t in tasks
        for s in tasks
    ]


def test_the_table_tells_arms_apart(scripts):
    ideas = {name: getattr(scripts["transfer_ideas"], name) for name in ("as_a_set", "near_shares", "in_turn")}
    text = scripts["transfer_tables"].tables(rows_by_hand(), BINARY[:12], ideas)
    cells = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in text.splitlines()}
    assert cells["popular"][1].startswith("0.9") and cells["oracle"][3].startswith("0.9")
    assert 0.5 < float(cells["random"][1]) < 0.65
    assert all(cells[name][1] == cells["oracle"][1] for name in ideas)


def test_the_ledger_leaves_out_tasks_that_are_gone(scripts):
    rows = [*rows_by_hand(), rows_by_hand()[0] | {"source": "gone"}]
    assert len(scripts["transfer"].ledger_of(rows, BINARY[:12])) == 144


def test_no_relative_of_a_target_is_offered_to_it(scripts):
    target = BINARY[0]
    relative = replace(BINARY[1], card=replace(BINARY[1].card, family=target.card.family))
    rows = rows_by_hand()
    study = scripts["transfer_tables"].Study(
        {t.name: t for t in (target, relative, *BINARY[2:12])},
        {},
        [r for r in rows if r["target"] == target.name],
    )
    offered = {c.task.name for c in scripts["transfer_tables"]._candidates(study, target)}
    assert not offered & {target.name, relative.name} and len(offered) >= 8
