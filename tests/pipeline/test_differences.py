"""What changed from one pipeline to another, in words."""

from evoseg.pipeline import read_text
from evoseg.pipeline.differences import describe_change, describe_steps


def pipeline(*calls: str, channel: str = "gray"):
    """Return a chain of calls, each with `@` for the value before it."""
    lines = ["def pipeline(image):", f'    v0 = plane(image, channel="{channel}")']
    lines += [f"    v{i} = {call.replace('@', f'v{i - 1}', 1)}" for i, call in enumerate(calls, 1)]
    return read_text("\n".join([*lines, f"    return v{len(calls)}"]))


PLAIN = pipeline("gaussian(@, sigma=1.0)", "threshold(@, level=31)")


def test_a_parameter_that_moved_is_named_with_both_values():
    child = pipeline("gaussian(@, sigma=2.5)", "threshold(@, level=47)")
    assert describe_change(PLAIN, child) == "gaussian: sigma 1 to 2.5"


def test_a_fitted_number_is_named_only_if_nothing_else_differs():
    child = pipeline("gaussian(@, sigma=1.0)", "threshold(@, level=47)")
    assert describe_change(PLAIN, child) == "threshold: level 31 to 47"


def test_added_and_removed_operators_are_named():
    child = pipeline("gaussian(@, sigma=1.0)", "threshold(@, level=31)", "remove_small(@, area=40)", "fill_holes(@)")
    assert describe_change(PLAIN, child) == "added remove_small, fill_holes"
    assert describe_change(child, PLAIN) == "removed remove_small, fill_holes"


def test_a_replaced_operator_is_named_with_its_successor():
    child = pipeline("median(@, radius=2)", "threshold(@, level=31)")
    assert describe_change(PLAIN, child) == "replaced gaussian by median"


def test_one_step_before_all_others_does_not_make_these_differ():
    child = pipeline("gaussian(@, sigma=1.0)", "threshold(@, level=31)", channel="R")
    assert describe_change(PLAIN, child) == "plane: channel gray to R"


def test_many_changes_are_counted():
    before = pipeline(*(f"gaussian(@, sigma={1 + i / 2})" for i in range(5)), "threshold(@, level=31)")
    after = pipeline(*(f"gaussian(@, sigma={2 + i / 2})" for i in range(5)), "threshold(@, level=31)")
    assert describe_change(before, after).endswith("2 more steps tuned")


def test_equal_pipelines_differ_in_nothing_that_has_a_name():
    assert describe_change(PLAIN, PLAIN) == "the same steps, joined in another way"


def test_steps_that_occur_several_times_are_counted():
    program = pipeline("gaussian(@, sigma=1.0)", "gaussian(@, sigma=2.0)", "threshold(@, level=31)")
    assert describe_steps(program) == "4 steps: plane, 2 gaussian, threshold"
