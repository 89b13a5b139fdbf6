"""What operators to and on masks promise, on scenes and arrays worked out by hand."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoseg.operators import (
    components,
    mask_filters,
    measures,
    morphology,
    smoothing,
    thresholds,
)
from tests.operators.drawn import crack, dice, disc, grid, some_masks, thinned


class TestThresholds:
    def test_bright_is_above_and_dark_is_not_above(self) -> None:
        plane = np.arange(256, dtype=np.uint8).reshape(16, 16)
        for level in (0, 100, 255):
            for operator in (thresholds.threshold, thresholds.level):
                np.testing.assert_array_equal(operator(plane, level=level, polarity="bright"), plane > level)
                np.testing.assert_array_equal(operator(plane, level=level, polarity="dark"), plane <= level)

    def test_ranges_go_round_the_end(self) -> None:
        plane = np.array([[0, 10, 128, 240, 255]], np.uint8)
        assert thresholds.in_range(plane, low=10, high=240).tolist() == [[False, True, True, True, False]]
        assert thresholds.in_range(plane, low=240, high=10).tolist() == [[True, True, False, True, True]]

    def test_automatic_levels_part_two_populations(self) -> None:
        rng = np.random.default_rng(0)
        truth = disc((60, 70), (30, 30), 12, 1, 0) > 0
        plane = np.clip(np.where(truth, 170, 70) + rng.normal(0, 12, truth.shape), 0, 255).astype(np.uint8)
        for found in (
            thresholds.otsu(plane),
            thresholds.triangle(plane, offset=10),
            thresholds.kmeans_class(plane, k=2, index=1),
            ~thresholds.otsu(plane, polarity="dark"),
        ):
            assert dice(found, truth) > 0.97

    def test_kmeans_classes_part_the_plane_and_know_their_levels(self) -> None:
        levels = np.array([20, 90, 160, 240])
        plane = levels[np.random.default_rng(0).integers(0, 4, (30, 40))].astype(np.uint8)
        for index, value in enumerate(levels):
            np.testing.assert_array_equal(thresholds.kmeans_class(plane, k=4, index=index), plane == value)
        assert (
            sum(thresholds.kmeans_class(plane, k=3, index=i).astype(int) for i in range(3)).tolist() == [[1] * 40] * 30
        )

    def test_local_levels_find_a_dark_crack_under_a_lighting_ramp(self) -> None:
        plane, truth = crack()
        calm = smoothing.gaussian(plane, sigma=1.0)
        assert dice(thresholds.local_mean(calm, window=21, offset=10, polarity="dark"), truth) > 0.85
        assert dice(thresholds.sauvola(calm, window=15, k=0.08, polarity="dark"), truth) > 0.75
        bright = thresholds.sauvola(255 - calm, window=15, k=0.08, polarity="bright")
        np.testing.assert_array_equal(bright, thresholds.sauvola(calm, window=15, k=0.08, polarity="dark"))

    def test_hysteresis_keeps_weak_pixels_that_touch_strong_ones(self) -> None:
        plane = np.array([[90, 90, 0, 90, 90], [0, 0, 200, 0, 0], [0, 0, 0, 0, 0], [90, 90, 90, 0, 70]], np.uint8)
        expected = np.array([[1, 1, 0, 1, 1], [0, 0, 1, 0, 0], [0] * 5, [0] * 5], bool)
        np.testing.assert_array_equal(thresholds.hysteresis(plane, low=80, high=150), expected)
        np.testing.assert_array_equal(thresholds.hysteresis(plane, low=150, high=80), expected)
        dark = thresholds.hysteresis(255 - plane, low=104, high=174, polarity="dark")
        np.testing.assert_array_equal(dark, expected)

    def test_regional_maxima_need_their_depth(self) -> None:
        plane = np.zeros((21, 61), np.uint8)
        plane[10] = np.interp(np.arange(61), [0, 15, 22, 30, 45, 60], [0, 100, 95, 150, 120, 200])
        assert np.flatnonzero(thresholds.regional_maxima(plane, h=20)[10]).tolist() == [30, 60]
        assert 15 in np.flatnonzero(thresholds.regional_maxima(plane, h=4)[10])
        assert not thresholds.regional_maxima(np.zeros((9, 9), np.uint8), h=5).any()

    def test_canny_outlines_a_square(self) -> None:
        plane = np.full((40, 50), 50, np.uint8)
        plane[10:30, 10:40] = 150
        found = thresholds.canny(plane, low=60, high=150)
        assert 80 <= found.sum() <= 110 and not found[14:26, 14:36].any()


class TestMasks:
    def test_logic(self) -> None:
        a, b = np.array([[0, 0, 1, 1]], bool), np.array([[0, 1, 0, 1]], bool)
        assert mask_filters.mask_and(a, b).tolist() == [[False, False, False, True]]
        assert mask_filters.mask_or(a, b).tolist() == [[False, True, True, True]]
        assert mask_filters.mask_minus(a, b).tolist() == [[False, False, True, False]]
        assert mask_filters.mask_xor(a, b).tolist() == [[False, True, True, False]]
        assert mask_filters.invert_mask(a).tolist() == [[True, True, False, False]]
        assert mask_filters.keep_where(np.array([[5, 6, 7, 8]], np.uint8), a).tolist() == [[0, 0, 7, 8]]

    @settings(max_examples=30, deadline=None)
    @given(mask=some_masks, radius=st.integers(1, 9))
    def test_masks_and_planes_open_alike(self, mask: np.ndarray, radius: int) -> None:
        plane = mask.view(np.uint8) * np.uint8(255)
        np.testing.assert_array_equal(
            mask_filters.open_mask(mask, radius=radius), morphology.open(plane, radius=radius) > 0
        )
        np.testing.assert_array_equal(
            mask_filters.close_mask(~mask, radius=radius), ~mask_filters.open_mask(mask, radius=radius)
        )
        np.testing.assert_array_equal(
            mask_filters.dilate_mask(~mask, radius=radius), ~mask_filters.erode_mask(mask, radius=radius)
        )

    def test_majority_counts_exactly(self) -> None:
        mask = grid("###....", "##.....", ".......", ".......")
        found = mask_filters.majority(mask, radius=1)
        assert found[1, 1] and not found[1, 2] and not found[3, 5]

    def test_broken_lines_are_joined_and_distant_dots_are_not(self) -> None:
        mask = np.zeros((40, 60), np.bool_)
        for start in (5, 20, 35):
            mask[np.arange(start, start + 9) // 2 + 5, np.arange(start, start + 9)] = True
        joined = mask_filters.line_close_mask(mask, length=15)
        assert cv2.connectedComponents(joined.view(np.uint8))[0] == 2
        assert (joined >= mask).all() and joined.sum() < 3 * mask.sum()

    def test_a_skeleton_is_thin_connected_and_inside(self) -> None:
        mask = np.zeros((61, 83), np.uint8)
        cv2.polylines(mask, [np.array([[5, 50], [30, 20], [75, 30]])], False, 1, 7)
        cv2.circle(mask, (60, 48), 8, 1, 2)
        thin = mask_filters.skeleton(mask > 0)
        assert (thin <= (mask > 0)).all()
        assert cv2.connectedComponents(thin.view(np.uint8))[0] == cv2.connectedComponents(mask)[0]
        assert not mask_filters.erode_mask(thin, radius=1).any()
        assert 70 < thin.sum() < 150

    def test_skeletons_are_those_of_zhang_and_suen(self) -> None:
        mask = mask_filters.majority(np.random.default_rng(1).random((40, 51)) > 0.5, radius=2)
        np.testing.assert_array_equal(mask_filters.skeleton(mask), thinned(mask))


class TestComponents:
    scene = grid(
        "##....#...",
        "##...#....",
        "....#....#",
        ".#........",
        "......####",
        "###...#..#",
        "#.#...####",
        "###.......",
    )

    def test_areas_are_exact_and_diagonals_hang_together(self) -> None:
        kept = components.remove_small(self.scene, area=4)
        assert kept[0, 0] and kept[7, 0] and kept[4, 9] and not kept[0, 6] and not kept[2, 9] and not kept[3, 1]
        assert kept.sum() == 4 + 8 + 10
        np.testing.assert_array_equal(
            components.remove_small(self.scene, area=3), kept | components.keep_area(self.scene, low=3, high=3)
        )
        assert components.remove_large(self.scene, area=3).sum() == 3 + 1 + 1
        assert components.keep_area(self.scene, low=9, high=4).sum() == 4 + 8
        assert components.keep_largest(self.scene, count=2).sum() == 18
        assert components.keep_largest(self.scene, count=50).sum() == self.scene.sum()

    def test_holes(self) -> None:
        assert components.fill_holes(self.scene, area=0).sum() == self.scene.sum() + 1 + 2
        assert components.fill_holes(self.scene, area=1).sum() == self.scene.sum() + 1
        ring = grid("###", "#.#", "###")
        assert components.fill_holes(ring, area=0).all()
        assert not components.fill_holes(grid(".#.", "#.#"), area=0)[1, 1]
        assert components.fill_holes(grid(".#.", "#.#", ".#."), area=0)[1, 1]

    @settings(max_examples=40, deadline=None)
    @given(mask=some_masks)
    def test_filling_holes_of_any_size_is_filling_all(self, mask: np.ndarray) -> None:
        np.testing.assert_array_equal(components.fill_holes(mask, area=0), components.fill_holes(mask, area=100000))

    @settings(max_examples=60, deadline=None)
    @given(mask=some_masks, area=st.integers(2, 30))
    def test_small_and_large_objects_part_the_mask(self, mask: np.ndarray, area: int) -> None:
        small, large = components.remove_large(mask, area=area - 1), components.remove_small(mask, area=area)
        np.testing.assert_array_equal(small | large, mask)
        assert not (small & large).any()
        np.testing.assert_array_equal(components.reconstruct_mask(large, mask), large)

    def test_the_border_is_cleared(self) -> None:
        assert components.clear_border(self.scene, margin=1).sum() == 1
        inner = np.zeros((9, 11), np.bool_)
        inner[3, 3] = inner[6, 9] = True
        assert np.argwhere(components.clear_border(inner, margin=2)).tolist() == [[3, 3]]

    def test_shapes_are_told_apart(self) -> None:
        mask = disc((60, 120), (20, 20), 12, 1, 0)
        cv2.rectangle(mask, (45, 5), (105, 9), 1, -1)
        cv2.rectangle(mask, (60, 25), (90, 55), 1, -1)
        cv2.rectangle(mask, (65, 30), (90, 50), 0, -1)  # a C
        mask = mask > 0
        round_one, bar, hook = (20, 20), (7, 60), (26, 62)
        spread = components.keep_elongated(mask, ratio=4.0)
        assert [spread[p] for p in (round_one, bar, hook)] == [False, True, False]
        compact = components.keep_round(mask, roundness=0.9)
        assert [compact[p] for p in (round_one, bar, hook)] == [True, False, False]
        solid = components.keep_solid(mask, solidity=0.8)
        assert [solid[p] for p in (round_one, bar, hook)] == [True, True, False]
        hull = components.convex_hull(mask)
        assert hull[40, 80] and (hull >= mask).all()
        assert components.convex_hull(hull).sum() < 1.01 * hull.sum()

    def test_only_the_largest_objects_of_a_crowd_get_a_hull(self) -> None:
        mask = np.zeros((90, 110), np.bool_)
        for row in range(0, 88, 5):
            for col in range(0, 108, 5):  # 396 corners of 5 px, one of them larger
                mask[row : row + 3, col] = mask[row, col : col + 3] = True
        mask[85, 105:109] = True
        hull = components.convex_hull(mask)
        assert hull[86, 106] and (hull >= mask).all()
        assert hull.sum() - mask.sum() == pytest.approx(components.MAX_OUTLINES, abs=2)

    def test_single_pixels_have_shapes_too(self) -> None:
        dot = grid("...", ".#.", "...")
        assert components.keep_round(dot, roundness=0.9).sum() == 1
        assert components.keep_elongated(dot, ratio=1.5).sum() == 0
        assert components.keep_solid(dot, solidity=0.98).sum() == 1

    def test_reconstruction_keeps_what_a_seed_touches(self) -> None:
        seed = np.zeros_like(self.scene)
        seed[2, 4] = seed[7, 9] = True
        assert np.argwhere(components.reconstruct_mask(seed, self.scene)).tolist() == [[0, 6], [1, 5], [2, 4]]


class TestMeasures:
    def test_distances_are_in_pixels_times_gain(self) -> None:
        mask = np.ones((21, 41), np.bool_)
        mask[:, 0] = False
        found = measures.distance(mask, gain=8.0)
        np.testing.assert_array_equal(found[10], np.minimum(8 * np.arange(41), 255))
        assert (measures.distance(np.ones((3, 4), np.bool_)) == 255).all()

    def test_density_is_a_share(self) -> None:
        mask = np.zeros((9, 11), np.bool_)
        mask[4, 5] = True
        assert measures.density(mask, radius=1)[4, 5] == round(255 / 9)

    def test_objects_take_the_mean_and_the_area(self) -> None:
        mask = grid("##..", "...#", "...#")
        plane = np.array([[10, 21, 99, 99], [99, 99, 99, 200], [99, 99, 99, 255]], np.uint8)
        assert measures.component_mean(plane, mask).tolist() == [[16, 16, 0, 0], [0, 0, 0, 228], [0, 0, 0, 228]]
        # 12 log2(2 * 2)
        assert measures.component_area(mask).max() == 24 and measures.component_area(mask)[0, 2] == 0
