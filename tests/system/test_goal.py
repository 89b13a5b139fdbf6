"""A search whose task a language model has proposed from words: asked before, recorded, and repeated without a call."""

import base64
import io
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

import evoseg
from evoseg.api import replay
from evoseg.llm.calls import read_calls
from evoseg.runs.run_file import read_run
from evoseg.synthetic import draw_pairs
from tests.llm_server import ACTS, Server, _says, programs
from tests.system.interrupted import cut
from tests.system.test_classes import folder as classes_folder  # noqa: F401

GOAL = "nuclei, each on its own"
PROPOSAL = {"task": "instances", "metric": "pq", "radius_px": 0, "reason": "Each one counts."}
OWN_TASK = Path(__file__).resolve().parents[2] / "examples" / "own_task.py"
QUICK = {"evaluations": 20, "workers": 0, "library": "none", "report": False}


@pytest.fixture(autouse=True)
def acts(monkeypatch):
    monkeypatch.setitem(ACTS, "proposes", _says(json.dumps(PROPOSAL)))
    monkeypatch.setitem(ACTS, "proposes masks", _says(json.dumps(PROPOSAL | {"task": "binary", "metric": "mcc"})))
    monkeypatch.setitem(ACTS, "proposes classes", _says(json.dumps(PROPOSAL | {"task": "classes", "metric": "dice"})))


def arguments(server: Server, *more: object, evaluations: int = 20) -> list[object]:
    options = ["--agent", "openai:scripted", "--base-url", server.url, "--goal", GOAL, "--evaluations", evaluations]
    return [*options, "--workers", "0", "--library", "none", "--no-report", *more]


def cards(server: Server) -> list[dict]:
    """Return the cards of data that were sent to the roles of a search."""
    texts = [request["messages"][1]["content"] for request in server.requests]
    documents = [json.loads(text[text.index("\n\n{") :]) for text in texts]
    return [document["card"] for document in documents if "wanted" not in document]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_proposal_is_shown_recorded_told_and_repeated_without_a_call(command, dataset, tmp_path):
    with Server(["proposes masks", "expert"]) as server:
        more = ("--yes", "--json", "--no-networks", "--out", tmp_path / "run")
        done = command("search", dataset, *arguments(server, *more, evaluations=60))  # some more than a generation
        assert done.code == 0, done.err
        asked = len(server.requests)
        assert f"goal: {GOAL}\n" in done.err and "task binary, scored by MCC\nreason: Each one counts." in done.err
        result = json.loads(done.out)
        assert (result["task"], result["metric"]) == ("binary", "mcc")
        assert (result["settings"]["goal"], result["settings"]["goal_reason"]) == (GOAL, "Each one counts.")
        assert cards(server) and all(card["task"]["goal"] == GOAL for card in cards(server))
        calls = read_calls(tmp_path / "run")
        assert [(call.number, call.round, call.role) for call in calls[:2]] == [(1, 0, "frame"), (2, 1, "describe")]
        assert result["llm"]["calls"] == len(calls) == asked
        assert "=== call 1, round 0: frame" in command("runs", "show", tmp_path / "run", "--conversation").out
        cut(tmp_path / "run", 2)
        again = evoseg.resume(tmp_path / "run", report=False)
        assert (again.task, again.metric) == ("binary", "mcc") and again.settings["goal"] == GOAL
        roles = [call.role for call in read_calls(tmp_path / "run")]
        assert roles.count("frame") == 1
        asked = len(server.requests)
    assert replay(tmp_path / "run").difference is None and len(server.requests) == asked


@pytest.mark.parametrize("said", ["y\n", "n\n", "\n", ""])
def test_on_a_terminal_the_search_goes_on_after_a_yes(command, dataset, tmp_path, monkeypatch, said):
    monkeypatch.setattr(sys, "stdin", Terminal(said))
    with Server(["proposes", "401"]) as server:
        done = command("search", dataset, *arguments(server, "--json", "--out", tmp_path / "run"))
    assert "Search for this? [y/n] " in done.err and "Search" not in done.out
    if said == "y\n":
        assert done.code == 0 and json.loads(done.out)["task"] == "instances"
    else:
        assert done.code == 2 and "the search was not started" in done.err and not (tmp_path / "run").exists()


