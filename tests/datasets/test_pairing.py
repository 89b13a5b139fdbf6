"""Masks pair with images by one constant rule, or not at all."""

import re
from string import ascii_lowercase

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evoseg.datasets.pairing import pair_by_mask_word, pair_names, why_not


def series(pattern, n=12, width=0):
    """Return names with the numbers from 1 to n."""
    return [pattern.format(f"{i:0{width}d}") for i in range(1, n + 1)]


@pytest.mark.parametrize(
    ("masks", "images", "said"),
    [
        (series("img_{}_mask", 12, 3), series("img_{}", 12, 3), "masks are called NAME_mask"),
        (series("mask_{}"), series("img_{}"), "images are called img_NAME, masks mask_NAME"),
        (series("{}_manual1"), series("{}_training"), "images are called NAME_training, masks NAME_manual1"),
        (series("label_{}"), series("{}"), "masks are called label_NAME"),
        (series("case{}"), series("case{}_0000"), "images are called NAME_0000, masks NAME"),
        (series("{}"), series("{}", 12, 3), "masks are named like their images; numbers with and without leading"),
        (series("img_{}"), series("IMG_{}"), "masks are named like their images; upper and lower case"),
        (series("MASK_{}"), series("img_{}", 12, 4), "images are called img_NAME, masks MASK_NAME; numbers with"),
        (series("img{}_Mask"), series("IMG{}", 12, 4), "masks are called NAME_mask; upper and lower case, and numbers"),
        (series("maskA{}"), series("A{}"), "masks are called maskNAME"),
        (series("{}.jpg"), series("{}"), "masks are called NAME.jpg"),
        (series("{}-seg", 3), series("{}", 40), "masks are called NAME-seg"),
        (series("mask_{}", 1), series("img_{}", 40), "images are called img_NAME, masks mask_NAME"),
        (["p1_1_mask", "p1_2_mask"], ["p1_1", "p1_2", "p2_1", "p2_2"], "masks are called NAME_mask"),
        (["1_1_mask", "2_1_mask"], ["1", "2", "1_1", "2_1"], "masks are called NAME_mask"),
    ],
)
def test_one_rule_for_all_names_pairs_and_is_said(masks, images, said):
    found = pair_names(masks, images)
    assert found.rule.said().startswith(said)
    assert list(found.image_of) == masks and len({*found.image_of.values()}) == len(masks)
    for mask, image in found.image_of.items():
        assert [int(n) for n in re.findall(r"\d+", image)][:1] == [int(n) for n in re.findall(r"\d+", mask)][:1]


@pytest.mark.parametrize(
    ("masks", "images"),
    [
        (["11"], ["1"]),
        (["a10"], ["a1"]),
        (["1"], ["1_1", "1_2"]),
        (series("B{}"), series("A{}")),
        (series("well_B{}"), series("well_A{}")),
        (series("well_B{}_mask"), series("well_A{}")),
        (series("plate2_img_{}"), series("plate1_img_{}")),
        (series("day2_mask_{}"), series("day1_img_{}")),
        (series("treated_{}"), series("control_{}")),
        (series("treated_{}_mask"), series("control_{}")),
        (series("1_{}"), series("{}_1")),
        (series("5_{}", 3), series("{}", 10)),
        (["17_8"], ["7", "8", "9"]),
        (["scan_3_mask"], series("plate_{}")),
        (series("{}_1stHO") + series("{}_2ndHO"), series("{}")),
        ([*series("{}_mask"), "odd"], series("{}", 20)),
        (series("{}_mask", 3), [*series("img_{}"), "other"]),
        (["a_b_a"], ["a_b", "b_a"]),
        (["1", "01"], ["001", "0001", "2"]),
        (["a_mask", "A_mask"], ["a", "b", "c"]),
    ],
)
def test_what_may_be_an_accident_is_not_paired(masks, images):
    assert pair_names(masks, images).image_of == {}


def test_equal_names_pair_without_a_rule_whatever_else_would_do():
    assert pair_names(["1_1", "2_1"], ["1", "1_1", "2", "2_1"]).image_of == {"1_1": "1_1", "2_1": "2_1"}
    assert pair_names(["1_1"], ["1", "1_1"]).rule is None


