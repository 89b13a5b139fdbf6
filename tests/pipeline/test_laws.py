"""Print, read, and the canonical order, as properties over random programs of all operators."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoseg.core.kinds import Kind
from evoseg.operators import registry
from evoseg.operators.parameters import ContentDigest, Numbers, Range, Value
from evoseg.pipeline import IMAGE, MAX_STEPS, Pipeline, Step, print_text, read_json, read_text, write_json
from evoseg.pipeline.textform import MAX_BYTES
from evoseg.pipeline.value import MAX_NUMBERS, step
from tests.pipeline.programs import ALL, programs, retellings, step_lists


@given(programs())
def test_reading_what_was_printed_gives_the_same_value(pipeline):
    back = read_text(print_text(pipeline))
    assert back == pipeline
    assert (back.digests, back.forms) == (pipeline.digests, pipeline.forms)


@given(programs())
def test_printing_what_was_read_gives_the_same_canonical_text(pipeline):
    text = print_text(pipeline)
    assert print_text(read_text(text)) == text


@given(programs())
def test_the_json_twin_is_the_same_value(pipeline):
    back = read_json(write_json(pipeline))
    assert back == pipeline
    assert back.digest == pipeline.digest
    assert write_json(back) == write_json(pipeline)


@given(data=st.data(), pipeline=programs())
def test_other_names_orders_repeats_and_defaults_give_the_same_value(data, pipeline):
    text = data.draw(retellings(pipeline))
    told = read_text(text)
    assert told == pipeline
    assert (told.digest, told.form) == (pipeline.digest, pipeline.form)


@given(step_lists(), st.data())
def test_unused_steps_change_nothing(steps, data):
    used = Pipeline(steps)
    extra = data.draw(step_lists(3))
    shifted = [Step(s.operator, tuple(j if j == IMAGE else j + len(extra) for j in s.inputs), s.params) for s in steps]
    assert Pipeline([*extra, *shifted]) == used


@given(programs())
def test_building_from_canonical_steps_changes_nothing(pipeline):
    again = Pipeline(pipeline.steps)
    assert again == pipeline
    assert again.digests == pipeline.digests


@given(programs())
def test_no_two_steps_are_equal_and_every_step_is_used(pipeline):
    assert len(set(pipeline.steps)) == len(pipeline)
    assert len(set(pipeline.digests)) == len(pipeline)
    used = {j for s in pipeline.steps for j in s.inputs}
    assert used | {len(pipeline) - 1} >= set(range(len(pipeline)))


@given(programs(), st.data())
def test_form_ignores_fitted_numbers_and_digest_does_not(pipeline, data):
    changed = [_refitted(s, data) for s in pipeline.steps]
    other = Pipeline(changed)
    assert other.form == pipeline.form
    assert (other.digest == pipeline.digest) == (other == pipeline)


def _refitted(s: Step, data: st.DataObject) -> Step:
    if s.operator != "threshold":
        return s
    level = data.draw(st.integers(0, 255))
    return step("threshold", *s.inputs, level=level, polarity=data.draw(st.sampled_from(["bright", "dark"])))


@given(programs(), st.data())
def test_form_and_digest_notice_every_other_parameter(pipeline, data):
    places = [
        (i, k)
        for i, s in enumerate(pipeline.steps)
        for k, p in enumerate(registry.get(s.operator).parameters)
        if not p.fitted
    ]
    if not places:
        return
    i, k = data.draw(st.sampled_from(places))
    s = pipeline.steps[i]
    moved = _another(registry.get(s.operator).parameters[k].domain, s.params[k])
    if moved is None:
        return
    steps = list(pipeline.steps)
    steps[i] = replace(s, params=(*s.params[:k], moved, *s.params[k + 1 :]))
    other = Pipeline(steps)
    assert other.form != pipeline.form
    assert other.digest != pipeline.digest


def _another(domain: object, value: Value) -> Value | None:
    """Return an end of the domain that is not the value, or None."""
    if isinstance(domain, Range):
        return next((end for end in (domain.low, domain.high) if end != value), None)
    if isinstance(domain, Numbers):
        assert isinstance(value, tuple)
        return (domain.low if value[0] != domain.low else domain.high, *value[1:])
    if isinstance(domain, ContentDigest):
        return "0" * 32
    return next((word for word in domain.values if word != value), None)


@given(programs())
def test_cost_is_the_sum_over_the_steps(pipeline):
    assert pipeline.cost == pytest.approx(sum(registry.get(s.operator).cost(s.params) for s in pipeline.steps))
    assert pipeline.cost >= 0


@given(programs(), st.data())
def test_a_sub_program_ends_at_its_step(pipeline, data):
    i = data.draw(st.integers(0, len(pipeline) - 1))
    part = pipeline.until(i)
    assert part.digests[-1] == pipeline.digests[i]
    assert part.output is registry.get(pipeline.steps[i].operator).output


def test_equal_steps_are_merged():
    a, b = step("gaussian", 0, sigma=2.0), step("gaussian", 0, sigma=2.0)
    merged = Pipeline([step("plane", IMAGE), a, b, step("difference", 1, 2)])
    assert [s.operator for s in merged.steps] == ["plane", "gaussian", "difference"]
    assert merged.steps[-1].inputs == (1, 1)


@pytest.mark.parametrize("name", [op.name for op in ALL if op.commutative])
def test_arguments_of_commutative_operators_may_be_swapped(name):
    kind = registry.get(name).inputs[0]
    roots = {
        Kind.GRAY: [step("channel", IMAGE, index=i) for i in (0, 1)],
        Kind.MASK: [step("level", 0, level=9), step("level", 0, level=8)],
    }[kind]
    before = [] if kind is Kind.GRAY else [step("channel", IMAGE, index=0)]
    n = len(before)
    rest = (n,) * (len(registry.get(name).inputs) - 2)
    one = Pipeline([*before, *roots, step(name, n, n + 1, *rest)])
    assert Pipeline([*before, *roots, step(name, *rest, n + 1, n)]) == one
    if not rest:
        assert Pipeline([*before, *reversed(roots), step(name, n, n + 1)]).digest == one.digest


def test_arguments_of_other_operators_may_not_be_swapped():
    planes = [step("channel", IMAGE, index=0), step("channel", IMAGE, index=1)]
    there, back = Pipeline([*planes, step("subtract", 0, 1)]), Pipeline([*planes, step("subtract", 1, 0)])
    assert there != back
    assert there.form != back.form


@pytest.mark.parametrize("levels", [(10, 200), (200, 10), (10, 10)])
def test_fitted_numbers_never_decide_the_form_of_a_commutative_pair(levels):
    def joined(a: int, b: int) -> Pipeline:
        planes = [step("channel", IMAGE, index=0), step("channel", IMAGE, index=1)]
        masks = [step("threshold", 0, level=a), step("threshold", 1, level=b)]
        return Pipeline([*planes, *masks, step("mask_and", 2, 3)])

    assert joined(*levels).form == joined(128, 128).form
    assert [s.operator for s in joined(*levels).steps] == [s.operator for s in joined(128, 128).steps]


def test_swapped_thresholds_of_one_plane_are_the_same_program():
    def joined(a: int, b: int) -> Pipeline:
        masks = [step("threshold", 0, level=a), step("threshold", 0, level=b, polarity="dark")]
        return Pipeline([step("channel", IMAGE), *masks, step("mask_and", 1, 2)])

    swapped = [step("threshold", 0, level=3, polarity="dark"), step("threshold", 0, level=9)]
    assert Pipeline([step("channel", IMAGE), *swapped, step("mask_and", 1, 2)]) == joined(9, 3)


@given(st.floats(-1e9, 1e9), st.sampled_from([p for op in ALL for p in op.parameters if isinstance(p.domain, Range)]))
def test_the_nearest_admissible_number_is_admissible(value, parameter):
    near = parameter.nearest(value)
    assert parameter.check(near) == near
    assert parameter.nearest(near) == near


def test_the_longest_pipeline_still_has_a_text_and_a_json_twin_that_can_be_read():
    chainable = [op for op in ALL if op.inputs == (Kind.GRAY,) and op.output is Kind.GRAY and op.parameters]
    chainable = [op for op in chainable if not any(isinstance(p.domain, Numbers) for p in op.parameters)]
    wordy = max(chainable, key=lambda op: len(op.name) * 2 + sum(len(p.name) + 8 for p in op.parameters))
    steps = [step("channel", IMAGE, index=0)]
    weights = tuple(-0.00123 - i * 1e-5 for i in range(121))
    for i in range(MAX_NUMBERS // 121):
        steps.append(step("kernel", len(steps) - 1, weights=weights, offset=float(i)))
    while len(steps) < MAX_STEPS:
        steps.append(step(wordy.name, len(steps) - 1))
    pipeline = Pipeline(steps)
    assert len(pipeline) == MAX_STEPS
    assert len(print_text(pipeline).encode()) <= MAX_BYTES
    assert read_text(print_text(pipeline)) == pipeline
    assert read_json(write_json(pipeline)) == pipeline


def test_a_doubling_chain_is_linear_in_its_length():
    steps = [step("channel", IMAGE)]
    for i in range(MAX_STEPS - 1):
        steps.append(step("gamma", i, exponent=0.9) if i % 2 else step("add", i, i))
    pipeline = Pipeline(steps)  # 2 to the 100th calls, if shared values were not shared
    assert len(pipeline) == MAX_STEPS
    assert read_text(print_text(pipeline)) == pipeline


def test_canonical_text_looks_as_documented():
    text = print_text(
        Pipeline(
            [
                step("plane", IMAGE, channel="G"),
                step("gaussian", 0, sigma=1.5),
                step("threshold", 1, level=31),
                step("remove_small", 2, area=80),
            ]
        )
    )
    lines = text.splitlines()
    revisions = [f"{name}@{registry.get(name).revision}" for name in ("plane", "gaussian", "threshold", "remove_small")]
    assert lines[0] == "# evoseg 1: " + " ".join(revisions)
    assert lines[1:] == [
        "def pipeline(image):",
        '    plane_1 = plane(image, channel="G")',
        "    gaussian_1 = gaussian(plane_1, sigma=1.5)",
        '    threshold_1 = threshold(gaussian_1, level=31, polarity="bright")',
        "    return remove_small(threshold_1, area=80)",
    ]
    assert text.endswith("\n")


@settings(max_examples=30)
@given(programs())
def test_canonical_text_prints_every_parameter(pipeline):
    calls = [line for line in print_text(pipeline).splitlines() if "(" in line and not line.startswith(("#", "def"))]
    for s, line in zip(pipeline.steps, calls, strict=True):
        assert re.findall(r"(\w+)=", line.split("(", 1)[1]) == [p.name for p in registry.get(s.operator).parameters]
