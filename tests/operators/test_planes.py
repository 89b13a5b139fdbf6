"""What operators on grey levels promise: channels, smoothing, contrast, arithmetic, curves."""

import cv2
import numpy as np
import pytest

from evoseg.operators import (
    arithmetic,
    channels,
    contrast,
    gray,
    smoothing,
)
from tests.operators.drawn import disc


class TestIntake:
    def test_channels_are_red_green_blue_and_the_last_stands_in_for_missing_ones(self) -> None:
        image = np.dstack([np.full((2, 3), v, np.uint8) for v in (10, 20, 30)])
        assert [channels.plane(image, channel=c)[0, 0] for c in "RGB"] == [10, 20, 30]
        assert channels.channel(image, index=9)[0, 0] == 30
        assert channels.plane(image[:, :, :1], channel="B")[0, 0] == 10
        assert channels.plane(image[:, :, :1], channel="gray")[0, 0] == 10
        assert channels.plane(image, channel="V")[0, 0] == 30

    def test_native_values_map_to_8_bit_without_a_choice(self) -> None:
        deep = np.array([[[0], [255], [256], [65535]]], np.uint16)
        assert channels.channel(deep, index=0).tolist() == [[0, 0, 1, 255]]
        real = np.array([[[-1.0], [0.5], [2.0], [np.nan], [np.inf]]], np.float32)
        assert channels.channel(real, index=0).tolist() == [[0, 128, 255, 0, 255]]

    def test_hue_goes_round_once_in_256_levels(self) -> None:
        colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
        assert channels.plane(colours, channel="H").tolist() == [[0, 85, 171]]

    def test_mix_is_a_weighted_sum(self) -> None:
        image = np.array([[[100, 150, 20], [200, 10, 0]]], np.uint8)
        assert channels.mix(image, weights=(-1.0, 2.0, -1.0), offset=5.0).tolist() == [[185, 0]]
        assert channels.mix(image, weights=(0.5,), offset=0.0).tolist() == [[50, 100]]
        assert channels.mix(image, weights=(0.0, 0.0, 0.0, 4.0), offset=7.0).tolist() == [[7, 7]]

    def test_a_window_shows_faint_16_bit_values_that_the_high_byte_hides(self) -> None:
        image = np.array([[[100], [150], [200], [300]]], np.uint16)
        assert np.ptp(channels.channel(image, index=0)) <= 1
        assert channels.window(image, index=0, low=100.0, high=200.0).tolist() == [[0, 128, 255, 255]]
        assert channels.window(image, index=0, low=200.0, high=100.0).tolist() == [[255, 128, 0, 0]]
        assert channels.window(image, index=0, low=150.0, high=150.0).tolist() == [[0, 0, 255, 255]]

    def test_window_scales_lift_the_faint(self) -> None:
        image = np.array([[[0.0], [0.25], [1.0]]], np.float32)
        assert channels.window(image, low=0.0, high=1.0, scale="sqrt").tolist() == [[0, 128, 255]]
        # 255 ln(1 + 255 / 4) / ln 256 = 191.8
        assert channels.window(image, low=0.0, high=1.0, scale="log").tolist() == [[0, 192, 255]]

    def test_percentiles_ignore_a_few_hot_pixels(self) -> None:
        values = np.arange(1000, dtype=np.uint16).reshape(20, 50, 1)
        values[0, 0] = 65535
        shown = channels.window_percentile(values, low=1.0, high=99.0)
        assert abs(int(shown[10, 0]) - 128) <= 1

    @pytest.mark.parametrize("scale", ["linear", "log", "sqrt"])
    @pytest.mark.parametrize(("low", "high"), [(1.0, 99.0), (90.0, 20.0), (40.0, 40.0), (0.0, 0.3)])
    def test_a_window_does_not_depend_on_the_type_that_holds_the_values(self, low, high, scale) -> None:
        values = np.random.default_rng(5).integers(20, 90, (43, 31, 2)).astype(np.uint8)
        for function in (channels.window, channels.window_percentile):
            shown = [
                function(values.astype(dtype), index=1, low=low, high=high, scale=scale)
                for dtype in (np.uint8, np.uint16, np.float32)
            ]
            np.testing.assert_array_equal(shown[0], shown[1])
            np.testing.assert_array_equal(shown[0], shown[2])

    def test_window_flat_finds_spots_of_40_counts_on_a_ramp_of_4000(self) -> None:
        ramp = np.broadcast_to(np.linspace(1000, 5000, 90), (61, 90)).astype(np.uint16)
        spot = disc((61, 90), (30, 40), 2, 40, 0)
        flat = channels.window_flat((ramp + spot)[:, :, None], index=0, sigma=6.0, low=0.0, high=50.0)
        assert flat.max() > 140
        # Along the edges, too: about a plain mirror the ramp would turn back and stand out by 200 counts.
        assert flat[disc((61, 90), (30, 40), 12, 1, 0) == 0].max() < 12
        assert np.hypot(*np.subtract(np.unravel_index(flat.argmax(), flat.shape), (30, 40))) < 3

    def test_stains_are_told_apart(self) -> None:
        amount = np.array([0.8, 0.5])
        colours = np.array(channels.STAINS[:2])
        colours /= np.linalg.norm(colours, axis=1, keepdims=True)
        for other in (0.0, 0.3):
            density = amount[:, None] * np.eye(2) + other * (1 - np.eye(2))
            image = np.rint(256 * 10 ** -(density @ colours) - 1).astype(np.uint8)[None]
            hematoxylin = channels.plane(image, channel="hematoxylin")[0].astype(float)
            eosin = channels.plane(image, channel="eosin")[0].astype(float)
            np.testing.assert_allclose(hematoxylin, 200 * density[:, 0], atol=6)
            np.testing.assert_allclose(eosin, 200 * density[:, 1], atol=6)


