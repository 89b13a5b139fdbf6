"""Guests among the proposers: heard when they have something to say, and otherwise as if they were not there."""

import pytest
from numpy.random import Generator

from evoseg.evolve.budget import Budget
from evoseg.evolve.context import SearchSettings
from evoseg.evolve.journal import ARRIVAL, EndOfJournal, Heading, RecordedClock
from evoseg.evolve.ports import Evaluation, Scored, SearchView
from evoseg.evolve.solve import Solution, solve
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.pipeline import Pipeline, read_text
from evoseg.pipeline.structure import origin_shares, substructures
from tests.evolve.test_journal import DATASET, SPLITS, Memory

IDEA = read_text("def pipeline(image):\n    return fill_holes(triangle(entropy(plane(image))))")
SETTINGS = SearchSettings(Budget(evaluations=60), workers=0)


class Guest:
    """Draws, looks, and proposes one program at its second border."""

    name = "external"

    def __init__(self, *programs: Pipeline) -> None:
        self._programs = list(programs)
        self._borders = 0
        self.heard: list[Evaluation] = []

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        rng.random(100)
        view.select(3, rng)
        self._borders += 1
        return self._programs if self._borders == 2 else []

    def learn(self, evaluations: list[Evaluation]) -> None:
        self.heard += evaluations


def solved(folder, *external: Guest) -> Solution:
    clock = RecordedClock(SETTINGS.budget)
    return solve(DATASET, SPLITS, BinaryTask(), SETTINGS, folder, clock, external=external)


def history(solution: Solution) -> list[tuple[int, float]]:
    return [(n, score) for n, _, score in solution.progress.history]


def test_a_silent_guest_changes_nothing(tmp_path):
    without, beside = solved(tmp_path), solved(tmp_path, Guest())
    assert history(beside) == history(without)
    assert [s.pipeline for s in beside.progress.population] == [s.pipeline for s in without.progress.population]
    assert without.progress.origins == {} != beside.progress.origins


def test_a_guests_program_is_scored_and_it_hears_of_it(tmp_path):
    external = Guest(IDEA)
    found = solved(tmp_path, external)
    (heard,) = external.heard
    assert isinstance(heard, Scored) and heard.pipeline.form == IDEA.form and heard.proposer == "external"
    assert found.progress.origins[substructures(IDEA)[-1]] == "external"


def test_ancestry_is_the_share_of_steps_by_who_brought_their_structure():
    first, second, third, whole = substructures(IDEA)
    assert origin_shares(IDEA, {first: "classic", second: "classic", third: "external", whole: "external"}) == {
        "classic": 0.5,
        "external": 0.5,
    }
    assert origin_shares(IDEA, {}) == {"unknown": 1.0}


def clock(journal: Memory, *, extend: bool = True) -> RecordedClock:
    found = RecordedClock(SETTINGS.budget)
    found.follow(journal, extend=extend)
    return found


def test_what_arrives_is_written_down_and_told_again_at_the_same_border():
    journal = Memory()
    live = clock(journal)
    assert [live.external_event(b, lambda b=b: "news" if b == 2 else "") for b in (1, 2, 3)] == ["", "news", ""]
    assert [heading.question for heading, _ in journal.entries] == ["2\nnews"]
    again = clock(Memory(journal.entries))
    assert [again.external_event(b, lambda: "") for b in (1, 2, 3)] == ["", "news", ""]


def test_an_arrival_of_a_later_border_waits_for_it_even_if_nothing_was_evaluated_between():
    told = clock(Memory([(Heading(ARRIVAL, "3\nnews"), [])]))
    assert [told.external_event(b, lambda: "") for b in (1, 2, 3)] == ["", "", "news"]


def test_while_the_journal_lasts_nobody_is_asked():
    told = clock(Memory([(Heading("search.evaluate", "digest"), [])]))
    assert told.external_event(1, lambda: pytest.fail("asked")) == ""


def test_a_replay_that_is_told_all_asks_nobody():
    told = clock(Memory(), extend=False)
    assert told.external_event(1, lambda: pytest.fail("asked")) == ""
    with pytest.raises(EndOfJournal):
        told.reason(1, 0.5)


def test_without_a_journal_what_is_there_comes_at_once():
    assert RecordedClock(SETTINGS.budget).external_event(1, lambda: "news") == "news"
