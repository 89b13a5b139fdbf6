"""`evoseg runs`: lists, fronts, deletion, and what is said of damaged ones."""

import json
import os
import shutil
import threading
from dataclasses import replace

import pytest

import evoseg
from evoseg.api import plan_run
from evoseg.evolve.proposers.warm_start import FINALISTS
from evoseg.pipeline import read_text
from evoseg.runs import stored
from evoseg.runs.control import RunLock
from evoseg.runs.opening import open_data
from evoseg.runs.options import SearchOptions
from evoseg.runs.run_folder import FilesError, how_to_continue
from evoseg.runs.settings import resolve_settings
from evoseg.runs.stored import read_front
from tests.system.interrupted import N, cut, first_generation


def test_a_finished_run_is_listed_shown_and_numbered(command, run, whole):
    (listed,) = json.loads(command("runs", "list", "--json").out)["runs"]
    assert (listed["run"], listed["dataset"], listed["state"]) == (whole.run, "nuclei", "done")
    # What raced on all images before the search counts as evaluated, but is not in the search's own journal.
    assert N - FINALISTS <= listed["evaluations"] <= N and listed["folder"] == str(run)
    assert listed["best_search"] == whole.history[-1][2]
    assert f"{whole.run}  done" in command("runs", "list").out
    shown = command("runs", "show", whole.run).out
    assert shown.startswith(f"{whole.run}: done\n")
    assert f"  {whole.scores['test']:.3f}        test images (held out)\n" in shown
    assert "  in all  " in shown and "so far" not in shown
    document = json.loads(command("runs", "show", whole.run, "--json", "--front").out)
    assert document["result"] == json.loads(json.dumps(whole.to_json()))
    assert document["front"] == document["result"]["front"]
    assert document["settings"]["evaluations"] == N


def test_no_runs_are_an_empty_list(command):
    assert json.loads(command("runs", "list", "--json").out) == {"runs": [], "damaged": []}
    assert command("runs", "list").out == "no runs yet\n"


def test_no_program_of_a_front_beats_another(whole):
    programs = whole.to_json()["front"]
    assert [p["number"] for p in programs] == list(range(1, len(programs) + 1))
    assert max(p["search"] for p in programs) == programs[0]["search"] == whole.history[-1][2]
    merits = [(round(p["search"], 3), -p["length"], -round(p["cost_ms_per_mpx"])) for p in programs]
    assert len(set(merits)) == len(merits)
    for one in merits:
        assert not any(other != one and all(b >= a for a, b in zip(one, other, strict=True)) for other in merits)
    for p in programs:
        assert read_text(p["pipeline"]).digest == p["digest"]


def test_a_number_stands_for_a_program_wherever_a_pipeline_is_taken(command, run, whole, dataset, tmp_path):
    second = whole.to_json()["front"][1]
    assert json.loads(command("show", f"{whole.run}#2", "--json").out)["digest"] == second["digest"]
    assert json.loads(command("show", f"{run}#2", "--json").out)["digest"] == second["digest"]
    scored = json.loads(command("score", f"{whole.run}#2", dataset, "--split", "search", "--json").out)
    assert scored["score"] == pytest.approx(second["search"])
    assert command("apply", f"{whole.run}#2", dataset / "images", "--out", tmp_path / "out").code == 0
    exported = command("export", f"{whole.run}#2", "--to", "json")
    assert evoseg.read_pipeline(f"{whole.run}#2") == evoseg.Pipeline(read_text(second["pipeline"]).steps)
    assert exported.code == 0
    assert f"#2  {second['search']:.3f}" in command("runs", "show", whole.run, "--front").out
    assert json.loads(command("show", whole.run, "--json").out)["digest"] == whole.pipeline.digest


def test_a_file_with_a_number_sign_is_a_file(whole, tmp_path):
    file = shutil.copy(whole.files["pipeline"], tmp_path / "take#2")
    assert evoseg.read_pipeline(file) == whole.pipeline


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "{run}#99"], "its Pareto front has {n} programs, #1 to #{n}; there is no #99"),
        (["show", "{run}#0"], "there is no #0"),
        (["show", "{run}x#1"], "Did you mean {run}?"),
        (["runs", "show", "{run}x"], "Did you mean {run}?"),
        (["runs", "resume", "{run}x"], "Did you mean {run}?"),
        (["runs", "replay", "{run}x"], "Did you mean {run}?"),
        (["runs", "delete", "{run}x"], "Did you mean {run}?"),
        (["runs", "delete", "{data}"], "contains no run, so it is not deleted"),
        (["runs", "show", "{data}"], "holds no run.db"),
        (["runs", "resume", "{run}"], "this run is complete"),
    ],
)
def test_a_run_that_cannot_be_is_one_error(command, run, whole, dataset, arguments, says):
    names = {"run": whole.run, "n": len(whole.to_json()["front"]), "data": dataset}
    done = command(*(a.format(**names) for a in arguments))
    assert (done.code, done.out) == (1, "")
    assert says.format(**names) in done.err
    assert len(done.err.splitlines()) == 1
    assert run.is_dir()


def test_an_unknown_option_is_misuse(command):
    assert command("runs", "show").code == 2
    assert command("runs", "resume", "x", "--wokers", "3").code == 2


