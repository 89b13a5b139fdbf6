"""The operator `network`: what a network sees of an image, and what becomes of its answer."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoseg.core.errors import PipelineError
from evoseg.core.kinds import Kind
from evoseg.evolve.proposers.random_programs import select_usable
from evoseg.operators import registry
from evoseg.operators.network import (
    EXAMPLE_NETWORK,
    add_network,
    computed_planes,
    cut_tiles,
    match_brightness,
    measure_brightness,
    network,
    network_bytes,
    network_cost,
    network_planes,
    network_reach,
    prepare,
    restore,
)
from evoseg.operators.network_file import read_network
from evoseg.operators.strips import cut_strips
from evoseg.pipeline import read_text
from evoseg.pipeline.running import ArrayRows, run_in_bands
from evoseg.pipeline.value import step
from tests.operators.networks import conv_network, deep_network


@pytest.mark.parametrize(
    ("shape", "reduction", "expected"),
    [
        ((16, 32), 1, (16, 32)),
        ((17, 33), 1, (32, 48)),
        ((61, 397), 2, (32, 208)),
        ((1, 65), 4, (16, 32)),
    ],
)
def test_a_network_sees_sides_that_are_multiples_of_16(shape, reduction, expected):
    image = np.zeros((*shape, 2), np.uint8)
    assert prepare(image, 2, reduction).shape == (2, *expected)


def test_native_values_reach_the_network_as_they_are():
    image = np.arange(16 * 32, dtype=np.uint16).reshape(16, 32, 1) * 128
    np.testing.assert_array_equal(prepare(image, 1, 1)[0], image[:, :, 0])


def test_nan_counts_as_0_and_floats_are_bounded():
    image = np.zeros((16, 16, 1), np.float32)
    image[0, :4, 0] = np.nan, np.inf, -np.inf, -3e38
    assert prepare(image, 1, 1)[0, 0, :4].tolist() == [0, 1e9, -1e9, -1e9]


def test_the_mean_of_a_block_is_one_pixel_and_the_image_goes_on_mirrored():
    image = np.arange(3 * 5, dtype=np.uint8).reshape(3, 5, 1)
    seen = prepare(image, 1, 2)[0]
    assert seen.shape == (16, 16)
    # Columns 4 and, mirrored, 4 again; rows 2 and 2 again.
    assert seen[0, 0] == np.mean([0, 1, 5, 6])
    assert seen[1, 2] == image[2, 4, 0]
    assert seen[0, 3] == np.mean([2, 3, 7, 8])  # columns 3 and 2, mirrored


def test_channels_that_an_image_lacks_are_its_last_and_others_are_not_seen():
    image = np.dstack([np.full((16, 16), level, np.uint8) for level in (3, 7)])
    assert prepare(image, 4, 1)[:, 0, 0].tolist() == [3, 7, 7, 7]
    assert prepare(image, 1, 1)[:, 0, 0].tolist() == [3]


@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_planes_come_back_in_the_size_of_the_image(reduction):
    image = np.zeros((61, 97, 1), np.uint8)
    planes = np.stack([np.full(prepare(image, 1, reduction).shape[1:], share, np.float32) for share in (0, 0.5, 1, 7)])
    restored = restore(planes, reduction, (61, 97))
    assert restored.dtype == np.uint8 and restored.shape == (4, 61, 97)
    assert [np.unique(plane).tolist() for plane in restored] == [[0], [128], [255], [255]]


@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_what_a_network_sees_and_what_comes_back_lie_in_the_same_place(reduction):
    disc = np.zeros((96, 160), np.uint8)
    cv2.circle(disc, (90, 40), 20, 255, -1)
    there_and_back = restore(prepare(disc[:, :, None], 1, reduction) / 255, reduction, disc.shape)[0]
    rows, cols = np.nonzero(there_and_back > 127)
    assert (rows.mean(), cols.mean()) == pytest.approx((40, 90), abs=0.1)


def test_the_example_shows_the_first_channel_half_of_it_and_a_quarter():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    for output, share in (("foreground", 1), ("distance", 2), ("points", 4)):
        expected = np.rint(image[:, :, 0] / 256 / share * 255)
        assert np.abs(network(image, output=output) - expected).max() <= 0.5


def test_a_network_that_is_not_there_is_an_error_when_it_is_run_or_costed():
    text = f'def pipeline(image):\n    return network(image, weights="{"0" * 32}", output="points")\n'
    pipeline = read_text(text)
    assert read_text(str(pipeline)) == pipeline and pipeline.networks == ("0" * 32,)
    copy = pickle.loads(pickle.dumps(pipeline))
    for use in (lambda: copy(np.zeros((4, 4), np.uint8)), lambda: pipeline.cost, lambda: pipeline.save("/nowhere")):
        with pytest.raises(PipelineError, match=f"so does a pickle. .*, with {'0' * 32}.onnx beside it"):
            use()


@pytest.mark.parametrize("weights", ["", "0" * 31, "0" * 33, "A" * 32, "../../../etc/passwd", "0" * 31 + "\n"])
def test_a_digest_has_32_digits(weights):
    with pytest.raises(PipelineError, match="weights must be a digest of 32"):
        step("network", -1, weights=weights)


def test_a_network_looks_at_all_its_channels():
    pipeline = read_text("def pipeline(image):\n    return network(image)\n")
    assert (pipeline.channels, pipeline.reads(3), pipeline.compares_colours) == (1, (0,), False)


def test_no_search_draws_a_network():
    assert "network" not in {op.name for op in select_usable(registry.operators(), Kind.MASK)}


@given(st.data())
def test_a_damaged_file_is_one_error(data):
    whole = network_bytes(EXAMPLE_NETWORK)
    at = data.draw(st.integers(0, len(whole) - 1))
    new = data.draw(st.binary(max_size=4))
    damaged = whole[:at] + new + whole[at + data.draw(st.integers(0, 8)) :]
    try:
        facts = read_network(damaged)
    except PipelineError:
        return
    # The damage is in a name, or in a number.
    assert facts.channels > 0 and set(facts.outputs) <= {"foreground", "distance", "points"}


@given(st.binary(max_size=400))
def test_any_bytes_are_no_network(data):
    with pytest.raises(PipelineError, match="not a network that evoseg wrote"):
        read_network(data)


@pytest.mark.parametrize("length", [0, 1, 100, 390])
def test_a_truncated_file_is_one_error(length):
    with pytest.raises(PipelineError, match="not a network that evoseg wrote"):
        add_network(network_bytes(EXAMPLE_NETWORK)[:length])


@given(st.integers(1, 900), st.integers(1, 400), st.integers(0, 6), st.integers(0, 3))
def test_tiles_cover_an_image_once_and_see_their_margin(length, most, margin, power):
    block = 2**power
    margin *= block
    tiles = cut_tiles(length, most, margin, block)
    assert [start for _, start, _, _ in tiles] == [0, *(end for _, _, end, _ in tiles[:-1])]
    assert tiles[-1][2] == length
    for first, start, end, last in tiles:
        assert first % block == 0
        assert first == max(0, start - margin) or len(tiles) == 1
        assert last == min(length, end + margin) or last == length


def box(reduction: int = 1) -> str:
    """Return a network of the mean of 3 x 3 pixels."""
    return add_network(conv_network(np.full((1, 1, 3, 3), 1 / 9 / 255), reduction))


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_a_network_runs_on_what_it_sees_of_the_image(reduction):
    image = noise((61, 97, 1))
    seen = prepare(image, 1, reduction)[0]
    expected = restore(cv2.blur(seen, (3, 3), borderType=cv2.BORDER_CONSTANT)[None] / 255, reduction, (61, 97))[0]
    found = network(image, weights=box(reduction))
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("shape", [(700, 150, 2), (130, 900, 2), (333, 444, 2)])
def test_planes_do_not_depend_on_the_tiles(reduction, shape):
    weights = add_network(deep_network(channels=2, reduction=reduction, n_planes=2))
    image = noise(shape)
    whole = computed_planes(image, weights)
    assert np.ptp(whole[0]) > 100
    for most in (1 << 12, 1 << 15):
        tiled = computed_planes(image, weights, most_pixels=most)
        assert np.abs(tiled.astype(int) - whole).max() <= 1


def test_planes_do_not_depend_on_the_bands():
    weights = add_network(deep_network())
    pipeline = read_text(f'def pipeline(image):\n    return gaussian(network(image, weights="{weights}"), sigma=2.0)\n')
    image = noise((1500, 60, 1))
    banded = run_in_bands(pipeline, ArrayRows(image), band=1 << 10)
    assert np.abs(banded.astype(int) - pipeline(image)).max() <= 1


def test_channels_are_given_the_mean_and_the_deviation_that_a_network_is_used_to():
    image = noise((90, 70, 2)).astype(np.float32)
    brightness = [(100.0, 20.0), (-3.0, 0.5)]
    matched = match_brightness(measure_brightness(image, 3), [*brightness, (0.0, 1.0)])
    seen = prepare(image, 3, 1, matched)[:, :90, :70]
    assert seen.mean((1, 2)) == pytest.approx([100, -3, 0], abs=1e-3)
    assert seen.std((1, 2)) == pytest.approx([20, 0.5, 1], rel=1e-4)
    flat = np.full((9, 9, 1), 7, np.uint8)  # without contrast, only the mean is matched
    assert prepare(flat, 1, 1, match_brightness(measure_brightness(flat, 1), [(5.0, 2.0)]))[0, :9, :9] == pytest.approx(
        5
    )
    halves = measure_brightness(image[:31], 2) + measure_brightness(image[31:], 2)
    assert halves == pytest.approx(measure_brightness(image, 2))


def test_a_darker_image_of_less_contrast_gives_the_same_planes():
    weights = add_network(deep_network(brightness=[[120.0, 60.0]]))
    image = noise((160, 200, 1)).astype(np.float32)
    found = network(image, weights=weights)
    assert np.ptp(found) > 100
    for darker in (0.25 * image + 11, 300 * image - 5000):
        assert np.abs(network(darker.astype(np.float32), weights=weights).astype(int) - found).max() <= 1


def test_brightness_is_that_of_the_whole_image_where_bands_differ():
    weights = add_network(deep_network(brightness=[[120.0, 60.0]]))
    image = noise((1500, 60, 1))
    image[700:] //= 4
    pipeline = read_text(f'def pipeline(image):\n    return network(image, weights="{weights}")\n')
    banded = run_in_bands(pipeline, ArrayRows(image), band=1 << 10)
    assert np.abs(banded.astype(int) - pipeline(image)).max() <= 1


@pytest.mark.parametrize("brightness", [[[1.0, 0.0]], [[1.0, 2.0], [1.0, 2.0]], [["x", 1.0]], 7, [[1.0]]])
def test_brightness_that_makes_no_sense_is_refused(brightness):
    with pytest.raises(PipelineError, match="how bright images are to be"):
        add_network(deep_network(brightness=brightness))


def test_planes_do_not_depend_on_the_images_before():
    weights = add_network(deep_network())
    image = noise((160, 208, 1))
    first = network(image, weights=weights)
    for shape in ((1500, 60, 1), (64, 64, 1)):
        network(noise(shape), weights=weights)
        network(noise((16, 16, 1)))
        assert np.array_equal(network(image, weights=weights), first)


def test_threads_do_not_disturb_each_other():
    weights = add_network(deep_network())
    images = [noise((160, 160 + 16 * i, 1), i) for i in range(4)]
    alone = [network(image, weights=weights) for image in images]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            together = list(pool.map(lambda image: network(image, weights=weights), images))
            assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_outputs_of_one_image_are_computed_together_and_never_taken_for_another_images():
    weights = add_network(conv_network([[1 / 256], [1 / 512]], outputs=("foreground", "distance")))
    image = noise((20, 30, 1))
    first = network_planes(image, weights)
    assert network_planes(image.copy(), weights) is first
    image[3, 4] ^= 255
    assert not np.array_equal(network_planes(image, weights), first)
    assert np.array_equal(network_planes(image.astype(np.uint16), weights), network_planes(image, weights))
    taken = network(image, weights=weights, output="distance")
    taken[:] = 0  # the caller's own
    assert network(image, weights=weights, output="distance").any()


def test_an_output_that_a_network_does_not_have_is_an_error():
    with pytest.raises(PipelineError, match="does not give 'points', but foreground"):
        network(noise((4, 4, 1)), weights=box(), output="points")


def test_cost_follows_the_work_and_reach_the_scale():
    fine, coarse = (add_network(deep_network(reduction=reduction)) for reduction in (1, 4))
    assert network_cost(fine) > 3 * network_cost(coarse)
    assert network_reach(coarse) == 4 * network_reach(fine)
    # Bands and strips of a network begin at the edge of a block.
    for first, top, bottom, last in cut_strips(9999, network_reach(coarse), 300):
        assert first % 64 == top % 64 == 0 and bottom > top and last >= bottom


def test_a_network_of_four_channels_needs_four():
    weights = add_network(conv_network([[0.0, 0, 0, 1 / 256]]))
    pipeline = read_text(f'def pipeline(image):\n    return network(image, weights="{weights}")\n')
    assert (pipeline.channels, pipeline.reads(4), pipeline.compares_colours) == (4, (0, 1, 2, 3), True)
