"""Candidates and their ancestry in a run's database."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine, text

from evoseg.evolve.journal import Heading
from evoseg.evolve.loop import Candidate
from evoseg.evolve.ports import Failed, Pruned, Scored
from evoseg.pipeline import Pipeline
from evoseg.runs.database import StoreError
from evoseg.runs.lineage import StoredCandidate, main_line, read_candidates, trace_ancestry
from evoseg.runs.run_file import DATABASE, SEARCH, create_run, open_journal
from tests.evolve.helpers import marking
from tests.runs.test_run_file import RUN


@pytest.fixture
def folder(tmp_path) -> Path:
    create_run(tmp_path, RUN)
    return tmp_path


def scored(pipeline: Pipeline, score: float, jittered: float | None = None) -> Scored:
    copies = None if jittered is None else np.array([jittered, np.nan])
    return Scored(pipeline, np.zeros((2, 4)), np.full(2, score), np.full(2, score / 2), jittered=copies)


def candidate(
    evaluation, proposer="vary", parents=(), generation=1, evaluations=1, request=None, stage=""
) -> Candidate:
    return Candidate(evaluation, proposer, tuple(parents), request, generation, evaluations, stage, 1.5)


FIRST, SECOND, THIRD = marking(1), marking(2), marking(3)


def test_candidates_come_back_with_the_numbers_of_their_parents(folder):
    with open_journal(folder, write=True) as journal:
        journal.add_candidates(
            [
                candidate(scored(FIRST, 0.5, jittered=0.25), "classic"),
                candidate(Pruned(SECOND, 0.125), "random", evaluations=1),
            ]
        )
        journal.add_candidates([candidate(Failed(THIRD, "no"), "agent", [FIRST.form, "unknown"], 2, 2, request=7)])
    one, two, three = read_candidates(folder)
    assert (one.number, one.parents, one.outcome, one.score) == (1, (), "scored", 0.5)
    assert (one.left_out, one.jittered, one.pipeline) == (0.25, 0.25, FIRST)
    assert (two.outcome, two.score, two.left_out) == ("pruned", 0.125, None)
    assert (three.parents, three.request, three.outcome, three.reason, three.score) == ((1,), 7, "failed", "no", None)
    assert (three.generation, three.evaluations, three.seconds, three.digest) == (2, 2, 1.5, THIRD.digest)


def test_a_resumed_search_replaces_what_an_interrupted_generation_left(folder):
    first, cut = [candidate(scored(FIRST, 0.5))], [candidate(scored(SECOND, 0.6)), candidate(scored(THIRD, 0.7))]
    with open_journal(folder, write=True) as journal:
        journal.add(Heading(SEARCH, "q"), [])
        journal.add_candidates(first)
        journal.add_candidates(cut)  # of a generation that the journal says nothing of
    with open_journal(folder, write=True) as journal:
        journal.next_entry([])
        journal.add_candidates(first)
        journal.add_candidates([candidate(scored(THIRD, 0.8))])
        journal.flush()
        journal.add_candidates([candidate(scored(SECOND, 0.9))])
    assert [one.score for one in read_candidates(folder)] == [0.5, 0.8, 0.9]


def test_a_search_that_is_killed_while_it_catches_up_loses_nothing(folder):
    generations = [[candidate(scored(FIRST, 0.5))], [candidate(scored(SECOND, 0.6))]]
    with open_journal(folder, write=True) as journal:
        for candidates in generations:
            journal.add(Heading(SEARCH, "q"), [])
            journal.add_candidates(candidates)
    before = read_candidates(folder)
    with open_journal(folder, write=True) as journal:
        journal.next_entry([])
        journal.add_candidates(generations[0])
    assert read_candidates(folder) == before


def run_sql(folder: Path, statement: str) -> None:
    engine = create_engine(f"sqlite:///{folder / DATABASE}")
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_an_early_run_says_that_its_lineage_was_not_recorded(folder):
    run_sql(folder, "DROP TABLE candidate")
    with pytest.raises(StoreError, match="early version"):
        read_candidates(folder)
    with open_journal(folder, write=True) as journal:  # resuming it records everything
        journal.add_candidates([candidate(scored(FIRST, 0.5))])
    assert len(read_candidates(folder)) == 1


@pytest.mark.parametrize("change", ["parents = '9'", "parents = 'x'", "score = 'high'"])
def test_damage_is_noticed(folder, change):
    with open_journal(folder, write=True) as journal:
        journal.add_candidates([candidate(scored(FIRST, 0.5))])
    run_sql(folder, f"UPDATE candidate SET {change}")
    with pytest.raises(StoreError, match="damaged"):
        read_candidates(folder)


def stored(number: int, score: float, *parents: int, stage: str = "") -> StoredCandidate:
    text = "program"
    return StoredCandidate(
        number, 1, number, 0.0, stage, "vary", parents, None, "scored", score, score, None, "", "d", 1, 1.0, text
    )


LINEAGE = [
    stored(1, 0.40),
    stored(2, 0.30),
    stored(3, 0.50, 1),  # +0.10
    stored(4, 0.502, 3),  # too little
    stored(5, 0.45, 2),  # +0.15
    stored(6, 0.60, 4, 5),  # +0.10 over 3
    stored(7, 0.90),  # no ancestor
    stored(8, 0.59, 6),
]


def test_only_turning_points_and_origins_are_shown():
    nodes = trace_ancestry(LINEAGE, LINEAGE[5])
    assert list(nodes) == [1, 2, 3, 5, 6]
    assert nodes[6].parents == (3, 5) and nodes[6].n_between == 1
    assert nodes[6].gain == pytest.approx(0.1) and nodes[1].gain is None
    assert [node.candidate.number for node in main_line(nodes, LINEAGE[5])] == [1, 3, 6]


def test_every_ancestor_is_shown_on_demand():
    nodes = trace_ancestry(LINEAGE, LINEAGE[5], everything=True)
    assert list(nodes) == [1, 2, 3, 4, 5, 6] and nodes[6].parents == (4, 5)
    assert nodes[6].gain == pytest.approx(0.098) and nodes[6].n_between == 0


def test_the_candidate_itself_is_shown_even_if_it_scores_lower_than_its_parents():
    nodes = trace_ancestry(LINEAGE, LINEAGE[7])
    assert nodes[8].gain == pytest.approx(-0.01)


def test_a_mask_is_no_bar_for_the_objects_that_were_made_from_it():
    lineage = [stored(1, 0.9, stage="foreground"), stored(2, 0.4, 1)]
    nodes = trace_ancestry(lineage, lineage[1])
    assert list(nodes) == [1, 2] and nodes[2].parents == (1,) and nodes[2].gain is None


def test_a_candidate_without_parents_is_its_own_line():
    (node,) = main_line(trace_ancestry(LINEAGE, LINEAGE[6]), LINEAGE[6])
    assert node.candidate == replace(LINEAGE[6])
