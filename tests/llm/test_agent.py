"""The proposer: never waits, refuses what is known, tells a journal again, gives up when nothing helps."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event

import pytest
from numpy.random import default_rng

from evoseg.core.kinds import Kind
from evoseg.evolve.ports import Failed, Pruned, SearchView
from evoseg.llm.agent import Agent, AgentThread
from evoseg.llm.rounds import RoundResult, RoundRunner
from evoseg.operators import registry
from evoseg.pipeline import Pipeline, print_text
from tests.llm.helpers import QUICK, ROLE_SET, asking, material, pipeline, scored, view

FIRST = scored(pipeline("return threshold(channel(image))"), 0.5, 0.6, 0.4)


class Told:
    """Arrivals as a run's clock tells them."""

    def __init__(self, recorded: dict[int, str] | None = None) -> None:
        self.recorded = recorded if recorded is not None else {}

    def __call__(self, border: int, present: Callable[[], str]) -> str:
        came = self.recorded.get(border) or present()
        if came:
            self.recorded[border] = came
        return came


@contextmanager
def run_agent(*acts: str, told: Told | None = None, **changes: object) -> Iterator[Agent]:
    cast = replace(ROLE_SET, schedule=QUICK.model_copy(update=changes))
    with asking(acts, schedule=cast.schedule) as (client, _, _):
        operators = registry.operators()
        rounds = RoundRunner(cast, client, material(title="discs"), operators, Kind.MASK, sees=False)

        def stop() -> None:
            client._stop.set()
            client._client.close()

        agent = Agent(cast, told or Told(), lambda: True, AgentThread(rounds, stop, client._client.release))
        try:
            yield agent
        finally:
            agent.close()


def border(agent: Agent, at: SearchView, number: int) -> list[Pipeline]:
    return agent.ready(at, 48, default_rng(number))


def until_it_brings(agent: Agent, at: SearchView, n: int = 1) -> list[Pipeline]:
    """Pass borders until a round has come back."""
    for number in range(400):
        rounds = agent.tally.rounds
        brought = border(agent, at, number)
        if agent.tally.rounds > rounds and (n := n - 1) == 0:
            return brought
        time.sleep(0.02)
    raise AssertionError("nothing came")


def test_a_round_is_sent_at_a_border_and_joins_at_a_later_one():
    with run_agent("expert") as agent:
        assert border(agent, view(FIRST), 0) == []
        brought = until_it_brings(agent, view(FIRST))
    assert len(brought) == 4 and all(p.output is Kind.MASK for p in brought)


@pytest.mark.parametrize("act", ["hang", "drip", "500", "401"])
def test_ready_never_waits(act):
    with run_agent(act, deadline_s=30.0, pause_s=30.0) as agent:
        for number in range(20):
            assert border(agent, view(FIRST), number) == []
        if act in ("hang", "drip"):
            assert agent.tally.rounds == 0, "it waited until the answer was given up"


def test_programs_that_are_known_are_not_proposed():
    with run_agent("expert") as agent:
        brought = until_it_brings(agent, view(FIRST))
    known = view(*(scored(p, 0.5, 0.5, 0.5) for p in brought))
    with run_agent("expert") as agent:
        assert until_it_brings(agent, known) == []
        assert agent.tally.duplicates == 4


def test_the_model_hears_what_became_of_its_programs_and_goes_on_from_there():
    with run_agent("expert") as agent:
        first = until_it_brings(agent, view(FIRST))
        for number in range(3):
            at = view(FIRST, *(scored(p, 0.7, 0.7, 0.7) for p in first))
            agent.learn([scored(first[0], 0.7, 0.7, 0.7), Failed(first[1], "odd"), Pruned(first[2], 0.1)])
            brought = until_it_brings(agent, at)
            assert not {p.form for p in brought} & {p.form for p in first}, number
            first = [*first, *brought]
        tried = list(agent._tried.values())
    assert tried[0]["score"] == 0.7 and tried[1]["failed"] == "odd"
    assert tried[2]["turned_away_on_a_few_images_with"] == 0.1 and "score" not in tried[3]
    assert agent.tally.leading > 0