KEYS = st.lists(st.integers(0, 3000), min_size=2, max_size=12, unique=True)
WORDS = st.sampled_from(["", "x_", "mask_", "img_", "slide 3 ", "IMG-", "plate_7_"])


@given(KEYS, WORDS, WORDS, st.sampled_from(["", "_mask", "-gt", "_label"]), st.integers(0, 6), st.data())
def test_numbers_are_never_exchanged(numbers, before, start, end, width, data):
    """Whatever is found, the number in the middle of a mask's name is that of its image."""
    some = data.draw(st.lists(st.sampled_from(numbers), min_size=1, unique=True))
    images = {f"{before}{n:0{width}d}": n for n in numbers}
    masks = {f"{start}{n}{end}": n for n in some}
    for mask, image in pair_names(list(masks), list(images)).image_of.items():
        assert masks[mask] == images[image]


NAMES = st.lists(st.text("ab1_-", min_size=1, max_size=5), min_size=1, max_size=6, unique=True)


@given(NAMES, NAMES)
def test_any_names_pair_one_to_one_or_not_at_all(masks, images):
    found = pair_names(masks, images)
    if found.image_of:
        assert [*found.image_of] == masks and len({*found.image_of.values()}) == len(masks)
        assert {*found.image_of.values()} <= {*images}
    else:
        assert why_not(masks, images)


@given(NAMES, st.data())
def test_the_order_of_names_does_not_matter(masks, data):
    images = data.draw(NAMES)
    found = pair_names(masks, images).image_of
    assert pair_names(data.draw(st.permutations(masks)), data.draw(st.permutations(images))).image_of == found


@given(st.lists(st.text(ascii_lowercase, min_size=1, max_size=6), min_size=3, max_size=9, unique=True))
def test_a_suffix_is_found_for_any_words(words):
    assume(not {"mask", "masks"} & {*words})
    assert pair_names([f"{word}_mask" for word in words], words).image_of == {f"{word}_mask": word for word in words}


def test_ten_thousand_names_pair_and_ten_thousand_strange_ones_are_described():
    images = series("img_{}", 10_000)
    assert len(pair_names(series("mask_{}", 10_000), images).image_of) == 10_000
    strange = [f"{i:x}q" for i in range(10_000)]
    assert pair_names(strange, images).image_of == {}
    assert why_not(strange, images).startswith("masks are called 0q, 1q, 2q ..., images img_1")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (series("a{}") + series("a{}_mask"), "masks are called NAME_mask"),
        (series("img_{}") + series("mask_{}", 5), "images are called img_NAME, masks mask_NAME"),
        (series("ROI_{}") + series("ROI_{}_mask"), "masks are called NAME_mask"),
        (series("{}_training") + series("{}_manual1"), "images are called NAME_training, masks NAME_manual1"),
        (series("train_{}") + series("train_{}_anno"), "masks are called NAME_anno"),
        (series("{}") + series("{} label"), "masks are called NAME label"),
    ],
)
def test_masks_among_images_are_told_by_their_word(names, said):
    assert pair_by_mask_word(names).rule.said() == said


@pytest.mark.parametrize(
    "names",
    [
        series("mask_{}"),
        series("a{}"),
        series("{}") + series("{}-seg") + series("{}_mask"),
        series("a{}") + series("a{}_cells"),
        series("a{}") + series("b{}_mask"),
        [],
    ],
)
def test_where_no_word_or_two_words_would_do_nothing_is_told_apart(names):
    assert pair_by_mask_word(names).image_of == {}


def test_why_not_names_the_patterns_and_the_exceptions():
    said = why_not([*series("img_{}_mask", 9), "odd"], series("img_{}"))
    assert said == "of 10 masks, 9 are called NAME_mask, and 1 fit no image (odd)"
    assert "12 are called NAME_1stHO, 12 are called NAME_2ndHO" in why_not(
        series("{}_1stHO") + series("{}_2ndHO"), series("{}")
    )
