"""The encoder as it is: features as torch gives them, of parts as of the whole, and heads as networks."""

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from evoseg.networks.architecture import PretrainedEncoder
from evoseg.networks.frozen import N_FEATURES, FrozenEncoder, LinearHead
from evoseg.networks.weights import is_pretrained_available, pretrained_state
from evoseg.operators.network import add_network, describe_network, match_brightness, measure_brightness, prepare
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.value import step
from tests.networks.drawn import discs

pytestmark = pytest.mark.skipif(not is_pretrained_available(), reason="the encoder's weights are not installed")
SHAPE = (121, 150)  # no multiples of 16, and not square


@pytest.fixture(scope="module", params=[1, 3])
def image(request) -> np.ndarray:
    return discs(1, shape=SHAPE, channels=request.param)[0].image


@pytest.fixture(scope="module")
def encoder(image) -> FrozenEncoder:
    return FrozenEncoder(image.shape[2])


def draw_head(seed: int, channels: int) -> LinearHead:
    rng = default_rng(seed)
    return LinearHead(rng.normal(0, 0.02, N_FEATURES), rng.normal(0, 1, N_FEATURES), 0.4, channels)


def test_features_are_those_of_torch(encoder, image):
    brightness = measure_brightness(image, encoder.channels)
    found = encoder.encode(image, brightness)
    seen = prepare(image, encoder.channels, 1, match_brightness(brightness, [(0.0, 1.0)] * encoder.channels))
    in_torch = PretrainedEncoder(encoder.channels).eval()
    in_torch.load_lite0(pretrained_state())
    with torch.inference_mode():
        expected = in_torch.raw_taps(torch.from_numpy(seen[None]))
    for tap, wanted in zip(found.taps, expected, strict=True):
        np.testing.assert_allclose(tap, wanted[0].numpy(), atol=1e-3)


def test_a_heads_plane_is_that_of_its_network(encoder, image):
    head = draw_head(1, encoder.channels)
    weights = add_network(head.network())
    in_pipeline = Pipeline([step("network", IMAGE, weights=weights)])(image)
    here = encoder.encode(image, measure_brightness(image, encoder.channels)).plane(head)
    assert np.ptp(here) > 50 and here.shape == SHAPE
    assert np.abs(here.astype(int) - in_pipeline).max() <= 1
    facts = describe_network(weights)
    assert (facts.channels, facts.outputs, facts.reduction) == (encoder.channels, ("foreground",), 1)
    assert facts.reach <= encoder.margin


def test_a_heads_plane_is_what_it_gives_for_each_pixels_features(encoder, image):
    features, head = encoder.encode(image, measure_brightness(image, encoder.channels)), draw_head(2, encoder.channels)
    rows, cols = np.divmod(np.arange(SHAPE[0] * SHAPE[1]), SHAPE[1])
    at_pixels = features.at(rows, cols)
    expected = 255 / (1 + np.exp(-4 * ((at_pixels - head.centre) @ head.weights + head.bias - 0.5)))
    assert np.abs(head.levels(at_pixels) - expected).max() <= 0.51
    inside = slice(16, -16), slice(16, -16)  # at the border, the plane tends to what is usual
    expected = expected.reshape(SHAPE)
    assert np.ptp(expected[inside]) > 50
    assert np.abs(expected - features.plane(head))[inside].max() <= 0.51


def test_features_of_a_part_are_those_of_the_whole():
    image = discs(1, shape=(180, 900), channels=1)[0].image
    encoder, brightness, head = FrozenEncoder(1), measure_brightness(image, 1), draw_head(3, 1)
    whole = encoder.encode(image, brightness).plane(head)
    left = 512 - encoder.margin
    part = encoder.encode(image[:, left:], brightness).part(0, 512 - 32 - left, 180, 900 - left)
    assert np.abs(part.plane(head)[:, 32:].astype(int) - whole[:, 512:]).max() <= 1
