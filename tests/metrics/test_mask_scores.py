"""Scores are pinned to values worked out by hand, and to other definitions of the same thing."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.random import default_rng

from evoseg.core.errors import SettingsError
from evoseg.metrics import METRICS, find_metric
from evoseg.metrics.mask_scores import MASK_METRICS, TOLERANCE_PX
from evoseg.runs.options import BINARY_METRICS, option_fields, write_help

NAMES = sorted(MASK_METRICS)
ASYMMETRIC = {"f_beta", "buffered_iou"}
"""They tell misses from false alarms, or count hits on the answer's side: swapping the masks changes the score."""
SIGNED = {"mcc"}
"""They range from -1 to 1, the others from 0 to 1."""
PIXELWISE = [name for name in NAMES if MASK_METRICS[name].pixelwise]


def test_the_help_of_a_search_names_every_metric():
    assert tuple(MASK_METRICS) == BINARY_METRICS
    help = write_help(option_fields()["metric"])
    assert all(name in help for metrics in METRICS.values() for name in metrics)


def score(name: str, answer: np.ndarray, truth: np.ndarray, known: np.ndarray | None = None) -> float:
    return float(MASK_METRICS[name].score(MASK_METRICS[name].measure(answer, truth, known)))


def drawn(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


def square(row: int, col: int, side: int = 7, shape: tuple[int, int] = (20, 30)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[row : row + side, col : col + side] = True
    return mask


@st.composite
def mask_pairs(draw: st.DrawFn, n: int = 2) -> list[np.ndarray]:
    """Draw n masks of one shape: noise of any density, blobs, empty and full ones."""
    shape = draw(st.integers(1, 13)), draw(st.integers(1, 17))
    rng = default_rng(draw(st.integers(0, 2**32)))
    masks = []
    for _ in range(n):
        density = draw(st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]))
        mask = rng.random(shape) < density
        if draw(st.booleans()):
            top, left = rng.integers(0, shape[0]), rng.integers(0, shape[1])
            mask = np.zeros(shape, bool)
            mask[top : top + 6, left : left + 7] = True
        masks.append(mask)
    return masks


# 3 hits, 1 false alarm, 2 misses, 9 correct rejections; non-square on purpose.
ANSWER = drawn("##...", "##...", ".....")
TRUTH = drawn("##...", "#.##.", ".....")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iou", 3 / 6),
        ("dice", 6 / 9),
        ("f_beta", 15 / 24),  # 5 * 3 / (5 * 3 + 4 * 2 + 1)
        ("mcc", 25 / 2200**0.5),  # (3 * 9 - 1 * 2) / sqrt(4 * 5 * 10 * 11)
    ],
)
def test_pixelwise_scores_by_hand(name, value):
    assert MASK_METRICS[name].measure(ANSWER, TRUTH, None).tolist() == [3, 1, 2, 9]
    assert score(name, ANSWER, TRUTH) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(("name", "value"), [("iou", 2 / 4), ("dice", 4 / 6), ("f_beta", 10 / 15), ("mcc", 11 / 21)])
def test_pixelwise_scores_by_hand_on_known_pixels(name, value):
    known = drawn(".####", "##.##", "##...")
    # tp (0, 1) (1, 0), fp (1, 1), fn (1, 3), tn the 6 others.
    assert MASK_METRICS[name].measure(ANSWER, TRUTH, known).tolist() == [2, 1, 1, 6]
    assert score(name, ANSWER, TRUTH, known) == pytest.approx(value, abs=1e-12)


SHIFTED = {
    # A 7 x 7 square has a border of 24 pixels. Moved by 3 columns, rows 6 and 12 keep 6 of 7 each, the near side
    # 4 of its 5 further pixels, the far side none: 16 of 24 both ways.
    "boundary_f": {0: 1.0, 1: 1.0, 2: 1.0, 3: 16 / 24},
    # Of 49 pixels, all within 2 columns count as right; moved by 3, one column of 7 does not: 42 / (49 + 49 - 42).
    "buffered_iou": {0: 1.0, 1: 1.0, 2: 1.0, 3: 42 / 56},
    "iou": {0: 1.0, 1: 42 / 56, 2: 35 / 63, 3: 28 / 70},
}


