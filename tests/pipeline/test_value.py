"""Building a pipeline checks it; running one gives the values that its operators give."""

import numpy as np
import pytest

from evoseg.core.errors import PipelineError
from evoseg.core.kinds import Kind
from evoseg.operators import registry
from evoseg.operators.network import EXAMPLE_NETWORK
from evoseg.pipeline import IMAGE, Pipeline, Step, read_text
from evoseg.pipeline.explaining import pipeline_json, pipeline_text
from evoseg.pipeline.value import step


def image(shape: tuple[int, ...] = (31, 47, 3), dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(5).integers(0, 255, shape).astype(dtype)


def test_a_program_runs_its_steps_in_order():
    pipeline = Pipeline([step("channel", IMAGE, index=1), step("gaussian", 0, sigma=2.0), step("level", 1, level=120)])
    raw = image()
    plane = registry.get("channel").function(raw, index=1)
    smooth = registry.get("gaussian").function(plane, sigma=2.0)
    assert np.array_equal(pipeline.until(0)(raw), plane)
    assert np.array_equal(pipeline.until(1)(raw), smooth)
    answer = pipeline(raw)
    assert np.array_equal(answer, smooth > 120)
    assert (answer.dtype, answer.shape, pipeline.output) == (np.bool_, (31, 47), Kind.MASK)


def test_an_image_without_channel_axis_is_one_channel():
    pipeline = Pipeline([step("channel", IMAGE), step("gaussian", 0)])
    flat = image((23, 41))
    assert np.array_equal(pipeline(flat), pipeline(flat[:, :, None]))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_native_types_are_taken(dtype):
    assert Pipeline([step("window", IMAGE, low=0.0, high=200.0)])(image(dtype=dtype)).dtype == np.uint8


def test_a_view_that_is_not_contiguous_gives_the_same_answer():
    wide = image((40, 60, 3))
    view = wide[::2, ::-3]
    pipeline = Pipeline([step("plane", IMAGE, channel="L"), step("median", 0)])
    assert np.array_equal(pipeline(view), pipeline(view.copy()))


def test_the_callers_image_is_left_as_it_was():
    raw = image()
    raw.flags.writeable = False
    Pipeline([step("plane", IMAGE), step("threshold", 0)])(raw)


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (np.zeros((4, 5), np.complex128), "complex128"),
        (np.zeros((4,), np.uint8), r"\(4,\)"),
        (np.zeros((2, 3, 4, 5), np.uint8), r"\(2, 3, 4, 5\)"),
        (np.zeros((0, 5, 3), np.uint8), r"\(0, 5, 3\)"),
    ],
)
def test_other_arrays_are_refused_by_name(bad, word):
    with pytest.raises(PipelineError, match=word):
        Pipeline([step("channel", IMAGE)])(bad)


def test_a_doubling_chain_runs_each_step_once():
    steps = [step("channel", IMAGE)]
    steps += [step("geometric_mean", i, i) for i in range(150)]
    flat = np.full((3, 4), 9, np.uint8)
    assert np.array_equal(Pipeline(steps)(flat), flat)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "at least one step"),
        ([Step("gaussian", (IMAGE,), (2.0,))], "gaussian takes a gray value, but the image gives a raw value"),
        ([Step("channel", (IMAGE,), (0,)), Step("fill_holes", (0,), (0,))], "fill_holes takes a mask value"),
        ([Step("channel", (0,), (0,))], "not an earlier step"),
        ([Step("channel", (-2,), (0,))], "not an earlier step"),
        ([Step("channel", (IMAGE,), (0,)), Step("add", (0,), ())], "add takes 2 inputs, not 1"),
        ([Step("channel", (IMAGE,), ())], "channel takes 1 parameters, not 0"),
        ([Step("chanel", (IMAGE,), (0,))], "did you mean channel"),
        ([Step("channel", (IMAGE,), (0.5,))], "whole number"),
        ([Step("channel", (IMAGE,), (-1,))], "must lie within"),
    ],
)
def test_what_does_not_fit_cannot_be_built(steps, message):
    with pytest.raises(PipelineError, match=message):
        Pipeline(steps)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "2", None, (2.0,), 10**30, [2.0]])
def test_only_finite_numbers_are_numbers(value):
    step("gaussian", 0, sigma=1.0)  # 1.0 == True: a remembered answer must not let True pass
    with pytest.raises(PipelineError, match="sigma"):
        step("gaussian", 0, sigma=value)


@pytest.mark.parametrize("value", [(True, 2.0, 1.0), [1.0, 2.0, 1.0], (), ("1", 2.0), (float("nan"),) * 3, 1.0])
def test_only_tuples_of_finite_numbers_are_numbers(value):
    step("mix", IMAGE, weights=(1.0, 2.0, 1.0))
    with pytest.raises(PipelineError, match="weights"):
        step("mix", IMAGE, weights=value)


def test_parameters_come_onto_the_grid():
    assert step("gaussian", 0, sigma=1.23456) == step("gaussian", 0, sigma=1.23)
    assert step("gaussian", 0, sigma=2) == step("gaussian", 0, sigma=2.0)
    assert type(step("gaussian", 0, sigma=2).params[0]) is float
    assert repr(step("kernel", 0, weights=(-0.0,) * 9).params[0][0]) == "0.0"


def test_numbers_and_words_of_numpy_give_the_same_digest():
    plain = Pipeline([step("channel", IMAGE), step("dog", 0, sigma=1.5, polarity="dark")])
    numpy = Pipeline([step("channel", IMAGE), step("dog", 0, sigma=np.float64(1.5), polarity=np.str_("dark"))])
    assert numpy == plain
    assert numpy.digest == plain.digest


def test_an_unknown_parameter_is_named_with_the_known_ones():
    with pytest.raises(PipelineError, match="gaussian has no parameter 'sgima'; it has sigma"):
        step("gaussian", 0, sgima=2.0)


def test_a_parameter_called_operator_is_unknown_like_any_other():
    with pytest.raises(PipelineError, match="no parameter 'operator'"):
        step("gaussian", 0, operator=3)


def test_too_many_steps_are_refused():
    with pytest.raises(PipelineError, match="201 steps"):
        Pipeline([step("channel", IMAGE), *(step("gaussian", i) for i in range(200))])


def test_too_many_numbers_are_refused():
    kernels = [step("kernel", i, weights=(0.01 * i,) * 121) for i in range(21)]
    with pytest.raises(PipelineError, match="numbers"):
        Pipeline([step("channel", IMAGE), *kernels])


def test_a_pipeline_knows_the_last_channel_that_it_names():
    assert Pipeline([step("plane", IMAGE, channel="B")]).channels == 1
    assert Pipeline([step("window", IMAGE, index=4), step("channel", IMAGE, index=1), step("add", 0, 1)]).channels == 5


def test_a_network_is_explained_in_plain_words():
    pipeline = read_text("def pipeline(image):\n    return threshold(network(image))\n")
    text = pipeline_text(pipeline)
    assert "Ask a small network that was trained on images like these" in text
    assert (
        f"{EXAMPLE_NETWORK}.onnx: A network of 6 weights, trained on images of 1 channel; it sees them at full "
        "resolution. Its planes: foreground, distance, points."
    ) in text
    (network,) = pipeline_json(pipeline)["networks"]
    assert (network["digest"], network["multiply_adds_per_pixel"]) == (EXAMPLE_NETWORK, 6)
