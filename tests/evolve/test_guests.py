"""Guests among the proposers: heard when they have something to say, and otherwise as if they were not there."""

import pytest
from numpy.random import Generator

from evoseg.evolve.binary import BinaryTask
from evoseg.evolve.budget import Budget
from evoseg.evolve.journal import ARRIVAL, EndOfJournal, Heading, RecordedClock
from evoseg.evolve.ports import Scored, SearchView, Verdict
from evoseg.evolve.skeletons import ancestry, structures
from evoseg.evolve.solve import SearchSettings, Solution, solve
from evoseg.pipeline import Pipeline, read_text
from tests.evolve.test_journal import DATASET, SPLITS, Memory

IDEA = read_text("def pipeline(image):\n    return fill_holes(triangle(entropy(plane(image))))")
SETTINGS = SearchSettings(Budget(evaluations=60), workers=0)


class Guest:
    """Draws, looks, and proposes one program at its second border."""

    name = "guest"

    def __init__(self, *programs: Pipeline) -> None:
        self._programs = list(programs)
        self._borders = 0
        self.heard: list[Verdict] = []

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        rng.random(100)
        view.select(3, rng)
        self._borders += 1
        return self._programs if self._borders == 2 else []

    def learn(self, verdicts: list[Verdict]) -> None:
        self.heard += verdicts


def solved(folder, *guests: Guest) -> Solution:
    clock = RecordedClock(SETTINGS.budget)
    return solve(DATASET, SPLITS, BinaryTask(), SETTINGS, folder, clock, guests=guests)


def history(solution: Solution) -> list[tuple[int, float]]:
    return [(n, score) for n, _, score in solution.progress.history]


def test_a_silent_guest_changes_nothing(tmp_path):
    without, beside = solved(tmp_path), solved(tmp_path, Guest())
    assert history(beside) == history(without)
    assert [s.pipeline for s in beside.progress.population] == [s.pipeline for s in without.progress.population]
    assert without.progress.origins == {} != beside.progress.origins


def test_a_guests_program_is_scored_and_it_hears_of_it(tmp_path):
    guest = Guest(IDEA)
    found = solved(tmp_path, guest)
    (heard,) = guest.heard
    assert isinstance(heard, Scored) and heard.pipeline.form == IDEA.form and heard.proposer == "guest"
    assert found.progress.origins[structures(IDEA)[-1]] == "guest"


def test_ancestry_is_the_share_of_steps_by_who_brought_their_structure():
    first, second, third, whole = structures(IDEA)
    assert ancestry(IDEA, {first: "classic", second: "classic", third: "guest", whole: "guest"}) == {
        "classic": 0.5,
        "guest": 0.5,
    }
    assert ancestry(IDEA, {}) == {"unknown": 1.0}


def clock(journal: Memory, *, extend: bool = True) -> RecordedClock:
    found = RecordedClock(SETTINGS.budget)
    found.follow(journal, extend=extend)
    return found


def test_what_arrives_is_written_down_and_told_again_at_the_same_border():
    journal = Memory()
    live = clock(journal)
    assert [live.arrival(b, lambda b=b: "news" if b == 2 else "") for b in (1, 2, 3)] == ["", "news", ""]
    assert [heading.question for heading, _ in journal.entries] == ["2\nnews"]
    again = clock(Memory(journal.entries))
    assert [again.arrival(b, lambda: "") for b in (1, 2, 3)] == ["", "news", ""]


def test_an_arrival_of_a_later_border_waits_for_it_even_if_nothing_was_evaluated_between():
    told = clock(Memory([(Heading(ARRIVAL, "3\nnews"), [])]))
    assert [told.arrival(b, lambda: "") for b in (1, 2, 3)] == ["", "", "news"]


def test_while_the_journal_lasts_nobody_is_asked():
    told = clock(Memory([(Heading("search.evaluate", "digest"), [])]))
    assert told.arrival(1, lambda: pytest.fail("asked")) == ""


def test_a_replay_that_is_told_all_asks_nobody():
    told = clock(Memory(), extend=False)
    assert told.arrival(1, lambda: pytest.fail("asked")) == ""
    with pytest.raises(EndOfJournal):
        told.reason(1, 0.5)


def test_without_a_journal_what_is_there_comes_at_once():
    assert RecordedClock(SETTINGS.budget).arrival(1, lambda: "news") == "news"