@pytest.mark.parametrize(
    ("name", "by", "value"), [(n, by, v) for n, values in SHIFTED.items() for by, v in values.items()]
)
def test_a_shifted_square_by_hand(name, by, value):
    truth = square(6, 10)
    for answer in (square(6, 10 + by), square(6, 10 - by), square(6 + by, 10), square(6 - by, 10)):
        assert score(name, answer, truth) == pytest.approx(value, abs=1e-12)
        assert score(name, truth, answer) == pytest.approx(value, abs=1e-12)


def test_the_tolerance_is_euclidean():
    # (1, 1) and (2, 0) are within 2 px, (2, 1) is sqrt(5) away.
    for row, col, value in [(1, 1, 1.0), (2, 0, 1.0), (2, 1, 0.0)]:
        assert score("boundary_f", square(6 + row, 10 + col, side=1), square(6, 10, side=1)) == value
        assert score("buffered_iou", square(6 + row, 10 + col, side=1), square(6, 10, side=1)) == value


def test_the_inside_of_an_object_is_not_its_boundary():
    ring = square(6, 10) & ~square(7, 11, side=5)
    assert MASK_METRICS["boundary_f"].measure(square(6, 10), ring, None).tolist()[1] == 24


def test_an_object_cut_by_the_frame_has_no_boundary_there():
    half = np.zeros((9, 14), bool)
    half[:, :5] = True
    assert MASK_METRICS["boundary_f"].measure(half, half, None).tolist() == [9, 9, 9, 9]


@pytest.mark.parametrize("name", NAMES)
def test_empty_and_full_masks(name):
    nothing, everything = np.zeros((7, 11), bool), np.ones((7, 11), bool)
    assert score(name, nothing, nothing) == 1.0
    assert score(name, everything, everything) == 1.0
    assert score(name, everything, nothing) <= 0.0
    assert score(name, nothing, everything) <= 0.0


@pytest.mark.parametrize("name", NAMES)
def test_disjoint_objects_score_nothing(name):
    assert score(name, square(1, 1), square(12, 20)) <= 0.0


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_answer_to_an_object_scores_nothing(name):
    assert score(name, np.zeros((20, 30), bool), square(6, 10)) == 0.0
    assert score(name, square(6, 10), np.zeros((20, 30), bool)) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_without_known_pixels_there_is_nothing_to_get_wrong(name):
    assert score(name, square(1, 1), square(12, 20), np.zeros((20, 30), bool)) == 1.0


def test_mcc_of_an_inverted_answer_is_minus_one():
    assert score("mcc", ~TRUTH, TRUTH) == pytest.approx(-1.0)


def test_mcc_of_a_constant_answer_is_zero():
    assert score("mcc", np.ones_like(TRUTH), TRUTH) == 0.0
    assert score("mcc", np.zeros_like(TRUTH), TRUTH) == 0.0


@pytest.mark.parametrize("name", NAMES)
@given(pair=mask_pairs())
def test_scores_lie_within_their_range_and_only_a_perfect_answer_need_be_perfect(name, pair):
    answer, truth = pair
    assert (-1.0 if name in SIGNED else 0.0) <= score(name, answer, truth) <= 1.0 + 1e-12
    assert score(name, truth, truth) == pytest.approx(1.0)
    if MASK_METRICS[name].pixelwise and (answer != truth).any():
        assert score(name, answer, truth) < 1.0


@pytest.mark.parametrize("name", sorted({*NAMES} - ASYMMETRIC))
@given(pair=mask_pairs())
def test_answer_and_truth_may_be_swapped(name, pair):
    assert score(name, *pair) == pytest.approx(score(name, *pair[::-1]))


@given(mask_pairs())
def test_f_beta_punishes_misses_more_than_false_alarms(pair):
    small, large = pair[0] & pair[1], pair[0] | pair[1]
    assume(small.any() and (small != large).any())
    assert score("f_beta", large, small) > score("f_beta", small, large)


@pytest.mark.parametrize("name", NAMES)
@given(masks=mask_pairs(4))
def test_pixels_outside_known_count_nowhere(name, masks):
    answer, truth, known, noise = masks
    other = np.where(known, answer, noise), np.where(known, truth, ~noise)
    assert (
        MASK_METRICS[name].measure(*other, known).tolist() == MASK_METRICS[name].measure(answer, truth, known).tolist()
    )


