"""What a pipeline knows of its images, and what is said of others."""

import numpy as np
import pytest

from evoseg.core.errors import PipelineError
from evoseg.core.notes import group_notes
from evoseg.datasets.imageformat import (
    ImageFormat,
    ImageTraits,
    channel_differences,
    image_format,
    levels,
    notes_of,
    pixel_differences,
    pixel_size_differences,
)

RGB = ImageFormat(("R", "G", "B"), "uint8", 5.0, 40.0, (120.0, 160.0), pixel_size="0.65 um")
GRAY16 = ImageFormat(("gray",), "uint16", 100.0, 400.0, (1200.0, 1600.0))
TWO = ImageFormat(("DAPI", "GFP"), "uint16", 100.0, 400.0, (1200.0, 1600.0))


@pytest.mark.parametrize("known", [RGB, GRAY16, TWO, ImageFormat(("R", "G", "B"), "float32", 0, 0.1, (0.5, 1), True)])
def test_it_survives_the_text_of_a_pipeline(known):
    text = f"# evoseg 1: channel@1\n{known.mark()}def pipeline(image):\n"
    assert ImageFormat.marked(text) == known
    assert ImageFormat.read(known.as_json()) == known


def test_a_text_without_the_line_says_nothing():
    assert ImageFormat.marked("# evoseg 1: channel@1\ndef pipeline(image):\n    # made for: lunch\n") is None


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{",
        "[" * 3000,
        '{"channels": [], "dtype": "uint8", "values": {"low": 0, "median": 1, "high": [2, 3]}}',
        '{"channels": ["gray"], "dtype": "int8", "values": {"low": 0, "median": 1, "high": [2, 3]}}',
        '{"channels": ["gray"], "dtype": "uint8", "values": {"low": NaN, "median": 1, "high": [2, 3]}}',
        '{"channels": ["a\\u001b"], "dtype": "uint8", "values": {"low": 0, "median": 1, "high": [2, 3]}}',
        '{"channels": ["gray"], "dtype": "uint8", "values": {"low": 0, "median": 1, "high": [2, 3]}, "more": 1}',
    ],
)
def test_a_line_that_makes_no_sense_is_one_error(line):
    with pytest.raises(PipelineError, match="cannot be read"):
        ImageFormat.marked(f"# made for: {line}\n")


def test_the_levels_of_an_image_are_percentiles_over_its_channels():
    ramp = np.arange(10_000, dtype=np.uint16).reshape(100, 100)
    image = np.dstack([ramp, ramp + 20_000])
    assert levels(image) == (100, (5000 + 25_000) / 2, 29_899)


def test_the_format_of_several_images_holds_their_extremes_and_the_names_on_which_they_agree():
    looks = [
        ImageTraits("uint8", (3, 30, 90), True, ("A", "B")),
        ImageTraits("uint16", (1, 50, 200), False, ("A", "B")),
    ]
    assert image_format(("C1", "C2", "depth"), looks) == ImageFormat(
        ("A", "B", "depth"), "uint16", 1.0, 40.0, (90.0, 200.0)
    )
    others = [looks[0], ImageTraits("uint8", (3, 30, 90), True, ("B", "A"))]
    assert image_format(("C1", "C2"), others).channels == ("C1", "C2")
    assert image_format(("R", "G", "B"), [ImageTraits("uint8", (3, 30, 90), gray) for gray in (True, False)]).some_gray


@pytest.mark.parametrize(
    ("known", "n", "names", "reads", "colours", "expected"),
    [
        (RGB, 3, ("R", "G", "B"), (0, 1, 2), True, None),
        (RGB, 1, ("gray",), (0, 1, 2), True, True),
        (RGB, 1, ("gray",), (1,), False, False),
        (RGB, 2, (), (0, 1, 2), True, True),
        (RGB, 2, (), (0,), False, False),
        (RGB, 4, (), (0,), False, False),
        (RGB, 3, ("C1", "C2", "C3"), (0,), False, False),
        (TWO, 2, ("DAPI", "GFP"), (0, 1), False, None),
        (TWO, 2, ("C1", "C2"), (0, 1), False, None),
        (TWO, 2, ("GFP", "DAPI"), (0, 1), False, True),
        (TWO, 2, ("DAPI", "RFP"), (0, 1), False, False),
        (TWO, 1, ("DAPI",), (0, 1), False, True),
        (GRAY16, 3, ("R", "G", "B"), (0,), False, False),
        (GRAY16, 1, ("gray",), (0,), False, None),
    ],
)
def test_channels_that_cannot_mean_the_same_are_errors_and_others_warnings(known, n, names, reads, colours, expected):
    found = channel_differences(known.as_json(), n, names, reads, colours, False)
    assert [fatal for _, fatal, _, _ in found] == ([] if expected is None else [expected])


def test_grey_saved_as_colour_is_grey_and_grey_among_colour_is_known():
    assert channel_differences(GRAY16.as_json(), 3, (), (0,), False, True) == []
    mixed = RGB.as_json() | {"some_gray": True}
    assert channel_differences(mixed, 1, ("gray",), (0, 1, 2), True, False) == []


def image(low: float, high: float, dtype: str, ground: float = 0.2) -> np.ndarray:
    plane = np.full((40, 50), low + ground * (high - low))
    plane[5:10], plane[20:25] = low, high
    return plane[..., None].astype(dtype)


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        (image(100, 1600, "uint16"), None),
        (image(100, 4000, "uint16"), None),
        (image(90, 700, "uint16"), None),
        (image(100 * 16, 1600 * 16, "uint16"), "values"),
        (image(6, 100, "uint16"), "values"),
        (image(0, 0, "uint16"), "values"),
        (image(10, 160, "uint8"), "dtype"),
        (image(0, 1, "float32"), "dtype"),
        (image(100, 1600, "uint16", ground=0.9), "ground"),
    ],
)
def test_values_of_another_kind_are_told(pixels, kind):
    found = pixel_differences(GRAY16.as_json(), pixels)
    assert [(name, fatal) for name, fatal, _, _ in found] == ([] if kind is None else [(kind, False)])


@pytest.mark.parametrize(
    ("size", "differs"), [("0.65 µm", False), ("650 nm", False), ("0.33 um", True), ("", False), ("small", False)]
)
def test_pixel_sizes_are_compared_whatever_their_unit(size, differs):
    assert bool(pixel_size_differences(RGB, size)) == differs


def test_differences_of_one_kind_are_one_line_with_a_count_and_three_names():
    found = [
        (f"{i}.tif", pixel_differences(RGB.as_json(), image(0, 1, dtype)))
        for i, dtype in enumerate(("uint16", "float32", "uint16", "uint16", "uint16"))
    ]
    (line,) = group_notes(notes_of(found))
    assert line.startswith(
        "0.tif, 1.tif, 2.tif and 2 more (5 in all): uint16 or float32, but the pipeline was made for"
    )
