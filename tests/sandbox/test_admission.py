"""Honest operators are admitted; those that are not total, pure or fast are told why."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.sandbox.admission import draw_inputs
from evoseg.sandbox.code import Code, CodeError, read_code

HERE = Path(__file__).parent
NOISE = cv2.GaussianBlur(stream(6, "admission").integers(0, 256, (96, 80)).astype(np.uint8), (0, 0), 2)
PLANE = cv2.normalize(NOISE, None, 0, 255, cv2.NORM_MINMAX)
EXAMPLE = {
    Kind.RAW: np.dstack([PLANE, 255 - PLANE, PLANE // 2]),
    Kind.GRAY: PLANE,
    Kind.MASK: PLANE > 128,
    Kind.LABELS: (PLANE // 32).astype(np.int32),
}


def files(folder: str) -> list[Path]:
    return sorted((HERE / folder).glob("*.py"))


def examples(code: Code) -> list[list[np.ndarray]]:
    return [[EXAMPLE[kind] for kind in code.inputs], [EXAMPLE[kind][:50, 7:] for kind in code.inputs]]


@pytest.mark.parametrize("file", files("honest"), ids=lambda file: file.stem)
def test_an_honest_operator_is_admitted(file, admission):
    code = read_code(file.read_text("utf-8"))
    results = admission.admit(code, examples(code))
    assert [result.shape for result in results] == [(96, 80), (50, 73)]
    # Something is seen, and not everything is the same.
    assert all(result.min() < result.max() for result in results)


@pytest.mark.parametrize("file", files("impure"), ids=lambda file: file.stem)
def test_an_operator_that_may_not_be_used_is_refused(file, admission):
    source = file.read_text("utf-8")
    code = Code(source, (Kind.GRAY,), Kind.GRAY)
    with pytest.raises(CodeError) as caught:
        admission.admit(code, examples(code))
    assert caught.value.cause == re.match(r"# Expected: (.+)\.\n", source)[1]


def test_it_is_said_whether_images_before_matter(admission):
    for name, words in (("image_before", "the images before"), ("unwritten_memory", "numpy.empty")):
        code = Code((HERE / "impure" / f"{name}.py").read_text("utf-8"), (Kind.GRAY,), Kind.GRAY)
        with pytest.raises(CodeError, match=words):
            admission.admit(code, examples(code))


def test_parameters_are_tried_at_both_ends(admission):
    code = read_code(
        "def operator(plane, *, part: Annotated[int, Range(0, 9)] = 3) -> Gray:\n    return plane // 2 + 9 // part\n"
    )
    with pytest.raises(CodeError, match="ZeroDivisionError"):
        admission.admit(code)


def test_drawn_images_have_all_kinds_and_pixel_types():
    code = Code("", (Kind.RAW, Kind.GRAY, Kind.MASK, Kind.LABELS), Kind.GRAY)
    drawn = draw_inputs(code)
    assert {image[0].dtype.name for image in drawn} == {"uint8", "uint16", "float32"}
    assert {image[0].shape[2] for image in drawn} == {1, 3}
    assert all([a.dtype.name for a in image[1:]] == ["uint8", "bool", "int32"] for image in drawn)
    assert all(len({a.shape[:2] for a in image}) == 1 for image in drawn)
    assert (1, 1) in {image[1].shape for image in drawn}
