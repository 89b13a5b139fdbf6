"""Where a pipeline comes from: trees, tables and held-out scores of leaders, from a run's database."""

import csv
import json
from dataclasses import replace

import pytest

import evoseg
from evoseg.runs.lineage import read_candidates
from tests.system.interrupted import N


def test_every_candidate_is_recorded_with_its_lineage(whole):
    found = read_candidates(whole.folder)
    raced = found[0].evaluations - 1  # pipelines of the library, before the search
    assert raced + sum(one.outcome != "pruned" for one in found) == found[-1].evaluations == whole.evaluations == N
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    scored = {one.number: one for one in found if one.outcome == "scored"}
    assert max(one.score for one in scored.values()) == whole.history[-1][2]
    children = [one for one in found if one.proposer in ("vary", "tune")]
    assert children and all(one.parents for one in children)
    assert all(parent in scored and parent < one.number for one in found for parent in one.parents)


def test_a_resumed_run_has_the_same_lineage(whole, broken, dataset):
    evoseg.resume(broken, dataset, workers=0, report=False)
    untimed = [[replace(one, seconds=0.0) for one in read_candidates(folder)] for folder in (whole.folder, broken)]
    assert untimed[0] == untimed[1]


def test_the_tree_leads_from_an_origin_to_the_pipeline(command, run, whole):
    done = command("runs", "tree", run)
    head, _, titles, *lines = done.out.splitlines()
    assert done.code == 0, done.err
    assert head.startswith(f"{whole.run}: IoU {whole.scores['search']:.3f} on the search images, candidate ")
    assert titles.split() == ["candidate", "score", "gain", "proposed", "by", "what", "changed"]
    assert f"{whole.scores['search']:.3f}" in lines[-1] and "steps:" in lines[0]
    assert len(command("runs", "tree", run, "--all").out.splitlines()) >= len(lines) + 3


def test_the_tree_is_a_page_with_a_chart_and_pictures(command, run, tmp_path):
    page = tmp_path / "tree.html"
    assert command("runs", "tree", run, "--html", page).out.strip() == str(page)
    html = page.read_text()
    assert html.count('class="by-') > N / 2 and "data:image/jpeg" in html and "<script" not in html
    assert "exists" in command("runs", "tree", run, "--html", page).err
    assert command("runs", "tree", run, "--html", page, "--overwrite").code == 0


def test_without_the_dataset_the_page_has_no_pictures(command, run, tmp_path):
    done = command("runs", "tree", run, "--html", tmp_path / "tree.html", "--dataset", tmp_path / "nowhere")
    assert done.code == 0 and "the page has no pictures" in done.err
    assert "data:image" not in (tmp_path / "tree.html").read_text()


def test_candidates_are_exported_as_csv_and_as_json(command, run, whole, tmp_path):
    table = tmp_path / "candidates.csv"
    assert command("runs", "export", run, "--csv", table).code == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    entries = json.loads(command("runs", "export", run, "--json").out)["candidates"]
    assert command("runs", "export", run).out == table.read_text()
    assert len(rows) == len(entries) > N / 2
    assert rows[0].keys() == entries[0].keys() - {"program"}
    assert [row["digest"] for row in rows] == [evoseg.read_pipeline(one["program"]).digest for one in entries]
    assert [row["parents"] for row in rows] == [" ".join(map(str, one["parents"])) for one in entries]
    held_out = {row["digest"]: float(row["held_out"]) for row in rows if row["held_out"]}
    assert held_out == {leader.digest: leader.held_out for leader in whole.leaders}


def test_leaders_have_scores_on_images_that_the_search_did_not_go_by(whole):
    history = {evaluations: score for evaluations, _, score in whole.history}
    first, last = whole.leaders[0], whole.leaders[-1]
    assert first.evaluations == whole.history[0][0] and last.evaluations == whole.history[-1][0]
    assert all(leader.search == history[leader.evaluations] for leader in whole.leaders)
    assert all(0 <= leader.held_out <= 1 for leader in whole.leaders)


@pytest.mark.parametrize(
    ("name", "words"), [("#accurate", "there is no such pipeline"), ("#3", "there is no such pipeline")]
)
def test_a_pipeline_that_a_run_does_not_have_is_refused(command, run, name, words):
    done = command("runs", "tree", f"{run}{name}")
    assert done.code == 1 and words in done.err
