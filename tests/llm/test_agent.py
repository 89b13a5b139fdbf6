"""The model as an adviser: waits or never waits, scores what is proposed at once, tells a journal again, gives up."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.errors import EvosegError
from evoseg.core.kinds import Kind
from evoseg.evolve.advising import AdviserView
from evoseg.evolve.budget import Budget
from evoseg.evolve.journal import ARRIVAL, Heading, JournalError, RecordedClock
from evoseg.evolve.ports import Failed, Scored
from evoseg.evolve.proposers.random_programs import select_usable
from evoseg.llm.agent import Agent, AgentThread
from evoseg.llm.agent_session import check_cost
from evoseg.llm.briefing import choose_leader, complements, make_request, worst_images
from evoseg.llm.limits import UsageLimits
from evoseg.llm.rounds import RoundResult, RoundRunner
from evoseg.pipeline import print_text
from evoseg.sandbox.operators import AdmittedCode
from tests.evolve.test_journal import Memory
from tests.llm.helpers import OPERATORS, QUICK, ROLE_SET, asking, pipeline, scored, view, workshop
from tests.llm_expert import data_of

FIRST = scored(pipeline("return threshold(channel(image))"), 0.5, 0.6, 0.4)
BUDGET = Budget(evaluations=1000)


def refuse(_: object) -> Any:
    raise EvosegError("no sandbox here")


@contextmanager
def run_agent(
    *acts: str,
    wait: bool = True,
    sees: bool = False,
    journal: Memory | None = None,
    calls: int = 20,
    on_wait: Callable[[bool], None] = lambda waiting: None,
    **changes: object,
) -> Iterator[tuple[Agent, Any]]:
    """Yield an agent with the requests that its endpoint gets."""
    role_set = replace(ROLE_SET, schedule=QUICK.model_copy(update={"patience": 99, "rounds": 99} | changes))
    model = "scripted-seeing" if sees else "scripted"
    with asking(acts, UsageLimits(calls), schedule=role_set.schedule, model=model) as (client, tracker, server):
        runner = RoundRunner(role_set, client, select_usable(OPERATORS, Kind.MASK), Kind.MASK, 3)

        def stop() -> None:
            client._stop.set()
            client._client.close()

        clock = RecordedClock(BUDGET)
        clock.follow(journal or Memory())
        agent = Agent(
            role_set,
            clock,
            lambda admitted: None,
            workshop=workshop(sees=sees, title="discs"),
            thread=AgentThread(runner, stop, client._client.release),
            admit=refuse,
            wait=wait,
            most_calls=tracker.limits.calls,
            on_wait=on_wait,
        )
        try:
            yield agent, server
        finally:
            agent.close()


def replayed(journal: Memory) -> Agent:
    clock = RecordedClock(BUDGET)
    clock.follow(Memory(journal.entries), extend=False)
    return Agent(ROLE_SET, clock, lambda admitted: None)


def advise(agent: Agent, at: AdviserView, number: int = 0) -> None:
    agent.advise(at, default_rng(number))


def test_a_search_that_waits_has_a_rounds_programs_before_its_next_generation():
    with run_agent("expert") as (agent, _):
        advise(agent, view())
        assert agent.tally.rounds == 0, "there is no leader to be shown yet"
        advise(agent, view(FIRST))
        assert agent.tally.rounds == 1 and agent.tally.scored == agent.tally.programs == 4


def test_waiting_takes_none_of_the_searchs_time_and_is_told(monkeypatch):
    now, told = 0.0, []
    monkeypatch.setattr("evoseg.evolve.budget.monotonic", lambda: now)

    def wait(waiting: bool) -> None:
        nonlocal now
        now += 100.0 if waiting else 1.0
        told.append(waiting)

    with run_agent("expert", on_wait=wait) as (agent, server):
        server.latency_s = 0.8
        advise(agent, view(FIRST))
        assert agent.tally.rounds == 1
        assert agent._clock.seconds == 1.0, "the message after the wait counts, the wait does not"
    assert told == [True, False]


@pytest.mark.parametrize("act", ["hang", "drip", "500", "401"])
def test_a_search_that_does_not_wait_looks_in_and_goes_on(act):
    with run_agent(act, wait=False, deadline_s=30.0, pause_s=30.0) as (agent, _):
        for number in range(20):
            advise(agent, view(FIRST), number)
        if act in ("hang", "drip"):
            assert agent.tally.rounds == 0, "it waited until the answer was given up"


def test_a_stop_ends_the_waiting():
    with run_agent("hang", deadline_s=60.0) as (agent, _):
        agent._clock.stop()
        advise(agent, view(FIRST))
        assert agent.tally.rounds == 0


def test_each_round_is_told_what_became_of_the_last_one():
    failing = view(FIRST, evaluate=lambda programs: [Failed(p, "it ran out of memory") for p in programs])
    with run_agent("expert", "expert", "unknown operator", "expert") as (agent, server):
        advise(agent, view(FIRST))
        advise(agent, failing)
        advise(agent, view(FIRST))
        told = [data_of(request) for request in server.requests if len(request["messages"]) == 2]
    _, first, second, third = told
    assert "last_round" not in first and first["leader"]["score"] == 0.5
    assert first["leader"]["held_out_per_image"] == {"img_001": 0.5, "img_002": 0.6, "img_003": 0.4}
    assert first["budget"] == {"calls_left": 19, "evaluations_left": 100, "rounds_left": 19}, "one call was describe's"
    lines = second["last_round"]["outcomes"]
    assert len(lines) == 4 and all("0.600 (+0.000), held out 0.600 (+0.000)" in line for line in lines)
    assert second["budget"] == {"calls_left": 18, "evaluations_left": 100, "rounds_left": 18}
    assert third["refused"] and "unknown operator 'magic'" in third["refused"][0]
    assert len(third["tried"]) == 4


def test_the_leader_has_the_best_held_out_score_and_a_proposal_that_is_shown_already_is_not_repeated():
    programs = [pipeline(f"return {name}(channel(image))") for name in ("otsu", "triangle", "level")]
    first, second, third = (
        scored(program, *scores)
        for program, *scores in [
            (programs[0], 0.9, 0.8, 0.1),
            (programs[1], 0.5, 0.7, 0.7),
            (programs[2], 0.2, 0.2, 0.2),
        ]
    )
    held_out = {programs[0].form: 0.3, programs[1].form: 0.5}
    at = view(first, second, third, cross_fit=lambda one: np.full(3, held_out.get(one.pipeline.form, 0.1)))
    with run_agent("expert") as (agent, server):
        advise(agent, at)
        (leader,) = (data_of(request)["leader"] for request in server.requests[1:])
        assert "triangle" in leader["program"] and leader["held_out"] == 0.5 and leader["score"] == 0.633
        report = agent._report
        proposal = report.tried[0]
        proposal.held_out = np.array([0.6, 0.6, 0.6])
        advise(agent, at)
        told = data_of(server.requests[-1])
    assert told["leader"]["held_out"] == 0.6
    assert told["last_round"]["outcomes"][0].endswith("now `leader`") and "best" not in told["last_round"]


def test_programs_that_fail_are_told_with_the_reason():
    failing = view(FIRST, evaluate=lambda programs: [Failed(p, "it ran out of memory") for p in programs])
    with run_agent("expert") as (agent, server):
        advise(agent, failing)
        advise(agent, failing)
        lines = data_of(server.requests[-1])["last_round"]["outcomes"]
    assert all("failed: it ran out of memory" in line for line in lines)


def test_what_came_is_told_again_without_a_model():
    journal, seen, again = Memory(), [], []

    def watched(programs: list[Any], kept: list[str]) -> list[Scored]:
        kept += [p.form for p in programs]
        return [scored(p, 0.5, 0.6, 0.7) for p in programs]

    with run_agent("expert", "unknown operator", "expert", journal=journal) as (agent, _):
        for number in range(4):
            advise(agent, view(FIRST, evaluate=lambda programs: watched(programs, seen)), number)
    other = replayed(journal)
    for number in range(4):
        advise(other, view(FIRST, evaluate=lambda programs: watched(programs, again)), number)
    assert again == seen and len(seen) > 12
    assert replace(other.tally, over="") == agent.tally


def test_experiments_are_made_between_two_messages_of_a_round():
    journal = Memory()
    with run_agent("explorer", sees=True, journal=journal) as (agent, server):
        advise(agent, view(FIRST))
        told = [request["messages"] for request in server.requests]
    # The operator is refused here, and so is all that calls it; the picture is shown nevertheless.
    assert "no sandbox here" in told[2][-1]["content"]
    assert [m["role"] for m in told[3]] == ["system", "user", "assistant", "user"]
    text, picture = told[3][-1]["content"]
    results = json.loads(text["text"].partition("\n\n")[2])
    assert [r["experiment"] for r in results["results"]] == ["show"] and results["experiments_left"] == 5
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert not any("experiments" in heading.question[:40] for heading, _ in journal.entries), "it changes nothing"


def test_a_tried_program_is_scored_and_told_and_the_journal_says_so():
    journal = Memory()
    with run_agent("trier", journal=journal) as (agent, server):
        advise(agent, view(FIRST))
        results = json.loads(server.requests[-1]["messages"][-1]["content"].partition("\n\n")[2])["results"]
        assert agent.tally.experiments == 1
    (result,) = results
    assert result["called"] == "p1" and result["outcome"] == "0.600 (+0.100), held out 0.600 (+0.100)"
    assert result["better"] == {"img_003": "+0.300"}
    other = replayed(journal)
    advise(other, view(FIRST))
    assert other.tally == agent.tally


def test_a_round_that_was_cut_off_after_an_experiment_goes_on_without_making_it_again():
    journal = Memory()
    with run_agent("trier", journal=journal) as (agent, _):
        advise(agent, view(FIRST))
    (event, *_) = journal.entries
    assert '"experiments"' in event[0].question
    n_scored: list[int] = []

    def evaluate(programs: list[Any]) -> list[Scored]:
        n_scored.append(len(programs))
        return [scored(p, 0.5, 0.6, 0.7) for p in programs]

    cut = Memory([event])
    with run_agent("trier", journal=cut) as (again, _):
        advise(again, view(FIRST, evaluate=evaluate))
        assert again.tally == agent.tally
    assert [h.question for h, _ in cut.entries] == [h.question for h, _ in journal.entries]


def test_without_a_held_out_gain_it_gives_up():
    with run_agent("expert", patience=2) as (agent, _):
        for _ in range(5):
            advise(agent, view(scored(FIRST.pipeline, 0.9, 0.9, 0.9)))
    assert agent.tally.over == "patience" and agent.tally.rounds == 2


def test_rounds_are_spread_over_a_budget_of_evaluations():
    with run_agent("expert", rounds=4) as (agent, _):
        for done in (0, 100, 240, 260, 400):
            advise(agent, view(FIRST, evaluations=done, evaluations_left=1000 - done))
    assert agent.tally.rounds == 2, "at the beginning, and after a quarter"


def test_calls_are_spread_over_a_budget_of_evaluations():
    asked = []
    with run_agent("expert", "trier", calls=6) as (agent, server):
        for done in range(0, 600, 50):
            advise(agent, view(FIRST, evaluations=done, evaluations_left=600 - done))
            asked.append(len(server.requests))
    # A description, an experiment and an answer; again an experiment and an answer; the last call.
    assert asked == [3] * 6 + [5] * 4 + [6] * 2


@pytest.mark.parametrize(("act", "why"), [("401", "auth"), ("429 quota", "quota")])
def test_an_endpoint_that_refuses_for_good_is_asked_no_more(act, why):
    with run_agent(act) as (agent, server):
        advise(agent, view(FIRST))
        advise(agent, view(FIRST))
        assert agent.tally.over == why and len(server.requests) == 1
    assert agent.tally.faults == {why: 1}


def test_a_fault_of_our_own_ends_the_model_and_not_the_search(monkeypatch, caplog):
    monkeypatch.setattr("evoseg.llm.rounds.messages", lambda *_: 1 / 0)
    with run_agent("expert") as (agent, _):
        advise(agent, view(FIRST))
    assert agent.tally.over == "internal" and "the agent has stopped" in caplog.text


def test_an_arrival_survives_the_journal():
    result = RoundResult(
        3,
        ("propose",),
        (5, 6),
        description={"summary": "é"},
        programs=({"name": "a", "idea": "b", "program": print_text(FIRST.pipeline), "parents": [], "call": 5},),
        plane_lists=({"name": "c", "idea": "", "planes": [print_text(FIRST.pipeline)], "call": 6},),
        refused=({"name": "c", "reason": "line 1"},),
        macros={"f": "def f(a): ..."},
    )
    assert RoundResult.from_json(json.loads(result.as_text())) == result


def test_a_journal_of_an_early_version_is_one_clear_error():
    journal = Memory([(Heading(ARRIVAL, '1\n{"programs": []}'), [])])
    with pytest.raises(JournalError, match="early version"):
        advise(replayed(journal), view(FIRST))


def test_macros_of_a_round_are_there_in_the_next():
    with run_agent("expert", "macro", "expert") as (agent, server):
        advise(agent, view(FIRST))
        advise(agent, view(FIRST))
        told = data_of(server.requests[-1])
    assert told["macros"] == list(agent.macros.values()) != []


def test_what_solved_similar_tasks_is_told_in_the_first_round():
    with run_agent("expert") as (agent, server):
        agent._workshop.task = replace(agent._workshop.task, similar=lambda: ["def pipeline(image): ..."])
        advise(agent, view(FIRST))
        advise(agent, view(FIRST))
        told = [data_of(request) for request in server.requests[1:]]
    assert [document.get("similar") for document in told] == [["def pipeline(image): ..."], None]


def test_pictures_go_only_to_a_model_that_takes_them_and_show_the_leader_at_its_worst():
    for sees in (False, True):
        with run_agent("expert", sees=sees) as (agent, server):
            advise(agent, view(FIRST))
            content = server.requests[-1]["messages"][1]["content"]
        assert isinstance(content, list) is sees
        if sees:
            text, *pictures = content
            shown = json.loads(text["text"].partition("\n\n")[2])["shown"]
            wanted = ["r1_1: all labelled", "r1_2: img_003: image", "r1_3: img_001: image"]
            assert [caption[: len(start)] for caption, start in zip(shown, wanted, strict=True)] == wanted
            assert len(pictures) == 3
            described = server.requests[0]["messages"][1]["content"]
            assert [part["type"] for part in described] == ["text", "image_url"], "of the search, it is told nothing"
            assert described[1] == pictures[0]


def test_images_that_were_shown_in_the_last_round_make_room_for_others_and_names_of_pictures_are_unique():
    scores = np.array([0.1, 0.3, 0.2, 0.9, 0.5])
    assert worst_images(scores, set()) == [0, 2]
    assert worst_images(scores, {0, 2}) == [1, 4]
    assert worst_images(scores, {1, 4}) == [0, 2]
    assert worst_images(scores[:3], {0, 2}) == [1, 0]
    with run_agent("expert", "explorer", sees=True) as (agent, server):
        advise(agent, view(FIRST))
        advise(agent, view(FIRST))
        told = server.requests
    _, first, second = (data_of(request).get("shown", []) for request in told if len(request["messages"]) == 2)
    assert [line[6:13] for line in first[1:]] == ["img_003", "img_001"]
    assert second[0].startswith("r2_1: img_002"), "the others were shown in round 1"
    content = next(m["content"] for m in told[-1]["messages"] if "What came" in str(m["content"]))
    results = json.loads(content[0]["text"].partition("\n\n")[2])["results"]
    assert results[0]["picture"] == f"r2_{len(second) + 1}"


def test_other_programs_are_those_that_are_better_somewhere():
    leader = scored(FIRST.pipeline, 0.9, 0.5, 0.5)
    near = scored(pipeline("return otsu(channel(image))"), 0.9, 0.51, 0.5)
    unlike = scored(pipeline("return triangle(channel(image))"), 0.1, 0.5, 0.9)
    same = scored(pipeline("return level(channel(image))"), 0.9, 0.5, 0.5)
    assert complements(leader, [leader, same, near, unlike], 2) == [unlike, near]
    copies = [scored(pipeline(f"return threshold(channel(image), level={n})"), 0.9, 0.5, n) for n in (1, 2)]
    assert complements(leader, copies, 2) == [], "other numbers are what the search tries by itself"
    assert complements(unlike, copies, 2) == copies[1:], "nor are two copies shown"


def test_the_prompt_of_a_round_is_short():
    """Version 0.1 sent 19 to 31 kB in the rounds of a search in colour images."""
    with run_agent("expert") as (agent, server):
        for _ in range(3):
            advise(agent, view(FIRST))
        told = [request["messages"] for request in server.requests]
    assert max(sum(len(message["content"].encode()) for message in said) for said in told) < 13_200


def test_a_request_does_not_change_with_the_search():
    at = view(FIRST)
    with run_agent("expert") as (agent, _):
        leader = choose_leader(1, at, agent._report)
        one, other = (make_request(QUICK, 1, at, agent._workshop, agent._report, leader) for _ in range(2))
    assert one == other


def test_a_slow_operator_of_a_model_is_refused_with_what_it_took():
    check_cost(AdmittedCode("def operator(plane: Gray) -> Gray: ...", 900.0))
    with pytest.raises(EvosegError, match=r"it takes 3\.2 s for a megapixel, and may take 1 s\. Use array operations"):
        check_cost(AdmittedCode("def operator(plane: Gray) -> Gray: ...", 3200.0))
