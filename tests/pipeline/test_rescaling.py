"""Lengths follow the objects; everything else stays."""

from hypothesis import given
from hypothesis import strategies as st

from evoseg.pipeline import read_text, rescale
from evoseg.pipeline.structure import has_lengths

TEXT = """
def pipeline(image):
    a = channel(image, index=0)
    b = gaussian(a, sigma=2.0)
    c = threshold(b, level=90, polarity="dark")
    d = remove_small(c, area=40)
    return open_mask(d, radius=3)
"""


def test_lengths_grow_with_the_factor_and_areas_with_its_square():
    expected = TEXT.replace("sigma=2.0", "sigma=4.0").replace("area=40", "area=160").replace("radius=3", "radius=6")
    assert rescale(read_text(TEXT), 2.0) == read_text(expected)


@given(factor=st.floats(1e-3, 1e3))
def test_whatever_the_factor_the_result_is_valid_and_of_one_structure(factor):
    before, after = read_text(TEXT), rescale(read_text(TEXT), factor)
    assert [s.operator for s in after.steps] == [s.operator for s in before.steps]


def test_a_factor_of_one_changes_nothing():
    assert rescale(read_text(TEXT), 1.0) == read_text(TEXT)


def test_a_program_without_lengths_says_so():
    assert has_lengths(read_text(TEXT))
    assert not has_lengths(
        read_text("def pipeline(image):\n a = channel(image, index=0)\n return threshold(a, level=9)")
    )