def test_what_came_is_told_again_without_a_model():
    told, seen, again = Told(), [], []
    with run_agent("expert", "unknown operator", "expert", told=told) as agent:
        for number in range(60):
            seen.append(border(agent, view(FIRST), number))
            time.sleep(0.02)
            if agent.tally.rounds == 3:
                break
    replayed = Agent(ROLE_SET, told)
    for number in range(len(seen)):
        again.append(border(replayed, view(FIRST), number))
    assert again == seen and sum(map(len, seen)) >= 4
    assert replayed.tally == agent.tally


def test_without_a_program_among_the_leaders_it_gives_up():
    leaders = [scored(pipeline(f"return level(channel(image), level={i})"), 0.9, 0.9, 0.9) for i in range(14)]
    with run_agent("expert", patience=2) as agent:
        for _ in range(2):
            brought = until_it_brings(agent, view(*leaders))
            agent.learn([Pruned(p, 0.1) for p in brought])
        # One more round may be under way already, and brings its programs whenever it ends.
        brought = [border(agent, view(*leaders), number) for number in range(5)]
        assert sum(map(bool, brought)) <= 1
        assert agent.tally.over == "patience" and agent.tally.rounds <= 3


@pytest.mark.parametrize(("act", "why"), [("401", "auth"), ("429 quota", "quota")])
def test_an_endpoint_that_refuses_for_good_is_asked_no_more(act, why):
    with run_agent(act) as agent:
        until_it_brings(agent, view(FIRST))
        assert agent.tally.over == why
        border(agent, view(FIRST), 9)
        assert not agent._thread.busy
    assert agent.tally.faults == {why: 1}


def test_a_fault_of_our_own_ends_the_model_and_not_the_search(monkeypatch, caplog):
    monkeypatch.setattr(RoundRunner, "card", lambda self, facts: 1 / 0)
    with run_agent("expert") as agent:
        assert until_it_brings(agent, view(FIRST)) == []
    assert agent.tally.over == "internal" and "the agent has stopped" in caplog.text


def test_an_arrival_survives_the_journal():
    result = RoundResult(
        3,
        ("critique", "evolve"),
        (5, 6),
        critique={"findings": ["é"], "advice": []},
        programs=({"name": "a", "idea": "b", "program": print_text(FIRST.pipeline)},),
        refused=({"name": "c", "reason": "line 1"},),
        macros={"f": "def f(a): ..."},
    )
    assert RoundResult.from_text(result.as_text()) == result


def test_macros_of_a_round_are_there_in_the_next():
    text = RoundResult(1, ("generate",), macros={"spots": "def spots(a):\n    return white_tophat(a)"}).as_text()
    agent = Agent(ROLE_SET, Told({1: text}))
    border(agent, view(FIRST), 0)
    assert agent._request(view(FIRST), default_rng(0)).macros == agent.macros != {}


def test_what_solved_similar_tasks_is_told():
    with asking(["expert"]) as (client, _, server):
        known = replace(material(), similar=lambda: ["def pipeline(image):\n    return otsu(channel(image))"])
        rounds = RoundRunner(ROLE_SET, client, known, registry.operators(), Kind.MASK, sees=False)
        agent = Agent(ROLE_SET, Told())
        assert len(rounds.run(agent._request(view(FIRST), default_rng(0))).programs) == 4
        assert "otsu(channel(image))" in server.requests[-1]["messages"][1]["content"]


def test_pictures_go_only_to_a_model_that_takes_them():
    for sees in (False, True):
        shown: list[object] = []
        with asking(["expert"]) as (client, _, server):
            known = replace(
                material(), pictures=lambda worst, shown=shown: shown.append(worst) or ["data:image/png;base64,AA=="]
            )
            rounds = RoundRunner(ROLE_SET, client, known, registry.operators(), Kind.MASK, sees=sees)
            rounds.run(Agent(ROLE_SET, Told())._request(view(FIRST), default_rng(0)))
            content = server.requests[-1]["messages"][1]["content"]
        assert isinstance(content, list) is sees
        # The two images on which the best program does worst come first, with its answer.
        assert shown == ([] if not sees else [{2: FIRST.pipeline, 0: FIRST.pipeline, 1: FIRST.pipeline}] * len(shown))


def test_stop_ends_a_pause_at_once():
    stop = Event()
    stop.set()
    with asking(["500"]) as (client, _, server):
        client._stop = stop
        client._breaker.pause(60)
        rounds = RoundRunner(ROLE_SET, client, material(), registry.operators(), Kind.MASK, sees=False)
        rounds.run(Agent(ROLE_SET, Told())._request(view(FIRST), default_rng(0)))
        assert not server.requests