def test_without_a_terminal_or_a_model_a_goal_is_refused_before_anybody_is_asked(command, dataset, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with Server() as server:
        done = command("search", dataset, *arguments(server))
    assert done.code == 2 and "Accept the proposal with --yes" in done.err and not server.requests
    done = command("search", dataset, "--goal", GOAL, "--yes")
    assert done.code == 2 and "Name one with --agent PROVIDER:MODEL" in done.err


def test_what_is_named_wins_and_from_python_nobody_is_asked(dataset):
    with Server(["proposes", "401"]) as server:
        agent = evoseg.Agent("openai:scripted", base_url=server.url, goal=GOAL)
        proposed = evoseg.propose_task(dataset, agent=agent)
        assert (proposed.task, proposed.metric) == ("instances", "pq") and len(server.requests) == 1
        found = evoseg.search(dataset, agent=agent, task="binary", metric="dice", **QUICK)
    assert (found.task, found.metric, found.settings["goal_reason"]) == ("binary", "dice", "")
    assert found.settings["goal"] == GOAL
    with pytest.raises(evoseg.EvosegError, match="there is no goal"):
        evoseg.propose_task(dataset)


def test_a_model_may_propose_a_pipeline_for_each_class(command, classes_folder, tmp_path):  # noqa: F811
    with Server(["proposes classes", "401"]) as server:
        done = command("search", classes_folder, *arguments(server, "--yes", "--json", "--out", tmp_path / "run"))
    assert done.code == 0, done.err
    assert json.loads(done.out)["task"] == "classes"
    records = [read_run(tmp_path / "run" / name).settings for name in ("bright", "dark")]
    assert all((kept["goal"], kept["metric"], kept["llm_calls"]) == (GOAL, "dice", 9) for kept in records)
    assert read_calls(tmp_path / "run" / "bright")[0].role == "frame"
    assert "frame" not in [call.role for call in read_calls(tmp_path / "run" / "dark")]


PLANE = "def pipeline(image):\n    return gaussian(channel(image), sigma=1.5)"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return draw_pairs(tmp_path_factory.mktemp("pairs") / "maps", 6, (40, 56), seed=4)


def test_a_model_is_shown_pairs_and_the_planes_that_a_pipeline_makes_of_them(command, pairs, tmp_path):
    (tmp_path / "blur.evo").write_text(PLANE)
    options = ("--agent", "openai:scripted-seeing", "--base-url")
    with Server(["expert"]) as server:
        described = command("describe", pairs, *options, server.url)
        criticised = command("critique", tmp_path / "blur.evo", pairs, *options, server.url)
        contents = [request["messages"][1]["content"] for request in server.requests]
    assert described.code == criticised.code == 0, described.err + criticised.err
    assert "shifts" in described.out and "registration" in described.out
    (sheet,), planes = ([picture_shape(part) for part in content[1:]] for content in contents)
    assert sheet == (4 * (18 + 40 + 6), 2 * (56 + 6))  # four pairs, each with its name above it
    assert {shape[0] for shape in planes} == {124}  # 40 px and a bar each; the planes stand below
    card = card_of(server.requests[0])
    assert "correlate" in card["task"]["defined_by"] and card["objects"]["shift_px_median_and_most"][1] > 0


def picture_shape(part: dict) -> tuple[int, ...]:
    data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    with Image.open(io.BytesIO(data)) as picture:
        return picture.size[::-1]


def card_of(request: dict) -> dict:
    content = request["messages"][1]["content"]
    text = content if isinstance(content, str) else content[0]["text"]
    return json.loads(text[text.index("\n\n{") :])["card"]


@pytest.mark.e2e
def test_programs_of_a_model_are_scored_on_pairs(pairs, monkeypatch):
    monkeypatch.setitem(ACTS, "a plane", _says(programs(PLANE)))
    with Server(["expert", "a plane"]) as server:
        agent = evoseg.Agent("openai:scripted", base_url=server.url, goal="how far the stage has moved")
        found = evoseg.search(pairs, agent=agent, **QUICK | {"evaluations": 120})
    assert found.task == "registration" and found.to_json()["llm"]["scored"] == 1
    assert replay(found.run).difference is None


@pytest.mark.e2e
def test_programs_of_a_model_are_scored_by_a_task_of_the_users_own(dataset):
    with Server(["expert"]) as server:
        agent = evoseg.Agent("openai:scripted-seeing", base_url=server.url, goal="the right number of nuclei")
        found = evoseg.search(dataset, agent=agent, task=OWN_TASK, **QUICK | {"evaluations": 120})
    assert found.task == str(OWN_TASK) and found.to_json()["llm"]["rounds"] >= 1
    card = card_of(server.requests[0])
    assert card["task"]["name"] == "the user's own" and card["task"]["goal"] == "the right number of nuclei"
    assert "own_task" not in json.dumps(card)


def test_a_folder_that_is_taken_is_refused_before_the_model_is_asked(command, dataset, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "pipeline.evo").touch()
    with Server(["proposes masks"]) as server:
        done = command("search", dataset, *arguments(server, "--yes", "--out", tmp_path / "run"))
    assert done.code == 1 and "already contains a run" in done.err and not server.requests
