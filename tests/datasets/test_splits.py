"""Splits: the sizes of the rule, and what no draw may do."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng

from evoseg.core.errors import DatasetError
from evoseg.datasets.card import DatasetCard
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.imageformat import ImageTraits
from evoseg.datasets.splits import (
    NEAR_DUPLICATE,
    Splits,
    draw,
    halve,
    independent_units,
    n_selection,
    n_test,
    near_duplicates,
    split,
    split_facts,
    straddling,
)
from evoseg.datasets.survey import ImageFacts

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


def _seen(pictures):
    """Return facts of images with these small pictures, some of which may be equal."""
    lengths = np.linalg.norm(pictures, axis=1, keepdims=True)
    units = (pictures / lengths).astype(np.float32)
    look = ImageTraits("uint8", (0, 0.5, 1), gray=True)
    return [
        ImageFacts(f"s{i:05d}", (9, 9), "uint8", 0, 1, {"image": str(i)}, look, unit) for i, unit in enumerate(units)
    ]


def joined(alike):
    """Return how many sets of images hang together, and the number of each image's set."""
    label = np.full(len(alike), -1)
    for start in range(len(alike)):
        if label[start] < 0:
            new = np.arange(len(alike)) == start
            while new.any():
                label[new] = start
                new = alike[new].any(axis=0) & (label < 0)
    return len(np.unique(label)), label


@pytest.mark.parametrize("smooth", [True, False])
@given(seed=st.integers(0, 10**6), n_scenes=st.integers(1, 30), noise=st.floats(0, 0.3))
@settings(max_examples=20, deadline=None)
def test_bonds_join_exactly_what_comparing_every_pair_joins(seed, n_scenes, noise, smooth):
    """Blocks, projections and skipped pairs change nothing; 600 images are more than one block."""
    rng = default_rng(seed)
    scenes = rng.normal(0, 1, (n_scenes, 32, 32))
    if smooth:
        scenes = np.array([cv2.GaussianBlur(scene, (0, 0), 5) for scene in scenes])
    scenes = scenes.reshape(n_scenes, -1) / np.linalg.norm(scenes.reshape(n_scenes, -1), axis=1, keepdims=True)
    chosen = rng.integers(0, n_scenes, 600)
    facts = _seen(scenes[chosen] + rng.normal(0, noise / 32, (600, 1024)))
    pictures = np.stack([fact.thumbnail for fact in facts])
    alike = pictures @ pictures.T >= NEAR_DUPLICATE
    n_joined, label = joined(alike)
    bonds = [(int(a[1:]), int(b[1:])) for a, b in near_duplicates(facts)]
    assert all(alike[a, b] for a, b in bonds) and len(bonds) == 600 - n_joined
    assert all(label[a] == label[b] for a, b in bonds)


def test_thousands_of_equal_tiles_have_one_bond_each():
    facts = _seen(np.tile(default_rng(1).normal(0, 1, (1, 1024)), (5000, 1)))
    assert len(near_duplicates(facts)) == 4999
    splits = split_facts({fact.stem: replace(fact, labelled=True, n_foreground=1) for fact in facts}, DatasetCard())
    assert len(splits.search) == 5000 and not splits.test


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
    # The first of the group is in no split.
    wider = replace(card, groups={"000": "a", **card.groups})
    with pytest.raises(DatasetError, match="001 and 002 are of the group a"):
        split_facts(_facts(), wider)


def test_a_search_without_foreground_or_images_is_refused():
    with pytest.raises(DatasetError, match="none of the 2 search images"):
        draw(["a", "b"], [], [])
    with pytest.raises(DatasetError, match="no image is left"):
        split_facts({}, DatasetCard())
    images = [np.zeros((20, 30), np.uint8), np.full((20, 30), 9, np.uint8)]
    facts = Dataset.from_arrays(images, [image > 3 for image in images]).survey.facts
    with pytest.raises(DatasetError, match="has any foreground"):
        split_facts(facts, DatasetCard(splits={"train": ("000",), "test": ("001",)}))


def test_images_that_are_all_given_as_test_images_are_split_but_not_searched(tmp_path):
    images = [default_rng(i).integers(0, 256, (24, 30), np.uint8) for i in range(4)]
    dataset = Dataset.from_arrays(images, [image > 128 for image in images])
    card = DatasetCard(splits={"test": dataset.stems})
    assert split_facts(dataset.survey.facts, card) == Splits((), (), dataset.stems)
    with pytest.raises(DatasetError, match="no image is left"):
        split_facts({}, DatasetCard(splits={"test": ()}))


def test_a_duplicate_of_an_image_with_strokes_does_not_test_either():
    stems = [f"s{i}" for i in range(12)]
    splits = draw(stems, [("s0", "s1")], stems, strokes={"s0", "s2"})
    assert not {"s0", "s1", "s2"} & {*splits.test, *splits.selection}
    assert len(splits.test) == n_test(12)


def test_halves_keep_groups_together_and_both_have_images():
    rng = default_rng(4)
    images = [rng.integers(0, 255, (20, 24), np.uint8) for _ in range(9)]
    masks = [np.eye(20, 24, dtype=bool)] * 9
    dataset = Dataset.from_arrays([*images, images[0]], [*masks, masks[0]])
    first, second = halve(dataset, dataset.stems)
    assert sorted((*first, *second)) == list(dataset.stems) and len(second) == 5
    assert len({"000", "009"} & {*first}) in (0, 2)  # equal images
    assert halve(dataset, reversed(dataset.stems)) == (first, second)


def test_groups_and_near_duplicates_are_one_unit():
    rng = default_rng(4)
    images = [rng.integers(0, 255, (20, 24), np.uint8) for _ in range(5)]
    masks = [np.eye(20, 24, dtype=bool)] * 6
    dataset = Dataset.from_arrays([*images, images[1]], masks)
    assert independent_units(dataset, dataset.stems).tolist() == [0, 1, 2, 3, 4, 1]
    assert independent_units(dataset, dataset.stems[2:]).tolist() == [0, 1, 2, 3], "of the images that are asked for"
    card = DatasetCard(groups={"004": "rat", "000": "rat", "002": "mouse"})
    grouped = SimpleNamespace(card=card, survey=dataset.survey)
    assert independent_units(grouped, dataset.stems).tolist() == [0, 1, 2, 3, 0, 1]


def test_images_that_are_all_equal_have_no_halves():
    image = np.arange(480, dtype=np.uint8).reshape(20, 24)
    dataset = Dataset.from_arrays([image] * 4, [image > 9] * 4)
    with pytest.raises(DatasetError, match="cannot be divided into two independent halves"):
        halve(dataset, dataset.stems)
    with pytest.raises(DatasetError, match="foreground"):
        halve(Dataset.from_arrays([image] * 4, [image > 255] * 4), ("000", "001"))
