"""Random programs are well typed, fit the images, and differ."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng

from evoseg.core.kinds import Kind
from evoseg.evolve.image_stats import measure_images
from evoseg.evolve.proposers.classics import intakes
from evoseg.evolve.proposers.random_programs import make_vocabulary, scaled, unscaled
from evoseg.operators import registry
from evoseg.operators.parameters import Range
from evoseg.pipeline import IMAGE, Pipeline, print_text, read_text
from evoseg.pipeline.value import step
from tests.evolve.helpers import discs, stats_of

NOISE = default_rng(4).random((24, 35, 6))
IMAGES = {
    "grey": (NOISE[:, :, :1] * 255).astype(np.uint8),
    "rgb": (NOISE[:, :, :3] * 255).astype(np.uint8),
    "16 bit": (NOISE[:, :, :1] * 900 + 400).astype(np.uint16),
    "six channels": (NOISE * 255).astype(np.uint8),
    "float": (NOISE[:, :, :2] - 0.5).astype(np.float32),
}
RANGES = [p.domain for op in registry.operators() for p in op.parameters if isinstance(p.domain, Range)]


def depth(pipeline: Pipeline) -> int:
    longest: list[int] = []
    for s in pipeline.steps:
        longest.append(1 + max((longest[j] for j in s.inputs if j != IMAGE), default=0))
    return longest[-1]


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("kind", [Kind.GRAY, Kind.MASK])
def test_grown_programs_have_their_kind_and_run(name, kind):
    words = make_vocabulary(measure_images([IMAGES[name]]))
    rng = default_rng(8)
    for i in range(60):
        pipeline = words.grow(rng, kind, 1 + i % 6)
        assert pipeline.output is kind
        assert read_text(print_text(pipeline)) == pipeline.settled()
        assert pipeline(IMAGES[name]).shape == (24, 35)


def test_depth_bounds_the_way_from_image_to_result():
    words = make_vocabulary(stats_of(discs(1)))
    rng = default_rng(8)
    for most in range(1, 7):
        # Where a mask or a plane made from one is drawn last, it needs what it is made from.
        assert max(depth(words.grow(rng, Kind.GRAY, most)) for _ in range(80)) <= most + 2


@pytest.mark.e2e
def test_programs_use_the_whole_vocabulary_and_seldom_repeat():
    words = make_vocabulary(stats_of(discs(1)))
    rng = default_rng(8)
    grown = [words.grow(rng, Kind.MASK, 6) for _ in range(3000)]
    used = Counter(s.operator for p in grown for s in p.steps)
    assert {op.name for op in words.operators} - set(used) == set()
    assert len({p.form for p in grown}) > 2200


def test_colour_is_not_looked_for_in_grey_images():
    words = make_vocabulary(measure_images([IMAGES["grey"]]))
    rng = default_rng(8)
    used = {s.operator for _ in range(300) for s in words.grow(rng, Kind.MASK, 5).steps}
    assert not used & {"plane", "mix"}


def test_channels_that_are_equal_in_all_images_count_as_one():
    rng = default_rng(8)
    greys = [np.repeat(rng.integers(0, 256, (31, 44, 1), np.uint8), 3, axis=2) for _ in range(3)]
    equal = measure_images(greys)
    assert (equal.repeated, equal.distinct, equal.coloured) == ((1, 2), (0,), False)
    words = make_vocabulary(equal)
    for i in range(300):
        program = words.grow(default_rng(i), Kind.MASK, 4)
        assert program.channels == 1 and not {"plane", "mix"} & {s.operator for s in program.steps}
    assert intakes(equal) == [Pipeline([step("channel", IMAGE, index=0)])]
    one_pixel = [*greys[:2], greys[2].copy()]
    one_pixel[2][5, 7, 1] ^= 1
    assert (measure_images(one_pixel).repeated, measure_images(one_pixel).coloured) == ((2,), True)
    assert measure_images(greys, equal_as_one=False).repeated == ()


def test_a_repeated_plane_is_passed_over_and_those_after_it_are_not():
    rng = default_rng(8)
    image = rng.integers(0, 60000, (31, 44, 4), np.uint16)
    image[:, :, 2] = image[:, :, 0]
    stats = measure_images([image])
    assert stats.distinct == (0, 1, 3)
    words, drawn = make_vocabulary(stats), set()
    for i in range(200):
        drawn |= {s.params[0] for s in words.grow(default_rng(i), Kind.MASK, 3).steps if s.operator == "channel"}
    assert drawn == {0, 1, 3}


def test_only_channels_that_exist_are_drawn():
    words = make_vocabulary(measure_images([IMAGES["float"]]))
    rng = default_rng(8)
    intakes = [words.grow(rng, Kind.GRAY, 1).steps[0] for _ in range(200)]
    indices = {registry.get(s.operator).named(s.params).get("index") for s in intakes}
    assert indices - {None} == {0, 1}


def test_native_windows_lie_where_the_values_lie():
    words = make_vocabulary(measure_images([IMAGES["16 bit"]]))
    window = registry.get("window")
    rng = default_rng(8)
    for _ in range(100):
        values = window.named(words.draw_step(rng, window, (IMAGE,)).params)
        assert 395 <= values["low"] <= 1305
        assert 395 <= values["high"] <= 1305


def test_growth_depends_on_the_stream_only():
    words = make_vocabulary(stats_of(discs(1)))
    first, second = ([words.grow(rng, Kind.MASK, 5) for _ in range(20)] for rng in (default_rng(3), default_rng(3)))
    assert first == second


@given(st.sampled_from(RANGES), st.floats(0, 1))
def test_scales_run_from_one_end_of_a_range_to_the_other(domain, u):
    value = unscaled(domain, u)
    # A logarithmic range from 0 begins at 0.001: ratios need a beginning.
    low = max(domain.low, 1e-3) if domain.log else domain.low
    assert low - 1e-9 <= value <= domain.high * (1 + 1e-9) + 1e-9
    assert scaled(domain, value) == pytest.approx(u, abs=1e-6)
