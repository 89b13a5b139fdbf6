"""From a goal in words to a task: what is offered, what the model is told, and what is made of its answer."""

import json

import numpy as np
import pytest

import evoseg
from evoseg.core.disk import data_folder
from evoseg.core.errors import SettingsError
from evoseg.datasets.dataset import Dataset
from evoseg.evolve.tasks.task_kinds import TASKS
from evoseg.llm.consulting import NoAnswerError
from evoseg.llm.framing import frame_task, list_choices
from evoseg.runs.options import SearchOptions
from evoseg.runs.settings import MOST_GOAL, RunSettings, resolve_settings
from evoseg.synthetic import draw_dataset, draw_pairs
from tests.llm_server import ACTS, Server, _says

GOAL = "bright spots that are real Bragg peaks,\n not arcs"


@pytest.fixture(scope="module")
def nuclei(tmp_path_factory) -> Dataset:
    return Dataset(draw_dataset("nuclei", tmp_path_factory.mktemp("drawn") / "nuclei", 6, (40, 56), seed=3))


@pytest.fixture(scope="module")
def spots() -> Dataset:
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 99, (40, 50)).astype(np.uint8) for _ in range(6)]
    return Dataset.from_arrays(images, points=[rng.random((5, 2)) * 39 for _ in images])


def settings(server: Server | None = None, **options: object) -> RunSettings:
    model = options.pop("model", "openai:scripted")
    agent = evoseg.Agent(model, base_url=server.url if server else None, goal=GOAL, calls=options.pop("calls", 20))
    return resolve_settings(SearchOptions(agent=agent, **options))


def answer(monkeypatch, **said: object) -> str:
    """Add an act that proposes something, and return its name."""
    proposal = {"task": "binary", "metric": "iou", "radius_px": 0, "reason": "It is so."} | said
    name = f"proposes {proposal['task']} {proposal['metric']}"
    monkeypatch.setitem(ACTS, name, _says(json.dumps(proposal)))
    return name


def told(server: Server) -> dict[str, object]:
    text = server.requests[0]["messages"][1]["content"]
    return json.loads(text[text.index("\n\n{") :])


def test_tasks_that_the_truths_allow_are_offered_with_their_metrics(nuclei, spots, tmp_path):
    assert set(list_choices(settings(), nuclei)) == {"binary", "instances"}
    assert list_choices(settings(), spots) == {"points": ("f1", "f2")}
    pairs = Dataset(draw_pairs(tmp_path / "maps", 6, (40, 56), seed=4))
    assert list_choices(settings(), pairs) == {"registration": ("closeness",)}
    values = [np.zeros((30, 40), np.uint8) for _ in range(6)]
    for value in values:
        value[5:12, 5:15], value[15:25, 20:35] = 1, 2
    classes = Dataset.from_arrays([value * 90 for value in values], values)
    assert "classes" in list_choices(settings(), classes)


def test_what_the_user_names_is_kept(nuclei, spots):
    assert list_choices(settings(task="binary"), nuclei) == {"binary": TASKS["binary"].metrics}
    assert list_choices(settings(metric="pq"), nuclei) == {"instances": ["pq"]}
    for options, dataset in (({"metric": "f1"}, nuclei), ({"goal": evoseg.Goal(target="imagej")}, spots)):
        with pytest.raises(SettingsError, match="no labels fit a task"):
            list_choices(settings(**options), dataset)


def test_the_model_is_told_the_goal_the_choices_and_figures_but_no_name_of_a_file(nuclei, monkeypatch):
    with Server([answer(monkeypatch, task="instances", metric="PQ")]) as server:
        framing = frame_task(settings(server), nuclei)
    assert (framing.task, framing.metric, framing.radius, framing.reason) == ("instances", "pq", None, "It is so.")
    document = told(server)
    assert document["wanted"] == framing.goal == "bright spots that are real Bragg peaks, not arcs"
    assert [choice["task"] for choice in document["choices"]] == ["binary", "instances"]
    assert document["card"]["task_by_rules"]["task"] in ("binary", "instances") and "task" not in document["card"]
    assert "nuclei_00" not in json.dumps(document)
    assert str(framing) == (
        "goal: bright spots that are real Bragg peaks, not arcs\n"
        "proposed: task instances, scored by PQ\nreason: It is so."
    )


