"""What images look like in figures, and how far others are from them."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.errors import PipelineError
from evoseg.datasets import Dataset
from evoseg.datasets.figures import N_FIGURES, UNFAMILIAR, USUAL, SeenFigures, measure_figures
from evoseg.datasets.imageformat import ImageFormat
from evoseg.synthetic import scenes

SHAPE = (173, 211)
USUAL_ONES = np.array([*USUAL.values()])


def named(image, low=0.0, high=255.0):
    return dict(zip(USUAL, measure_figures(image, low, high), strict=True))


def stripes(period=8, *, across=False):
    places = np.arange(SHAPE[0])[:, None] if across else np.arange(SHAPE[1])[None]
    wave = np.sin(2 * np.pi * places / period) * np.ones(SHAPE)
    return (128 + 100 * wave).astype(np.uint8)[:, :, None]


def drawn(name, seed, n=1):
    images = [getattr(scenes, name)(default_rng([seed, i]), SHAPE).image for i in range(n)]
    return [image if image.ndim == 3 else image[:, :, None] for image in images]


def test_detail_is_found_at_its_scale():
    for band, period in enumerate((3, 9, 18, 36)):
        contrasts = [named(stripes(period))[f"detail_{i}"] for i in range(4)]
        assert int(np.argmax(contrasts)) == band


def test_the_direction_of_stripes_is_a_figure():
    upright, lying = named(stripes()), named(stripes(across=True))
    assert upright["coherence"] > 0.9 and lying["coherence"] > 0.9
    assert upright["rows"] > 0.9 and lying["rows"] < -0.9
    assert abs(upright["diagonal"]) < 0.01


def test_bright_spots_are_skewed_the_other_way_than_dark_ones():
    spots = np.full((*SHAPE, 1), 20, np.uint8)
    spots[10::20, 10::20] = 220
    bright, dark = named(spots), named(240 - spots)
    assert bright["skewness_0"] > 0.3 and dark["skewness_0"] == pytest.approx(-bright["skewness_0"], abs=1e-3)


def test_figures_do_not_depend_on_the_scale_of_values():
    image = drawn("nuclei", 3)[0]
    wide = image.astype(np.float32) * 50 - 1000
    other = measure_figures(wide, -1000, 255 * 50 - 1000)
    np.testing.assert_allclose(other, measure_figures(image, 0, 255), atol=2e-3)


def test_grey_images_have_no_colour():
    image = stripes()
    alone = named(image)
    assert alone == named(np.repeat(image, 3, axis=2)) and alone["red"] == alone["blue"] == 0
    assert named(np.dstack([image, image // 2, image // 2]))["red"] > 0.1


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 3), (3, 2, 2)])
@pytest.mark.parametrize("value", [0, np.nan, np.inf, 1e30])
def test_every_image_has_figures(shape, value):
    assert np.isfinite(measure_figures(np.full(shape, value, np.float32), 0, 0)).all()


def test_the_distance_is_that_of_the_formula():
    seen = SeenFigures(4, (0.0,) * N_FIGURES, (0.0,) * N_FIGURES)
    # Nothing differs between the four: the variance is 3 / (3 + 4 - 1) of the usual one.
    expected = (3 / 6 * (1 + 1 / 4)) ** -0.5
    assert seen.distance(USUAL_ONES) == pytest.approx(expected)
    wider = replace(seen, deviations=tuple(2 * USUAL_ONES))
    assert wider.distance(USUAL_ONES) == pytest.approx(((3 + 4 * 4) / 6 * (1 + 1 / 4)) ** -0.5)


@pytest.mark.parametrize("name", ["nuclei", "tissue", "vessels", "grains"])
def test_images_of_one_kind_are_familiar_and_others_are_not(name):
    seen = SeenFigures.of([measure_figures(image, 0, 255) for image in drawn(name, 1, 6)])
    own = [seen.distance(measure_figures(image, 0, 255)) for image in drawn(name, 2, 6)]
    assert np.mean(np.array(own) < UNFAMILIAR) >= 5 / 6
    for other in {"nuclei", "tissue", "vessels", "grains", "spots"} - {name}:
        others = [seen.distance(measure_figures(image, 0, 255)) for image in drawn(other, 3, 5)]
        assert np.median(others) > UNFAMILIAR, other


def test_the_format_of_a_dataset_knows_its_figures_and_survives_a_text():
    images = drawn("tissue", 5, 3)
    known = Dataset.from_arrays(images, [np.zeros(SHAPE, bool)] * 3).image_format(["000", "002"])
    assert known.figures is not None and known.figures.n_images == 2
    assert ImageFormat.marked(f"# evoseg 1\n{known.mark()}") == known
    expected = np.mean([known.measure(images[i]) for i in (0, 2)], axis=0)
    np.testing.assert_allclose(known.figures.means, expected, rtol=1e-3)
    assert known.distance(images[1]) < UNFAMILIAR < known.distance(255 - images[1])
    assert replace(known, figures=None).distance(images[1]) is None


@pytest.mark.parametrize(
    "figures",
    [
        {},
        None,
        {"images": 0, "means": [0] * N_FIGURES, "deviations": [0] * N_FIGURES},
        {"images": 2, "means": [0] * 3, "deviations": [0] * 3},
        {"images": 2, "means": [float("nan")] * N_FIGURES, "deviations": [0] * N_FIGURES},
        {"images": 2, "means": [0] * N_FIGURES, "deviations": [-1] * N_FIGURES},
    ],
)
def test_figures_that_make_no_sense_are_one_error(figures):
    document = {"channels": ["gray"], "dtype": "uint8", "values": {"low": 0, "median": 1, "high": [2, 3]}}
    with pytest.raises(PipelineError, match="cannot be read"):
        ImageFormat.read(document | {"figures": figures})