@pytest.mark.parametrize("name", NAMES)
@given(pair=mask_pairs())
def test_all_known_is_the_same_as_no_known_mask(name, pair):
    known = np.ones_like(pair[0])
    assert MASK_METRICS[name].measure(*pair, known).tolist() == MASK_METRICS[name].measure(*pair, None).tolist()


@pytest.mark.parametrize("name", PIXELWISE)
@given(masks=mask_pairs(3), cut=st.integers(0, 13))
def test_counts_of_image_halves_add_up(name, masks, cut):
    measure = MASK_METRICS[name].measure
    whole = measure(*masks)
    parts = (
        measure(*(m[:cut] for m in masks)) + measure(*(m[cut:] for m in masks)) if 0 < cut < len(masks[0]) else whole
    )
    assert parts.tolist() == whole.tolist()
    assert whole.sum() == masks[2].sum()


@pytest.mark.parametrize("name", NAMES)
@given(pair=mask_pairs())
def test_axes_are_treated_alike(name, pair):
    assert score(name, *(m.T for m in pair)) == pytest.approx(score(name, *pair))
    assert score(name, *(m[::-1, ::-1] for m in pair)) == pytest.approx(score(name, *pair))


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_left_as_they_were(name):
    arrays = [square(1, 1), square(3, 3), square(0, 0, side=15)]
    for array in arrays:
        array.flags.writeable = False
    MASK_METRICS[name].measure(*arrays)


@pytest.mark.parametrize("name", NAMES)
def test_many_counts_are_scored_at_once(name):
    rng = default_rng(3)
    masks = [(rng.random((9, 12)) < d, rng.random((9, 12)) < 0.4) for d in (0.0, 0.2, 0.5, 1.0)]
    counts = np.stack([MASK_METRICS[name].measure(*pair, None) for pair in masks]).reshape(2, 2, 4)
    assert MASK_METRICS[name].score(counts).reshape(-1).tolist() == [score(name, *pair) for pair in masks]


@given(mask_pairs())
def test_mcc_is_the_correlation_of_the_masks(pair):
    answer, truth = pair
    assume(0 < answer.mean() < 1 and 0 < truth.mean() < 1)
    assert score("mcc", answer, truth) == pytest.approx(np.corrcoef(answer.ravel(), truth.ravel())[0, 1], abs=1e-9)


@given(mask_pairs())
def test_iou_and_dice_agree_with_set_arithmetic(pair):
    answer, truth = ({(int(r), int(c)) for r, c in np.argwhere(mask)} for mask in pair)
    assume(answer | truth)
    assert score("iou", *pair) == pytest.approx(len(answer & truth) / len(answer | truth))
    assert score("dice", *pair) == pytest.approx(2 * len(answer & truth) / (len(answer) + len(truth)))


@given(mask_pairs(3))
def test_boundary_and_buffered_counts_agree_with_distances_taken_one_by_one(masks):
    answer, truth, known = masks
    segmentation = pytest.importorskip("skimage.segmentation")

    def border(mask: np.ndarray) -> np.ndarray:
        labels = np.where(known, mask, True)  # an unknown neighbour is no outside
        return segmentation.find_boundaries(labels, connectivity=1, mode="inner", background=0) & mask & known

    def near(part: np.ndarray, other: np.ndarray) -> int:
        here, there = np.argwhere(part), np.argwhere(other)
        if not len(here) or not len(there):
            return 0
        squared = ((here[:, None] - there[None]) ** 2).sum(axis=2)
        return int((squared.min(axis=1) <= TOLERANCE_PX**2).sum())

    def counted(a: np.ndarray, t: np.ndarray) -> list[int]:
        return [near(a, t), int(a.sum()), near(t, a), int(t.sum())]

    assert MASK_METRICS["buffered_iou"].measure(answer, truth, known).tolist() == counted(answer & known, truth & known)
    edges = counted(border(answer), border(truth))
    if any(edges):
        assert MASK_METRICS["boundary_f"].measure(answer, truth, known).tolist() == edges


def test_large_counts_do_not_overflow():
    counts = np.array([3e9, 1e9, 2e9, 9e9])
    assert float(MASK_METRICS["mcc"].score(counts)) == pytest.approx(25 / 2200**0.5)


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(SettingsError, match="unknown metric 'diec'; did you mean dice"):
        find_metric("diec", MASK_METRICS)
    assert find_metric("iou", MASK_METRICS) is MASK_METRICS["iou"]
