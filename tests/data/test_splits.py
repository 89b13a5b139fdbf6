"""Splits: the sizes of the rule, and what no draw may do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng

from evoseg.base.errors import DatasetError
from evoseg.data.card import DatasetCard
from evoseg.data.dataset import Dataset
from evoseg.data.splits import Splits, draw, n_selection, n_test, near_duplicates, split, split_facts, straddling

STEMS = st.lists(st.text("abcdefgh0123456789_", min_size=1, max_size=6), min_size=1, max_size=60, unique=True)


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, (1, 0, 0)),
        (5, (5, 0, 0)),
        (6, (4, 0, 2)),
        (9, (7, 0, 2)),
        (10, (7, 0, 3)),
        (15, (10, 0, 5)),
        (27, (19, 0, 8)),
        (29, (15, 5, 9)),
        (100, (52, 18, 30)),
    ],
)
def test_sizes_follow_the_rule(n, expected):
    stems = [f"s{i}" for i in range(n)]
    splits = draw(stems, [], stems)
    assert (len(splits.search), len(splits.selection), len(splits.test)) == expected


@given(stems=STEMS, data=st.data())
def test_a_draw_is_a_partition_that_keeps_bonds_and_foreground(stems, data):
    pairs = st.tuples(st.sampled_from(stems), st.sampled_from(stems))
    bonds = data.draw(st.lists(pairs, max_size=20))
    foreground = data.draw(st.sets(st.sampled_from(stems), min_size=1))
    splits = draw(stems, bonds, foreground)
    together = splits.search + splits.selection + splits.test
    assert sorted(together) == sorted(stems)
    assert not straddling(splits, bonds)
    assert foreground & set(splits.search)
    assert len(splits.test) <= max(n_test(len(stems)), len(stems) // 2)


@given(stems=STEMS, data=st.data())
def test_the_draw_depends_on_the_names_alone(stems, data):
    shuffled = data.draw(st.permutations(stems))
    assert draw(stems, [], stems) == draw(shuffled, [], set(stems))


@given(stems=STEMS)
def test_without_bonds_the_sizes_are_exact(stems):
    splits = draw(stems, [], stems)
    assert len(splits.test) == n_test(len(stems))
    assert len(splits.selection) == n_selection(len(stems) - len(splits.test))


def test_foreground_reaches_the_test_where_there_is_enough():
    stems = [f"s{i:02d}" for i in range(20)]
    for a in range(0, 18, 3):
        splits = draw(stems, [], {stems[a], stems[a + 1]})
        assert {stems[a], stems[a + 1]} & set(splits.test) and {stems[a], stems[a + 1]} & set(splits.search)


def test_groups_never_straddle():
    images = [default_rng(i).integers(0, 256, (24, 30), np.uint8) for i in range(24)]
    dataset = Dataset.from_arrays(images, [image > 128 for image in images])
    groups = {stem: f"patient {i // 3}" for i, stem in enumerate(dataset.stems)}
    splits = split_facts(dataset.survey.facts, DatasetCard(groups=groups))
    sides = [{groups[stem] for stem in stems} for stems in vars(splits).values()]
    assert not sides[0] & sides[2] and not sides[1] & sides[2] and not sides[0] & sides[1]
    assert len(splits.test) == 6  # Two patients of three come nearest to 7 without passing it.


def test_one_group_leaves_no_test():
    splits = draw([f"s{i}" for i in range(12)], [("s0", f"s{i}") for i in range(12)], ["s3"])
    assert len(splits.search) == 12 and not splits.test


def test_equal_and_nearly_equal_images_stay_together():
    rng = default_rng(5)
    images = {f"s{i:02d}": rng.integers(0, 256, (64, 80), np.uint8) for i in range(12)}
    images["copy"] = images["s03"]
    images["brighter"] = np.clip(images["s07"] * 0.9 + 20 + rng.normal(0, 2, (64, 80)), 0, 255).astype(np.uint8)
    dataset = Dataset.from_arrays(images, {stem: image > 128 for stem, image in images.items()})
    assert near_duplicates(list(dataset.survey.facts.values())) == [("brighter", "s07"), ("copy", "s03")]
    assert not straddling(split(dataset), [("brighter", "s07"), ("copy", "s03")])


def test_images_under_one_lamp_are_not_taken_for_duplicates():
    row, col = np.mgrid[:60, :80]
    ramp = 20000 + 200 * row + 100 * col - row * col
    images = [(ramp + default_rng(i).normal(0, 9, ramp.shape)).astype(np.uint16) for i in range(6)]
    facts = Dataset.from_arrays(images, [image > 25000 for image in images]).survey.facts
    assert near_duplicates(list(facts.values())) == []


def test_flat_images_are_no_duplicates_unless_they_are_equal():
    images = [np.full((20, 30), i, np.uint8) for i in (0, 7, 7, 200)]
    facts = Dataset.from_arrays(images, [image > 3 for image in images]).survey.facts
    assert near_duplicates(list(facts.values())) == [("001", "002")]


def _facts(n=24, shape=(24, 30)):
    images = [default_rng(i).integers(0, 256, shape, np.uint8) for i in range(n)]
    return Dataset.from_arrays(images, [image > 128 for image in images]).survey.facts


def test_given_splits_are_taken_and_the_rest_is_left_out():
    card = DatasetCard(splits={"train": ("001", "005"), "test": ("002", "003")})
    assert split_facts(_facts(), card) == Splits(("001", "005"), (), ("002", "003"))


def test_a_given_test_alone_leaves_the_rest_to_search_and_selection():
    splits = split_facts(_facts(), DatasetCard(splits={"test": ("002", "003")}))
    assert splits.test == ("002", "003")
    assert (len(splits.search), len(splits.selection)) == (16, 6)


def test_a_given_selection_is_kept():
    card = DatasetCard(splits={"selection": ("004",), "test": ("002",)})
    splits = split_facts(_facts(), card)
    assert splits.selection == ("004",) and len(splits.search) == 22


def test_given_splits_that_part_a_group_are_refused():
    card = DatasetCard(groups={"001": "a", "002": "a"}, splits={"train": ("001",), "test": ("002",)})
    with pytest.raises(DatasetError, match="001 and 002 are of the group a"):
        split_facts(_facts(), card)


def test_a_search_without_foreground_or_images_is_refused():
    with pytest.raises(DatasetError, match="none of the 2 images"):
        draw(["a", "b"], [], [])
    with pytest.raises(DatasetError, match="no image is left"):
        split_facts({}, DatasetCard())
    images = [np.zeros((20, 30), np.uint8), np.full((20, 30), 9, np.uint8)]
    facts = Dataset.from_arrays(images, [image > 3 for image in images]).survey.facts
    with pytest.raises(DatasetError, match="has any foreground"):
        split_facts(facts, DatasetCard(splits={"train": ("000",), "test": ("001",)}))
