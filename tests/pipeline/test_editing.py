"""Pipelines made from parts of others are pipelines again, and mean what they should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoseg.core.errors import PipelineError
from evoseg.operators import registry
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.structure import graft, shift_inputs, substitute
from evoseg.pipeline.value import step
from tests.pipeline.programs import programs

CHAIN = Pipeline([step("channel", IMAGE), step("gaussian", 0), step("median", 1), step("level", 2)])


def names(pipeline: Pipeline) -> list[str]:
    return [s.operator for s in pipeline.steps]


def test_a_step_can_be_put_in():
    assert names(substitute(CHAIN, 1, [step("box", 1)], 2)) == ["channel", "gaussian", "box", "median", "level"]


def test_a_step_can_be_put_at_the_end():
    assert names(substitute(CHAIN, 3, [step("fill_holes", 3)], 4)) == [*names(CHAIN), "fill_holes"]


def test_a_step_can_be_taken_out():
    assert names(substitute(CHAIN, 1, [], 0)) == ["channel", "median", "level"]


def test_the_last_step_can_be_taken_out():
    assert names(substitute(CHAIN, 3, [], 2)) == ["channel", "gaussian", "median"]


def test_every_user_of_a_step_sees_the_substitute():
    diamond = Pipeline([step("channel", IMAGE), step("gaussian", 0), step("subtract", 0, 1)])
    box = substitute(diamond, 0, [step("box", 0)], 1)
    assert box == Pipeline([step("channel", IMAGE), step("box", 0), step("gaussian", 1), step("subtract", 1, 2)])


def test_kinds_that_do_not_meet_are_refused():
    with pytest.raises(PipelineError, match="takes a gray value"):
        graft(CHAIN, 1, CHAIN)


@given(programs(), programs(), st.data())
def test_a_graft_puts_the_whole_other_program_in_the_place_of_a_step(first, second, data):
    kind = second.output
    places = [i for i, s in enumerate(first.steps) if registry.get(s.operator).output is kind]
    if not places:
        return
    i = data.draw(st.sampled_from(places))
    child = graft(first, i, second)
    assert second.digests[-1] in child.digests
    assert child.output is first.output


@given(programs())
def test_grafting_a_step_onto_itself_changes_nothing(pipeline):
    for i in range(len(pipeline)):
        assert graft(pipeline, i, pipeline.until(i)) == pipeline


@given(programs(), st.integers(0, 5))
def test_shifting_moves_every_input_but_the_image(pipeline, offset):
    for old, new in zip(pipeline.steps, shift_inputs(pipeline.steps, offset), strict=True):
        assert [j - offset if j != IMAGE else j for j in new.inputs] == list(old.inputs)
