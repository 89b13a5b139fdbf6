"""Parameters that contradict each other: refused where people or models write them, settled in results."""

import json

import numpy as np
import pytest
from hypothesis import given
from numpy.random import default_rng

from evoseg.core.errors import PipelineError
from evoseg.operators import registry
from evoseg.pipeline import IMAGE, Pipeline, Step, print_text, read_json, read_text, write_json
from evoseg.pipeline.textform import OrderWarning
from evoseg.pipeline.value import step
from tests.pipeline.programs import proposals

CONTRADICTING = {
    "keep_area": {"low": 19524, "high": 824},
    "keep_area_labels": {"low": 19524, "high": 824},
    "hysteresis": {"low": 128, "high": 127},
    "canny": {"low": 400, "high": 60},
    "bandpass": {"low": 40.0, "high": 8.0},
    "kmeans_class": {"k": 2, "index": 2},
}
INPUT = {
    "Mask": "otsu(plane(image))",
    "Labels": "components(otsu(plane(image)))",
    "Gray": "plane(image)",
}


def source(name: str, **params: float) -> str:
    arguments = ", ".join(f"{key}={value}" for key, value in params.items())
    (kind,) = registry.get(name).inputs
    return f"def pipeline(image):\n    return {name}({INPUT[str(kind.name).title()]}, {arguments})\n"


def contradicting(name: str) -> Pipeline:
    """Return a pipeline as only a search makes it."""
    ordered = read_text(source(name))
    op = registry.get(name)
    values = {p.name: p.default for p in op.parameters} | CONTRADICTING[name]
    *first, last = ordered.steps
    return Pipeline([*first, Step(name, last.inputs, tuple(values.values()))])


def test_every_operator_with_a_rule_is_tried_here_and_obeys_it_by_default():
    ruled = [op for op in registry.operators(retired=True) if op.in_order]
    assert {op.name for op in ruled} == set(CONTRADICTING)
    for op in ruled:
        assert not op.contradiction(tuple(p.default for p in op.parameters))


@pytest.mark.parametrize("name", CONTRADICTING)
def test_a_text_with_contradicting_values_is_refused_with_line_operator_and_both_values(name):
    first, second = sorted(CONTRADICTING[name], key=lambda key: key not in ("low", "index"))
    with pytest.raises(PipelineError) as error:
        read_text(source(name, **CONTRADICTING[name]))
    said, values = str(error.value), CONTRADICTING[name]
    assert said.startswith(f"line 2: {name}: {first} is {values[first]:g} and {second} is {values[second]:g}, but")


@pytest.mark.parametrize("name", CONTRADICTING)
def test_what_is_settled_gives_the_same_pixels_and_is_read_again(name):
    raw = contradicting(name)
    settled = raw.settled()
    assert raw.contradiction and not settled.contradiction and settled.settled() is settled
    image = default_rng(3).integers(0, 256, (61, 83, 3), np.uint8)
    image[10:30, 20:60] = 250
    assert np.array_equal(raw(image), settled(image))
    assert settled.cost == raw.cost
    assert read_text(print_text(raw)) == read_json(write_json(raw)) == settled


def test_a_step_by_names_is_refused_too():
    with pytest.raises(PipelineError, match="low is 9 and high is 10|low is 19524 and high is 824"):
        step("keep_area", 0, low=19524, high=824)
    assert step("keep_area", 0, low=10, high=10).params == (10, 10)
    assert step("stretch", IMAGE + 1, low=200, high=10).params == (200, 10)  # inverts, as is documented


def test_what_an_early_version_wrote_is_read_with_a_warning_and_what_was_changed_by_hand_is_not():
    early = print_text(contradicting("keep_area"), settled=False)
    assert "(parameters checked)" not in early
    with pytest.warns(OrderWarning, match="low is 19524 and high is 824"):
        assert read_text(early) == contradicting("keep_area").settled()
    assert read_text(early, settled=False) == contradicting("keep_area")
    with pytest.warns(OrderWarning):
        read_text(early.replace("\n", '\n# reads: {"page": "1"}\n', 1))
    now = print_text(contradicting("keep_area"))
    assert "keep_area@1 (parameters checked)\n" in now
    for by_hand in (
        now.replace("low=824, high=19524", "low=19524, high=824"),
        early.replace("low=19524, high=824", "high=824, low=19524"),
        early.partition("\n")[2],
    ):
        with pytest.raises(PipelineError, match="keep_area: low is 19524 and high is 824, but low may not"):
            read_text(by_hand)


def test_a_document_is_refused_unless_an_early_version_wrote_it():
    document = json.loads(write_json(contradicting("keep_area")))
    assert document["checked"] is True
    document["steps"][-1]["params"] = {"low": 19524, "high": 824}
    with pytest.raises(PipelineError, match="step 2: keep_area: low is 19524"):
        read_json(json.dumps(document))
    del document["checked"]
    with pytest.warns(OrderWarning):
        assert read_json(json.dumps(document)) == contradicting("keep_area").settled()
    del document["steps"][0]["revision"]
    with pytest.raises(PipelineError, match="low may not exceed high"):
        read_json(json.dumps(document))


@given(proposals(12))
def test_any_program_is_settled_into_one_that_every_reader_takes(program):
    settled = program.settled()
    assert not settled.contradiction
    assert read_text(print_text(program)) == settled
    assert read_text(print_text(program, settled=False), settled=False) == program