def test_points_get_a_radius_unless_one_is_named(spots, monkeypatch):
    with Server([answer(monkeypatch, task="points", metric="f2", radius_px=3.5)]) as server:
        assert frame_task(settings(server), spots).radius == 3.5
        assert frame_task(settings(server, task=evoseg.Points(radius=2.0)), spots).radius == 2.0
    with Server([answer(monkeypatch, task="points", metric="f1", radius_px=0)]) as server:
        assert frame_task(settings(server), spots).radius is None


def test_nobody_is_asked_where_nothing_is_open(nuclei):
    with Server() as server:
        framing = frame_task(settings(server, task="binary", metric="dice"), nuclei)
    assert (framing.task, framing.metric, framing.reason) == ("binary", "dice", "") and not server.requests


def test_an_answer_that_is_not_possible_is_sent_back_once_and_then_an_error(nuclei, monkeypatch):
    wrong = [answer(monkeypatch, task="points", metric="f1"), answer(monkeypatch, metric="f1")]
    right = answer(monkeypatch, metric="mcc")
    for act, words in zip(wrong, ("'points' is not possible here", "is scored by iou or dice or"), strict=True):
        with Server([act, right]) as server:
            assert frame_task(settings(server), nuclei).metric == "mcc"
        assert words in server.requests[1]["messages"][-1]["content"]
    with Server(wrong) as server, pytest.raises(NoAnswerError, match="no task that is possible here in 2 calls"):
        frame_task(settings(server), nuclei)


@pytest.mark.parametrize("act", ["401", "prose", "refusal", "wrong schema"])
def test_without_an_answer_nothing_is_searched_for(nuclei, act):
    with Server([act]) as server, pytest.raises(NoAnswerError, match="gave no usable reply"):
        frame_task(settings(server), nuclei)


def test_a_proposal_keeps_to_the_limits(nuclei):
    with Server(["prose"]) as server, pytest.raises(NoAnswerError, match=r"\(calls\) in 1 call\."):
        frame_task(settings(server, calls=1), nuclei)
    assert len(server.requests) == 1


def test_a_model_that_sees_is_shown_all_images_on_one_sheet(nuclei):
    with Server() as server:
        frame_task(settings(server, model="openai:scripted-seeing"), nuclei)
    assert [part["type"] for part in server.requests[0]["messages"][1]["content"]] == ["text", "image_url"]


def test_what_is_paid_for_a_proposal_is_missing_afterwards(nuclei):
    with Server() as server:
        asked = settings(server)
        framing = frame_task(asked, nuclei)
    (call,) = framing.log.calls()
    left = framing.pay(asked)
    assert left.llm_calls == 19 and left.llm_usd == pytest.approx(asked.llm_usd - call.usd) and left.llm_tokens is None


def test_a_goal_needs_a_model_and_some_words():
    with pytest.raises(SettingsError, match="for a language model to read, and none is named"):
        resolve_settings(SearchOptions(agent=evoseg.Agent("none", goal="spots")))
    for words in ("", " \n", "x" * (MOST_GOAL + 1)):
        with pytest.raises(SettingsError, match="goal has "):
            resolve_settings(SearchOptions(agent=evoseg.Agent("openai:x", goal=words)))


def test_the_prompt_explains_every_task_and_metric():
    prompt = (data_folder("agents") / "frame.md").read_text("utf-8")
    for kind in TASKS.values():
        assert f"`{kind.name}`" in prompt and all(f"`{metric}`" in prompt for metric in kind.metrics)