class TestSmoothing:
    @pytest.mark.parametrize("sigma", [1.0, 2.5, 3.5, 7.0, 15.0, 40.0])
    def test_reduced_scale_agrees_with_the_full_gaussian(self, sigma: float) -> None:
        rng = np.random.default_rng(2)
        plane = cv2.GaussianBlur(rng.integers(0, 256, (150, 203)).astype(np.uint8), (0, 0), 1.5)
        exact = cv2.GaussianBlur(plane.astype(np.float64), (0, 0), sigma, borderType=gray.BORDER)
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


def test_a_mix_of_a_grey_image_is_that_of_three_equal_colours():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3, 1) * 20
    mixed = channels.mix(grey, weights=(0.5, 1.0, -0.5), offset=3.0)
    colours = channels.mix(np.repeat(grey, 3, axis=2), weights=(0.5, 1.0, -0.5), offset=3.0)
    np.testing.assert_array_equal(mixed, colours)


def test_curves_are_looked_up_and_added():
    a = np.array([[0, 16, 255], [32, 48, 128]], np.uint8)
    rising = tuple(10.0 * i for i in range(9))
    falling = tuple(100.0 - 10 * i for i in range(9))
    assert (arithmetic.add_curves(a, a, curves=rising + falling) == 100).all()
    # Level 16 lies 16 / 31.875 of the way from the first point to the second.
    expected = np.rint(np.array([[0, 16, 255], [32, 48, 128]]) / 31.875 * 10)
    assert np.array_equal(arithmetic.add_curves(a, a, curves=rising + (0.0,) * 9), expected)
    four = arithmetic.add_curves4(a, a, a, a, curves=rising + falling + (510.0,) * 9 + (-400.0,) * 9)
    assert (four == 210).all()


def test_sums_of_curves_are_clipped_and_never_overflow():
    a = np.full((2, 3), 255, np.uint8)
    assert (arithmetic.add_curves4(a, a, a, a, curves=(510.0,) * 36) == 255).all()
    assert (arithmetic.add_curves4(a, a, a, a, curves=(-510.0,) * 36) == 0).all()
