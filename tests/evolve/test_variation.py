"""Variation gives pipelines again, of the same kind, and each kind of change changes something."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.errors import PipelineError
from evoseg.core.kinds import Kind
from evoseg.evolve.ports import Scored, SearchView
from evoseg.evolve.proposers.random_programs import make_vocabulary
from evoseg.evolve.proposers.variation import CHANGES, MAX_LENGTH, SHARES, RandomPrograms, Variation, move_numbers
from evoseg.operators import registry
from evoseg.operators.parameters import Numbers, Range
from evoseg.pipeline import IMAGE, Pipeline, print_text, read_text
from evoseg.pipeline.value import step
from tests.evolve.helpers import discs, no_probe, stats_of

STATS = stats_of(discs(1))
WORDS = make_vocabulary(STATS)


def parents(n: int, seed: int = 5) -> list[Pipeline]:
    rng = default_rng(seed)
    return [WORDS.grow(rng, Kind.MASK, int(rng.integers(2, 7))) for _ in range(n)]


def view(pipelines: list[Pipeline]) -> SearchView:
    one = np.ones(1)
    population = [Scored(p, one[:, None], one, one) for p in pipelines]
    return SearchView(
        population,
        population,
        lambda n, rng: [population[i] for i in rng.integers(len(pipelines), size=n)],
        STATS,
        no_probe,
    )


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__.strip("_"))
def test_a_change_gives_another_valid_program_of_the_same_kind(change):
    rng = default_rng(12)
    changed = refused = 0
    for first, second in zip(parents(150), parents(150, seed=6), strict=True):
        try:
            child = change(first, second, WORDS, rng)
        except PipelineError:
            refused += 1  # as where nothing can be left out
            continue
        assert child.output is Kind.MASK
        assert read_text(print_text(child)) == child.settled()
        changed += child != first
    assert changed > 75
    assert refused < 75


def test_an_operator_that_joins_later_is_drawn():
    words, retired = make_vocabulary(STATS), registry.get("entropy")
    for _ in range(2):
        words.add(retired)
    assert [op.name for op in words.operators].count("entropy") == 1
    drawn = {words.draw_operator(default_rng(i), Kind.GRAY, (Kind.GRAY,)).name for i in range(300)}
    assert "entropy" in drawn


def test_shares_are_a_distribution_over_the_changes():
    assert len(SHARES) == len(CHANGES)
    assert SHARES.sum() == pytest.approx(1)
    assert (SHARES > 0).all()


def test_children_are_valid_new_and_never_too_long():
    pipelines = parents(20)
    children = Variation(WORDS).ready(view(pipelines), 300, default_rng(1))
    assert len(children) == 300
    for child in children:
        assert child.output is Kind.MASK
        assert read_text(print_text(child)) == child.settled()
        assert len(child) <= max(MAX_LENGTH, *map(len, pipelines))
    assert sum(child not in pipelines for child in children) > 270
    assert len(set(children)) > 250


def test_long_parents_do_not_grow_on():
    chain = Pipeline(
        [
            step("channel", IMAGE),
            *(step("gaussian", i, sigma=1 + i / 10) for i in range(MAX_LENGTH - 2)),
            step("otsu", MAX_LENGTH - 2),
        ]
    )
    assert len(chain) == MAX_LENGTH
    assert all(len(child) <= MAX_LENGTH for child in Variation(WORDS).ready(view([chain]), 100, default_rng(1)))


def test_children_depend_on_the_stream_only():
    first, second = (Variation(WORDS).ready(view(parents(20)), 40, default_rng(9)) for _ in range(2))
    assert first == second


def test_children_descend_from_their_parents():
    looked = view(parents(20))
    told: list[tuple[Pipeline, list[Pipeline]]] = []
    looked = replace(looked, descend=lambda child, parents: told.append((child, list(parents))))
    children = Variation(WORDS).ready(looked, 60, default_rng(9))
    assert [child for child, _ in told] == children == Variation(WORDS).ready(view(parents(20)), 60, default_rng(9))
    known = {s.pipeline for s in looked.population}
    assert all(set(named) <= known for _, named in told)
    assert {len(named) for _, named in told} == {1, 2}


def test_without_parents_there_are_no_children():
    assert Variation(WORDS).ready(SearchView([], [], lambda n, rng: [], STATS, no_probe), 10, default_rng(0)) == []


def test_the_numbers_of_every_operator_can_be_moved_and_stay_in_their_ranges():
    for op in registry.operators(retired=True):
        check_moves(op)


def check_moves(op):
    steps = [step("channel", IMAGE), step("otsu", 0), step("components", 1)]
    places = {Kind.RAW: IMAGE, Kind.GRAY: 0, Kind.MASK: 1, Kind.LABELS: 2}
    start = Pipeline([*steps, step(op.name, *(places[k] for k in op.inputs))])
    alone = [p for p in op.parameters if not p.fitted]
    rng = default_rng(3)
    moved = {move_numbers(start, WORDS, rng) for _ in range(120)}
    assert all(len(m) <= len(start) for m in moved), op.name
    # A channel can only become another channel, of which there is one here.
    if any(isinstance(p.domain, Range | Numbers) and p.name != "index" for p in alone):
        assert len({m.steps[-1].params for m in moved if m.steps[-1].operator == op.name}) > 3, op.name


def test_fitted_numbers_are_left_to_the_evaluator():
    start = Pipeline([step("channel", IMAGE, index=0), step("threshold", 0, level=77, polarity="dark")])
    rng = default_rng(3)
    assert all(move_numbers(start, WORDS, rng).steps[-1].params == (77, "dark") for _ in range(50))


def test_operators_outside_the_vocabulary_do_no_harm():
    # As in a program that the user brought: the search may use other operators than it.
    few = type(WORDS)(tuple(op for op in WORDS.operators if op.name in ("channel", "gaussian", "threshold")), STATS)
    rich = parents(30)
    children = Variation(few).ready(view(rich), 200, default_rng(4))
    assert len(children) == 200


def test_newcomers_are_many_until_the_population_is_open_and_then_a_trickle():
    newcomers = RandomPrograms(WORDS, Kind.MASK, opening=20)
    rng, small, large = default_rng(2), view(parents(3)), view(parents(20))
    assert [len(newcomers.ready(small, n, rng)) for n in (24, 7, 0)] == [24, 7, 0]
    assert [len(newcomers.ready(large, n, rng)) for n in (24, 1, 0)] == [2, 1, 0]
