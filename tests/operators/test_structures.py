"""What operators promise that look for structure: morphology, edges, ridges, texture."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoseg.operators import (
    edges,
    morphology,
    ridges,
    smoothing,
    structuring,
    texture,
)
from tests.operators.drawn import crack, dice, disc, planes


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
        made = structuring.dilate_disk(point, radius)
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
            lambda p: edges.bandpass(p, low=4.0, high=12.0, polarity="dark"),
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
