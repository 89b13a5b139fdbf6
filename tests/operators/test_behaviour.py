"""What single operators promise, on scenes and arrays worked out by hand."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evoseg.operators import (
    additive,
    arithmetic,
    components,
    contrast,
    edges,
    elements,
    frequency,
    intake,
    masks,
    measures,
    morphology,
    ridges,
    scales,
    smoothing,
    texture,
    thresholds,
)

planes = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))
some_masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


def grid(*rows: str) -> np.ndarray:
    """Return a mask from rows of # and dots."""
    return np.array([[c == "#" for c in row] for row in rows])


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.sum(a & b) / (np.sum(a) + np.sum(b))


def crack(seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Draw a dark line, 3 px wide, under a strong lighting ramp with noise; return the plane and the line."""
    line = np.zeros((61, 83), np.uint8)
    cv2.polylines(line, [np.array([[3, 50], [30, 30], [55, 36], [80, 8]])], False, 1, 3)
    lit = np.linspace(70, 220, 83) - 35.0 * line + np.random.default_rng(seed).normal(0, 3, line.shape)
    return np.clip(lit, 0, 255).astype(np.uint8), line > 0


def disc(shape: tuple[int, int], centre: tuple[int, int], radius: int, inside: int, outside: int) -> np.ndarray:
    row, col = np.ogrid[: shape[0], : shape[1]]
    return np.where((row - centre[0]) ** 2 + (col - centre[1]) ** 2 <= radius**2, inside, outside).astype(np.uint8)


def thinned(mask: np.ndarray) -> np.ndarray:
    """Thin by the rules of Zhang and Suen (1984) as they are written there, pixel by pixel."""
    grid = np.pad(mask, 1).astype(int)
    changed = True
    while changed:
        changed = False
        for second in (False, True):
            gone = []
            for i, j in np.argwhere(grid):
                p2, p3, p4 = grid[i - 1, j], grid[i - 1, j + 1], grid[i, j + 1]
                p5, p6, p7 = grid[i + 1, j + 1], grid[i + 1, j], grid[i + 1, j - 1]
                p8, p9 = grid[i, j - 1], grid[i - 1, j - 1]
                around = [p2, p3, p4, p5, p6, p7, p8, p9]
                rises = sum(u == 0 and v == 1 for u, v in zip(around, around[1:] + around[:1], strict=True))
                clear = p2 * p4 * p8 == 0 == p2 * p6 * p8 if second else p2 * p4 * p6 == 0 == p4 * p6 * p8
                if 2 <= sum(around) <= 6 and rises == 1 and clear:
                    gone.append((i, j))
            for place in gone:
                grid[place] = 0
                changed = True
    return grid[1:-1, 1:-1] > 0


class TestIntake:
    def test_channels_are_red_green_blue_and_the_last_stands_in_for_missing_ones(self) -> None:
        image = np.dstack([np.full((2, 3), v, np.uint8) for v in (10, 20, 30)])
        assert [intake.plane(image, channel=c)[0, 0] for c in "RGB"] == [10, 20, 30]
        assert intake.channel(image, index=9)[0, 0] == 30
        assert intake.plane(image[:, :, :1], channel="B")[0, 0] == 10
        assert intake.plane(image[:, :, :1], channel="gray")[0, 0] == 10
        assert intake.plane(image, channel="V")[0, 0] == 30

    def test_native_values_map_to_8_bit_without_a_choice(self) -> None:
        deep = np.array([[[0], [255], [256], [65535]]], np.uint16)
        assert intake.channel(deep, index=0).tolist() == [[0, 0, 1, 255]]
        real = np.array([[[-1.0], [0.5], [2.0], [np.nan], [np.inf]]], np.float32)
        assert intake.channel(real, index=0).tolist() == [[0, 128, 255, 0, 255]]

    def test_hue_goes_round_once_in_256_levels(self) -> None:
        colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
        assert intake.plane(colours, channel="H").tolist() == [[0, 85, 171]]

    def test_mix_is_a_weighted_sum(self) -> None:
        image = np.array([[[100, 150, 20], [200, 10, 0]]], np.uint8)
        assert intake.mix(image, weights=(-1.0, 2.0, -1.0), offset=5.0).tolist() == [[185, 0]]
        assert intake.mix(image, weights=(0.5,), offset=0.0).tolist() == [[50, 100]]
        assert intake.mix(image, weights=(0.0, 0.0, 0.0, 4.0), offset=7.0).tolist() == [[7, 7]]

    def test_a_window_shows_faint_16_bit_values_that_the_high_byte_hides(self) -> None:
        image = np.array([[[100], [150], [200], [300]]], np.uint16)
        assert np.ptp(intake.channel(image, index=0)) <= 1
        assert intake.window(image, index=0, low=100.0, high=200.0).tolist() == [[0, 128, 255, 255]]
        assert intake.window(image, index=0, low=200.0, high=100.0).tolist() == [[255, 128, 0, 0]]
        assert intake.window(image, index=0, low=150.0, high=150.0).tolist() == [[0, 0, 255, 255]]

    def test_window_scales_lift_the_faint(self) -> None:
        image = np.array([[[0.0], [0.25], [1.0]]], np.float32)
        assert intake.window(image, low=0.0, high=1.0, scale="sqrt").tolist() == [[0, 128, 255]]
        # 255 ln(1 + 255 / 4) / ln 256 = 191.8
        assert intake.window(image, low=0.0, high=1.0, scale="log").tolist() == [[0, 192, 255]]

    def test_percentiles_ignore_a_few_hot_pixels(self) -> None:
        values = np.arange(1000, dtype=np.uint16).reshape(20, 50, 1)
        values[0, 0] = 65535
        shown = intake.window_percentile(values, low=1.0, high=99.0)
        assert abs(int(shown[10, 0]) - 128) <= 1

    def test_window_flat_finds_spots_of_40_counts_on_a_ramp_of_4000(self) -> None:
        ramp = np.broadcast_to(np.linspace(1000, 5000, 90), (61, 90)).astype(np.uint16)
        spot = disc((61, 90), (30, 40), 2, 40, 0)
        flat = intake.window_flat((ramp + spot)[:, :, None], index=0, sigma=6.0, low=0.0, high=50.0)
        assert flat.max() > 140
        # Along the edges, too: about a plain mirror the ramp would turn back and stand out by 200 counts.
        assert flat[disc((61, 90), (30, 40), 12, 1, 0) == 0].max() < 12
        assert np.hypot(*np.subtract(np.unravel_index(flat.argmax(), flat.shape), (30, 40))) < 3

    def test_stains_are_told_apart(self) -> None:
        amount = np.array([0.8, 0.5])
        colours = np.array(intake.STAINS[:2])
        colours /= np.linalg.norm(colours, axis=1, keepdims=True)
        for other in (0.0, 0.3):
            density = amount[:, None] * np.eye(2) + other * (1 - np.eye(2))
            image = np.rint(256 * 10 ** -(density @ colours) - 1).astype(np.uint8)[None]
            hematoxylin = intake.plane(image, channel="hematoxylin")[0].astype(float)
            eosin = intake.plane(image, channel="eosin")[0].astype(float)
            np.testing.assert_allclose(hematoxylin, 200 * density[:, 0], atol=6)
            np.testing.assert_allclose(eosin, 200 * density[:, 1], atol=6)


class TestSmoothing:
    @pytest.mark.parametrize("sigma", [1.0, 2.5, 3.5, 7.0, 15.0, 40.0])
    def test_reduced_scale_agrees_with_the_full_gaussian(self, sigma: float) -> None:
        rng = np.random.default_rng(2)
        plane = cv2.GaussianBlur(rng.integers(0, 256, (150, 203)).astype(np.uint8), (0, 0), 1.5)
        exact = cv2.GaussianBlur(plane.astype(np.float64), (0, 0), sigma, borderType=scales.BORDER)
        off = np.abs(smoothing.gaussian(plane, sigma=sigma) - exact)
        assert off[:, :190].mean() < 0.5 and off[12:-12, 12:-12].max() < 1.9
        assert off.max() < 4  # the last block may reach over the border

    def test_a_flat_plane_stays_flat_under_everything_that_smooths(self) -> None:
        flat = np.full((37, 51), 93, np.uint8)
        for smoothed in (
            smoothing.gaussian(flat, sigma=9.0),
            smoothing.box(flat, radius=20),
            smoothing.median(flat, radius=11),
            smoothing.bilateral(flat),
            smoothing.guided(flat),
            smoothing.sharpen(flat),
            smoothing.kernel(flat),
        ):
            assert (smoothed == 93).all()

    @pytest.mark.parametrize("radius", [1, 2, 4, 9])
    def test_a_median_drops_specks_and_keeps_a_step(self, radius: int) -> None:
        plane = np.zeros((64, 80), np.uint8)
        plane[:, 40:] = 200
        specked = plane.copy()
        specked[7::16, 7::16] = 255
        calm = smoothing.median(specked, radius=radius)
        away = np.abs(np.arange(80) - 39.5) > 2 * radius + 2
        assert np.abs(calm.astype(int) - plane)[:, away].max() <= (0 if radius <= 2 else 12)

    def test_edge_keeping_filters_keep_the_edge_that_a_gaussian_loses(self) -> None:
        rng = np.random.default_rng(0)
        plane = np.full((40, 60), 60.0)
        plane[:, 30:] = 180
        noisy = np.clip(plane + rng.normal(0, 5, plane.shape), 0, 255).astype(np.uint8)
        for smoothed in (smoothing.bilateral(noisy, radius=3, contrast=30.0), smoothing.guided(noisy, radius=4)):
            assert smoothed[:, 10:20].std() < 0.6 * noisy[:, 10:20].std()
            assert smoothed[:, 31].mean() - smoothed[:, 28].mean() > 105
        assert np.ptp(smoothing.gaussian(noisy, sigma=4.0)[:, 28:32].mean(axis=0)) < 50

    def test_a_kernel_is_correlated_row_by_row(self) -> None:
        plane = np.zeros((5, 7), np.uint8)
        plane[2, 3] = 10
        weights = (0.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0)
        expected = np.full((5, 7), 4)
        expected[3, 3], expected[2, 3], expected[1, 2] = 14, 24, 34
        np.testing.assert_array_equal(smoothing.kernel(plane, weights=weights, offset=4.0), expected)


class TestMorphology:
    @settings(max_examples=40, deadline=None)
    @given(plane=planes, radius=st.integers(1, 12))
    def test_opening_and_closing_are_ordered_and_idempotent(self, plane: np.ndarray, radius: int) -> None:
        opened, closed = morphology.open(plane, radius=radius), morphology.close(plane, radius=radius)
        assert (opened <= plane).all() and (plane <= closed).all()
        np.testing.assert_array_equal(morphology.open(opened, radius=radius), opened)
        np.testing.assert_array_equal(morphology.close(closed, radius=radius), closed)
        np.testing.assert_array_equal(255 - morphology.open(255 - plane, radius=radius), closed)

    @pytest.mark.parametrize("radius", [1, 2, 3, 4, 7, 12, 25, 40])
    def test_the_element_is_round_and_has_the_radius(self, radius: int) -> None:
        point = np.zeros((101, 103), np.uint8)
        point[50, 51] = 1
        made = elements.dilate_disk(point, radius)
        row, col = np.nonzero(made)
        assert (row.min(), row.max(), col.min(), col.max()) == (50 - radius, 50 + radius, 51 - radius, 51 + radius)
        np.testing.assert_array_equal(made, made[::-1][:101])
        away = np.hypot(row - 50, col - 51)
        assert away.max() <= 1.1 * radius + 0.5
        hole = np.hypot(*np.nonzero(made[50:101, 51:103] == 0))
        assert hole.min() > 0.9 * radius

    def test_tophats_keep_what_is_narrower_than_the_disk(self) -> None:
        plane = np.broadcast_to(np.linspace(50, 150, 80), (60, 80)).astype(np.uint8).copy()
        plane[20:23, 10:70] += 60
        found = morphology.white_tophat(plane, radius=4)
        assert found[21, 15:65].min() >= 55 and found[30:, 10:70].max() <= 10
        np.testing.assert_array_equal(morphology.black_tophat(255 - plane, radius=4), found)

    def test_reconstruction_restores_the_shape_that_an_opening_rounds(self) -> None:
        plane = np.zeros((40, 50), np.uint8)
        plane[5:25, 5:25] = 100
        plane[30:33, 30:33] = 100
        restored = morphology.reconstruct_open(plane, radius=5, steps=16)
        expected = plane.copy()
        expected[30:33, 30:33] = 0
        np.testing.assert_array_equal(restored, expected)
        assert (morphology.open(plane, radius=5) != expected).any()

    @pytest.mark.parametrize("angle", [0.0, 30.0, 45.0, 90.0, 120.0, 135.0])
    def test_a_line_opening_keeps_lines_of_its_own_direction(self, angle: float) -> None:
        plane = np.zeros((81, 83), np.uint8)
        step = np.array([np.cos(np.radians(angle)), -np.sin(np.radians(angle))])
        ends = [tuple(round(float(v)) for v in np.array([41, 40]) + s * 30 * step) for s in (-1, 1)]
        cv2.line(plane, ends[0], ends[1], 200, 3)
        kept = morphology.line_open(plane, length=21, angle=angle)
        crossed = morphology.line_open(plane, length=21, angle=(angle + 90) % 180)
        assert np.sum(kept == 200) > 0.5 * np.sum(plane == 200)
        assert crossed.max() == 0
        assert (kept <= plane).all()
        np.testing.assert_array_equal(255 - morphology.line_close(255 - plane, length=21, angle=angle), kept)

    def test_line_tophat_prefers_lines_to_discs(self) -> None:
        plane = disc((61, 83), (30, 60), 9, 200, 40)
        cv2.line(plane, (5, 50), (35, 10), 200, 2)
        found = morphology.line_tophat(plane, length=15, polarity="bright")
        assert found[30, 20] > 120
        assert found[28:33, 56:65].max() < 20
        np.testing.assert_array_equal(morphology.line_tophat(255 - plane, length=15, polarity="dark"), found)

    def test_a_free_footprint_shifts_and_an_empty_one_does_nothing(self) -> None:
        plane = np.zeros((5, 6), np.uint8)
        plane[2, 3] = 9
        left = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        assert np.argwhere(morphology.dilate_by(plane, footprint=left) == 9).tolist() == [[2, 4]]
        np.testing.assert_array_equal(morphology.erode_by(plane, footprint=(0.0,) * 9), plane)


class TestEdgesAndRidges:
    def test_a_step_gives_what_the_gains_promise(self) -> None:
        plane = np.full((40, 60), 100, np.uint8)
        plane[:, 30:] = 140
        assert edges.sobel(plane, gain=2.0).max() == 80
        for sigma in (1.0, 2.0, 4.0, 6.0):
            assert int(edges.gradient(plane, sigma=sigma).max()) == pytest.approx(80, rel=0.22)
        assert edges.slope(plane, angle=0.0, polarity="bright").max() == 80
        assert edges.slope(plane, angle=180.0, polarity="bright").max() == 0
        assert edges.slope(plane, angle=90.0, polarity="both").max() == 0

    @pytest.mark.parametrize(
        "find",
        [
            lambda p: ridges.hessian_ridge(p, sigma=1.5, polarity="dark"),
            lambda p: ridges.ridge_multiscale(p, sigma_low=1.0, n=3, ratio=1.5, polarity="dark"),
            lambda p: ridges.oriented(p, length=11.0, width=3.0, polarity="dark"),
            lambda p: edges.log_filter(p, sigma=1.5, polarity="dark"),
            lambda p: edges.dog(p, sigma=1.2, ratio=2.0, polarity="dark"),
            lambda p: morphology.line_tophat(smoothing.gaussian(p, sigma=1.0), length=9, polarity="dark"),
            lambda p: frequency.bandpass(p, low=4.0, high=12.0, polarity="dark"),
        ],
        ids=["hessian", "multiscale", "oriented", "log", "dog", "line_tophat", "bandpass"],
    )
    def test_line_filters_find_a_dark_crack_under_a_lighting_ramp(self, find) -> None:
        plane, truth = crack()
        response = find(plane)
        best = max(dice(response > level, truth) for level in range(0, 255, 3))
        plain = max(dice(plane <= level, truth) for level in range(0, 255, 3))
        assert plain < 0.35
        assert best > 0.8
        assert max(dice(find(255 - plane) > level, truth) for level in range(0, 255, 3)) < 0.4

    @pytest.mark.parametrize("sigma", [1.5, 2.5, 5.0])
    def test_blob_finds_discs_and_leaves_lines_out_and_ridge_does_lines(self, sigma: float) -> None:
        plane = disc((90, 121), (45, 30), round(1.4 * sigma), 120, 60)
        cv2.line(plane, (80, 5), (80, 85), 120, round(2 * sigma))
        spots = ridges.blob(plane, sigma=sigma, polarity="bright")
        assert spots[45, 30] > 45
        assert spots[20:70, 70:90].max() < 8
        lines = ridges.hessian_ridge(plane, sigma=sigma, polarity="bright")
        assert lines[20:70, 80].min() > 70
        assert ridges.hessian_ridge(plane, sigma=sigma, polarity="dark")[20:70, 80].max() == 0

    @pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 135.0])
    def test_ridges_answer_alike_in_every_direction(self, angle: float) -> None:
        plane = np.full((81, 81), 60, np.uint8)
        step = np.array([np.cos(np.radians(angle)), -np.sin(np.radians(angle))]) * 60
        cv2.line(
            plane, tuple(np.rint(40 - step).astype(int)), tuple(np.rint(40 + step).astype(int)), 120, 3, cv2.LINE_AA
        )
        assert 60 < ridges.hessian_ridge(plane, sigma=1.5, polarity="bright")[38:43, 38:43].max() < 120
        assert 50 < ridges.oriented(plane, length=15.0, width=3.0, polarity="bright")[38:43, 38:43].max() < 120

    def test_oriented_filters_bridge_a_dashed_line_in_noise_better_than_hessians(self) -> None:
        line = np.zeros((61, 83), np.uint8)
        cv2.line(line, (2, 55), (80, 8), 1, 2)
        dashed = line.copy()
        dashed[:, ::7] = 0
        noise = np.random.default_rng(3).normal(0, 14, line.shape)
        plane = np.clip(120 + 40 * dashed + noise, 0, 255).astype(np.uint8)
        score = {
            name: max(dice(response > level, line > 0) for level in range(0, 255, 2))
            for name, response in {
                "oriented": ridges.oriented(plane, length=15.0, width=2.5, polarity="bright"),
                "hessian": ridges.hessian_ridge(plane, sigma=1.0, polarity="bright"),
            }.items()
        }
        assert score["oriented"] > 0.7 > score["hessian"]

    def test_gabor_finds_its_own_stripes(self) -> None:
        col = np.arange(97)
        for wavelength, sigma in ((6.0, 3.0), (16.0, 8.0)):
            stripes = np.rint(128 + 40 * np.cos(2 * np.pi * col / wavelength)).astype(np.uint8)
            plane = np.broadcast_to(stripes, (61, 97)).copy()
            crests = ridges.gabor(plane, sigma=sigma, wavelength=wavelength, angle=0.0, polarity="bright")
            assert 55 < crests[30, 20:70].max() <= 85
            assert ridges.gabor(plane, sigma=sigma, wavelength=wavelength, angle=90.0, polarity="both").max() < 8
            assert ridges.gabor(np.full_like(plane, 200), sigma=sigma, wavelength=wavelength).max() == 0

    def test_a_wide_scale_answers_as_a_narrow_one_on_an_enlarged_plane(self) -> None:
        small = np.full((40, 50), 80, np.uint8)
        cv2.circle(small, (25, 20), 3, 140, -1)
        large = np.kron(small, np.ones((4, 4), np.uint8))
        for find in (edges.log_filter, ridges.blob, ridges.hessian_ridge):
            near = int(find(small, sigma=2.0, polarity="bright").max())
            far = int(find(large, sigma=8.0, polarity="bright").max())
            assert far == pytest.approx(near, rel=0.12)


class TestTexture:
    def test_deviation_and_range_of_a_checkerboard(self) -> None:
        board = (np.indices((30, 41)).sum(axis=0) % 2 * 40 + 100).astype(np.uint8)
        assert set(np.unique(texture.deviation(board, radius=4)[5:-5, 5:-5])) == {40}
        assert (texture.local_range(board, radius=1) == 40).all()
        assert (texture.deviation(np.full((9, 9), 7, np.uint8)) == 0).all()

    def test_entropy_counts_classes(self) -> None:
        assert (texture.entropy(np.full((20, 30), 99, np.uint8)) == 0).all()
        two = np.zeros((40, 61), np.uint8)
        two[:, ::2] = 200
        middle = texture.entropy(two, radius=3)[10:-10, 10:-10]
        # 3 of 7 or 4 of 7 columns: 0.985 bits of 4.
        assert middle.min() >= 61 and middle.max() <= 64
        uniform = np.random.default_rng(0).integers(0, 256, (80, 90)).astype(np.uint8)
        assert texture.entropy(uniform, radius=12).min() > 235

    def test_lbp_of_a_peak_a_pit_and_a_right_edge(self) -> None:
        plane = np.full((5, 5), 50, np.uint8)
        plane[2, 2] = 60
        assert texture.lbp(plane)[2, 2] == 0
        plane[2, 2] = 40
        assert texture.lbp(plane)[2, 2] == 255
        step = np.array([[1, 1, 9]] * 3, np.uint8)
        # Right of the step all neighbours but the three on its left are as bright.
        assert texture.lbp(step)[1, 1] == 255 and texture.lbp(step)[1, 2] == 255 - (1 + 64 + 128)

    def test_coherence_tells_stripes_from_noise(self) -> None:
        rng = np.random.default_rng(1)
        plane = rng.integers(100, 150, (60, 120)).astype(np.uint8)
        plane[:, :60] = (120 + 25 * np.cos(np.arange(60) * 0.9)).astype(np.uint8)
        for sigma in (2.0, 5.0):
            found = texture.coherence(plane, sigma=sigma)
            assert found[15:-15, 15:45].min() > 240 and np.median(found[15:-15, 80:105]) < 110
        assert (texture.coherence(np.full((20, 20), 8, np.uint8)) == 0).all()

    def test_busy_ground_is_told_from_calm_ground(self) -> None:
        plane = np.full((50, 100), 120, np.uint8)
        plane[:, 50:] += np.random.default_rng(1).integers(0, 40, (50, 50)).astype(np.uint8)
        for found in (texture.energy(plane), texture.gradient_density(plane), texture.lbp_rough(plane)):
            assert found[:, :40].max() == 0 and found[:, 60:].min() > 15


class TestContrast:
    def test_tables(self) -> None:
        plane = np.array([[0, 64, 128, 255]], np.uint8)
        assert contrast.invert(plane).tolist() == [[255, 191, 127, 0]]
        assert contrast.curve(plane, points=(255.0, 0.0)).tolist() == [[255, 191, 127, 0]]
        assert contrast.curve(plane, points=(0.0, 100.0, 0.0)).tolist() == [[0, 50, 100, 0]]
        assert contrast.stretch(plane, low=64, high=128).tolist() == [[0, 0, 255, 255]]
        assert contrast.stretch(plane, low=128, high=0).tolist() == [[255, 128, 0, 0]]
        assert contrast.stretch(plane, low=64, high=64).tolist() == [[0, 0, 255, 255]]
        assert contrast.gamma(plane, exponent=0.5).tolist() == [[0, 128, 181, 255]]

    def test_backgrounds_go_and_objects_stay(self) -> None:
        ramp = np.broadcast_to(np.linspace(60, 180, 200), (80, 200))
        spot = disc((80, 200), (40, 100), 3, 30, 0)
        plane = (ramp + spot).astype(np.uint8)
        for flat in (contrast.flatten(plane, sigma=12.0), contrast.flatten_median(plane, radius=12)):
            assert flat[40, 100] > 148
            assert np.abs(flat[:, 40:80].astype(int) - 128).max() <= 4
        lit = np.rint(np.outer(np.ones(80), np.linspace(0.4, 1, 200)) * (100 + 50 * (spot > 0))).astype(np.uint8)
        divided = contrast.divide_background(lit, sigma=12.0)
        assert np.abs(divided[:, 40:80].astype(int) - 128).max() <= 6 and divided[40, 100] > 160

    def test_local_normalisation_shows_deviations(self) -> None:
        board = (np.indices((40, 50)).sum(axis=0) % 2 * 40 + 100).astype(np.uint8)
        shown = contrast.local_normalise(board, radius=8, gain=50.0)
        # 20 levels from the mean, over a deviation of 20 + 2.
        assert sorted(np.unique(shown[10:-10, 10:-10])) == [83, 173]

    def test_clahe_and_equalise_raise_contrast(self) -> None:
        plane = np.random.default_rng(0).integers(100, 120, (64, 80)).astype(np.uint8)
        assert np.ptp(contrast.equalise(plane)) == 255
        assert np.ptp(contrast.clahe(plane, clip=10.0)) > 3 * np.ptp(plane)


class TestArithmetic:
    def test_pixelwise_values(self) -> None:
        a, b = np.array([[10, 200, 255]], np.uint8), np.array([[20, 100, 0]], np.uint8)
        assert arithmetic.add(a, b).tolist() == [[30, 255, 255]]
        assert arithmetic.subtract(a, b).tolist() == [[0, 100, 255]]
        assert arithmetic.difference(a, b).tolist() == [[10, 100, 255]]
        assert arithmetic.minimum(a, b).tolist() == [[10, 100, 0]]
        assert arithmetic.maximum(a, b).tolist() == [[20, 200, 255]]
        assert arithmetic.multiply(a, b).tolist() == [[1, 78, 0]]
        assert arithmetic.blend(a, b, weight=0.25).tolist() == [[12, 175, 191]]
        assert arithmetic.ratio(a, b, gain=100.0).tolist() == [[50, 200, 255]]
        assert arithmetic.combine(a, b, weights=(1.0, -2.0), offset=50.0).tolist() == [[20, 50, 255]]
        assert arithmetic.hypot(a, b).tolist() == [[22, 224, 255]]
        assert arithmetic.geometric_mean(a, b).tolist() == [[14, 141, 0]]

    def test_polynomial_is_the_quadratic_form(self) -> None:
        rng = np.random.default_rng(0)
        a, b = rng.integers(0, 256, (2, 20, 30)).astype(np.uint8)
        c = (0.3, -1.2, 0.7, 0.9, 1.4, -0.5)
        s, t = a / 255, b / 255
        exact = 255 * (c[0] + c[1] * s + c[2] * t + c[3] * s * s + c[4] * s * t + c[5] * t * t)
        assert np.abs(arithmetic.polynomial(a, b, coefficients=c) - np.clip(exact, 0, 255)).max() < 0.75

    def test_lookup_is_bilinear_between_its_knots(self) -> None:
        values = tuple(float(v) for v in (0, 10, 20, 100, 110, 120, 200, 210, 220))
        a, b = np.array([[0, 255, 0, 255, 51, 204]], np.uint8), np.array([[0, 0, 255, 255, 0, 204]], np.uint8)
        # 51 lies 0.4 of the way from row 0 to row 1; 204 lies 0.6 of the way from 1 to 2.
        assert arithmetic.lookup(a, b, values=values).tolist() == [[0, 200, 20, 220, 40, 176]]

    def test_lookup_can_be_the_product(self) -> None:
        knots = np.linspace(0, 255, 11)
        values = tuple(np.outer(knots, knots).ravel() / 255)
        a, b = np.random.default_rng(0).integers(0, 256, (2, 30, 40)).astype(np.uint8)
        found = arithmetic.lookup(a, b, values=values)
        assert np.abs(found.astype(int) - arithmetic.multiply(a, b)).max() <= 1


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
        assert masks.mask_and(a, b).tolist() == [[False, False, False, True]]
        assert masks.mask_or(a, b).tolist() == [[False, True, True, True]]
        assert masks.mask_minus(a, b).tolist() == [[False, False, True, False]]
        assert masks.mask_xor(a, b).tolist() == [[False, True, True, False]]
        assert masks.invert_mask(a).tolist() == [[True, True, False, False]]
        assert masks.keep_where(np.array([[5, 6, 7, 8]], np.uint8), a).tolist() == [[0, 0, 7, 8]]

    @settings(max_examples=30, deadline=None)
    @given(mask=some_masks, radius=st.integers(1, 9))
    def test_masks_and_planes_open_alike(self, mask: np.ndarray, radius: int) -> None:
        plane = mask.view(np.uint8) * np.uint8(255)
        np.testing.assert_array_equal(masks.open_mask(mask, radius=radius), morphology.open(plane, radius=radius) > 0)
        np.testing.assert_array_equal(masks.close_mask(~mask, radius=radius), ~masks.open_mask(mask, radius=radius))
        np.testing.assert_array_equal(masks.dilate_mask(~mask, radius=radius), ~masks.erode_mask(mask, radius=radius))

    def test_majority_counts_exactly(self) -> None:
        mask = grid("###....", "##.....", ".......", ".......")
        found = masks.majority(mask, radius=1)
        assert found[1, 1] and not found[1, 2] and not found[3, 5]

    def test_broken_lines_are_joined_and_distant_dots_are_not(self) -> None:
        mask = np.zeros((40, 60), np.bool_)
        for start in (5, 20, 35):
            mask[np.arange(start, start + 9) // 2 + 5, np.arange(start, start + 9)] = True
        joined = masks.line_close_mask(mask, length=15)
        assert cv2.connectedComponents(joined.view(np.uint8))[0] == 2
        assert (joined >= mask).all() and joined.sum() < 3 * mask.sum()

    def test_a_skeleton_is_thin_connected_and_inside(self) -> None:
        mask = np.zeros((61, 83), np.uint8)
        cv2.polylines(mask, [np.array([[5, 50], [30, 20], [75, 30]])], False, 1, 7)
        cv2.circle(mask, (60, 48), 8, 1, 2)
        thin = masks.skeleton(mask > 0)
        assert (thin <= (mask > 0)).all()
        assert cv2.connectedComponents(thin.view(np.uint8))[0] == cv2.connectedComponents(mask)[0]
        assert not masks.erode_mask(thin, radius=1).any()
        assert 70 < thin.sum() < 150

    def test_skeletons_are_those_of_zhang_and_suen(self) -> None:
        mask = masks.majority(np.random.default_rng(1).random((40, 51)) > 0.5, radius=2)
        np.testing.assert_array_equal(masks.skeleton(mask), thinned(mask))


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


def test_a_mix_of_a_grey_image_is_that_of_three_equal_colours():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3, 1) * 20
    mixed = intake.mix(grey, weights=(0.5, 1.0, -0.5), offset=3.0)
    colours = intake.mix(np.repeat(grey, 3, axis=2), weights=(0.5, 1.0, -0.5), offset=3.0)
    np.testing.assert_array_equal(mixed, colours)


def test_curves_are_looked_up_and_added():
    a = np.array([[0, 16, 255], [32, 48, 128]], np.uint8)
    rising = tuple(10.0 * i for i in range(9))
    falling = tuple(100.0 - 10 * i for i in range(9))
    assert (additive.add_curves(a, a, curves=rising + falling) == 100).all()
    # Level 16 lies 16 / 31.875 of the way from the first point to the second.
    expected = np.rint(np.array([[0, 16, 255], [32, 48, 128]]) / 31.875 * 10)
    assert np.array_equal(additive.add_curves(a, a, curves=rising + (0.0,) * 9), expected)
    four = additive.add_curves4(a, a, a, a, curves=rising + falling + (510.0,) * 9 + (-400.0,) * 9)
    assert (four == 210).all()


def test_sums_of_curves_are_clipped_and_never_overflow():
    a = np.full((2, 3), 255, np.uint8)
    assert (additive.add_curves4(a, a, a, a, curves=(510.0,) * 36) == 255).all()
    assert (additive.add_curves4(a, a, a, a, curves=(-510.0,) * 36) == 0).all()