def test_commands_that_are_named_can_be_typed_wherever_a_run_lies(command, whole, tmp_path):
    folder = shutil.copytree(whole.files["result"].parent, tmp_path / "my run")
    assert f"`evoseg runs show '{folder}' --front`" in command("runs", "show", folder).out
    found = replace(evoseg.SearchResult.load(folder), final=False)
    assert f"\n  evoseg apply '{folder}' new_images/" in str(found)
    assert f"`evoseg runs resume '{folder}'` tries again" in str(found), "its id would lead nowhere"
    assert how_to_continue(str(folder)).startswith(f"to continue: evoseg runs resume '{folder}' (")


def test_a_front_and_a_conversation_are_not_printed_together(command, run):
    both = ("runs", "show", run, "--front", "--conversation")
    done = command(*both)
    assert done.code == 2 and "Leave one out, or add --json" in done.err
    assert {"front", "conversation"} <= json.loads(command(*both, "--json").out).keys()


def test_a_killed_run_shows_what_was_found_so_far(command, broken, whole):
    programs = read_front(broken)
    assert programs
    assert "`evoseg runs resume" in command("runs", "show", whole.run).out
    assert evoseg.read_pipeline(f"{whole.run}#1").digest == programs[0].digest
    done = command("show", whole.run)
    assert done.code == 1
    assert "no pipeline has been chosen yet" in done.err
    cut(broken, 0)
    assert read_front(broken) == []
    assert "nothing has been evaluated yet" in command("runs", "show", whole.run, "--front").out


def test_a_front_is_the_same_from_the_journal_as_in_the_result(run, whole):
    (run / "result.json").unlink()
    assert read_front(run) == list(whole.front)


def test_a_second_process_is_refused(command, broken, whole, dataset):
    with RunLock(broken):
        assert json.loads(command("runs", "list", "--json").out)["runs"][0]["state"] == "running"
        for arguments in (["resume", whole.run], ["delete", whole.run]):
            done = command("runs", *arguments)
            assert (done.code, done.out) == (1, "")
            assert f"process {os.getpid()}" in done.err
            assert "is using this run" in done.err
        done = command("search", dataset, "--evaluations", "5", "--out", broken, "--overwrite")
        assert done.code == 1
    assert stored.open_run(broken).state.entries == first_generation(broken)


def test_a_search_that_began_meanwhile_in_the_same_folder_is_not_replaced(broken, dataset):
    plan = plan_run(resolve_settings(SearchOptions(evaluations=5, library="none")), open_data(dataset))
    written, aside = (broken / "run.db").read_bytes(), (broken / "run.db").rename(broken / "aside")
    lock = RunLock(broken)

    def begin() -> None:
        aside.rename(broken / "run.db")
        lock.release()

    other = threading.Timer(0.1, begin)
    other.start()
    with pytest.raises(FilesError, match=r"already contains a run \(run.db\)"):
        plan.begin(broken, overwrite=False)
    other.join()
    assert (broken / "run.db").read_bytes() == written


def test_a_deleted_run_is_gone_and_others_are_not(command, run, whole, tmp_path):
    other = shutil.copytree(run, run.parent / "other")
    done = command("runs", "delete", whole.run)
    assert (done.code, done.out) == (0, f"deleted {run}\n")
    assert not run.exists()
    assert other.exists()
    mine = shutil.copytree(other, tmp_path / "mine")
    (mine / "note.txt").write_text("mine")
    assert command("runs", "delete", mine).code == 0
    assert [p.name for p in mine.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("spoil", [lambda d: d[: len(d) // 2], lambda d: b"", lambda d: b"not SQLite" * 999])
def test_a_damaged_run_is_one_error_and_the_rest_is_listed(command, run, whole, spoil):
    bad = shutil.copytree(run, run.parent / "bad")
    (bad / "run.db").write_bytes(spoil((bad / "run.db").read_bytes()))
    done = command("runs", "list", "--json")
    assert done.code == 0
    document = json.loads(done.out)
    assert [r["run"] for r in document["runs"]] == [whole.run]
    assert [r["run"] for r in document["damaged"]] == ["bad"]
    assert done.err.startswith(f"warning: {bad / 'run.db'}: damaged")
    for verb in ("show", "resume", "replay"):
        done = command("runs", verb, "bad")
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"error: {bad / 'run.db'}: damaged")
        assert len(done.err.splitlines()) == 1
    assert evoseg.read_pipeline(bad) == whole.pipeline
    assert command("runs", "delete", "bad").code == 0
    assert not bad.exists()


def test_runs_in_folders_of_ones_own_are_listed_until_they_are_gone(command, dataset, tmp_path, home):
    options = ("--evaluations", 5, "--workers", 0, "--library", "none")
    for name in ("one", "two ü"):
        assert command("search", dataset, *options, "--out", tmp_path / name).code == 0
    assert command("search", dataset, *options, "--out", tmp_path / "one", "--overwrite").code == 0

    def listed() -> list[str]:
        return [run["run"] for run in json.loads(command("runs", "list", "--json").out)["runs"]]

    assert sorted(listed()) == sorted(str(tmp_path / name) for name in ("one", "two ü"))
    assert command("runs", "delete", tmp_path / "one").code == 0
    assert listed() == [str(tmp_path / "two ü")]
    (tmp_path / "two ü").rename(tmp_path / "moved")
    with (home / "outside-runs.jsonl").open("a") as file:
        file.write('nonsense\n[1]\n"relative/path"\n"/\\u0000"\n')
    done = command("runs", "list")
    assert (done.code, done.out) == (0, "no runs yet\n")
