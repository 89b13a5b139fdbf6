"""Advisers of a search: their programs, operators and planes count from the moment they bring them."""

import time

import pytest
from numpy.random import Generator

from evoseg.evolve.advising import AdviserView
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.context import SearchSettings
from evoseg.evolve.finalists import leave_out
from evoseg.evolve.journal import ARRIVAL, EndOfJournal, Heading, RecordedClock
from evoseg.evolve.ports import Evaluation, Scored
from evoseg.evolve.solve import Solution, solve
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.pipeline import Pipeline, read_text
from evoseg.pipeline.structure import origin_shares, structure_of, substructures
from tests.evolve.test_journal import DATASET, SPLITS, Memory

IDEA = read_text("def pipeline(image):\n    return fill_holes(triangle(entropy(plane(image))))")
SETTINGS = SearchSettings(Budget(evaluations=60), workers=0)


class Guest:
    """Draws, looks, and scores some programs before the second generation."""

    name = "guest"

    def __init__(self, *programs: Pipeline) -> None:
        self._programs = list(programs)
        self.views: list[AdviserView] = []
        self.heard: list[Evaluation | None] = []

    def advise(self, view: AdviserView, rng: Generator) -> None:
        rng.random(100)
        view.select(3, rng)
        self.views.append(view)
        if len(self.views) == 2 and self._programs:
            self.heard = view.evaluate(self._programs)
            self.cross_fitted = [view.cross_fit(s) for s in self.heard if isinstance(s, Scored)]


def solved(folder, *advisers: Guest) -> Solution:
    clock = RecordedClock(SETTINGS.budget)
    return solve(DATASET, SPLITS, BinaryTask(), SETTINGS, folder, clock, advisers=advisers)


def history(solution: Solution) -> list[tuple[int, float]]:
    return [(n, score) for n, _, score in solution.progress.history]


def test_a_silent_adviser_changes_nothing(tmp_path):
    without, beside = solved(tmp_path), solved(tmp_path, Guest())
    assert history(beside) == history(without)
    assert [s.pipeline for s in beside.progress.population] == [s.pipeline for s in without.progress.population]
    assert without.progress.origins == {} != beside.progress.origins


def test_an_advisers_program_is_scored_at_once_and_counts(tmp_path):
    guest = Guest(IDEA, IDEA)
    found = solved(tmp_path, guest)
    heard, again = guest.heard
    assert isinstance(heard, Scored) and heard is again
    assert heard.pipeline.form == IDEA.form and heard.proposer == "guest"
    assert found.progress.evaluations == 60
    assert found.progress.origins[substructures(IDEA)[-1]] == "guest"
    assert guest.cross_fitted[0].tolist() == heard.left_out.tolist(), "there is no sum in it to be fitted anew"
    first, second, *_ = guest.views
    assert (first.evaluations, first.evaluations_left) == (0, 60) and not first.best
    assert second.evaluations == 60 - second.evaluations_left > 0 and second.best


def test_held_out_numbers_are_those_that_are_best_on_the_other_images(tmp_path):
    tried = [
        read_text(
            f"def pipeline(image):\n    a = median(sharpen(channel(image), sigma=2, amount={n}), radius=2)\n"
            "    return remove_small(threshold(a), area=9)"
        )
        for n in (0.5, 2, 6)
    ]
    guest = Guest(*tried)
    solved(tmp_path, guest)
    heard = [s for s in guest.heard if isinstance(s, Scored)]
    assert len(heard) == 3 and len({structure_of(s.pipeline) for s in heard}) == 1
    variants = {structure_of(s.pipeline): [(t.robust, t.left_out) for t in heard] for s in heard}
    for scored, found in zip(heard, guest.cross_fitted, strict=True):
        assert found.tolist() == leave_out(scored, variants).tolist()
    assert any(found.tolist() != s.left_out.tolist() for s, found in zip(heard, guest.cross_fitted, strict=True))


def test_a_pause_takes_no_time():
    clock = Clock(Budget(seconds=100.0))
    before = clock.seconds
    with clock.paused():
        time.sleep(0.2)
    assert clock.seconds - before < 0.2


def test_ancestry_is_the_share_of_steps_by_who_brought_their_structure():
    first, second, third, whole = substructures(IDEA)
    assert origin_shares(IDEA, {first: "classic", second: "classic", third: "guest", whole: "guest"}) == {
        "classic": 0.5,
        "guest": 0.5,
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
