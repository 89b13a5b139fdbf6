"""What a model is told of what became of its proposals."""

from types import SimpleNamespace

import numpy as np

from evoseg.llm.briefing import Leader, OwnOperator, Tried, describe_trial
from evoseg.llm.proposals import Trial
from evoseg.sandbox.code import read_code
from tests.llm.helpers import pipeline, scored, view, workshop

SOURCE = '''
def operator(plane: Gray, *, size: Annotated[int, Range(3, 41, unit="px", odd=True)] = 9) -> Gray:
    """Local range of grey levels."""
    return plane
'''
FITTED = pipeline("a = plane(image)", "return threshold(a, level=90)")
SUMMED = pipeline(
    "a = plane(image)",
    'b = plane(image, channel="S")',
    "c = add_curves(a, b)",
    "d = threshold(c)",
    "return remove_small(d, area=80)",
)


def outcome_of(program):
    tried = Tried(1, 1, "p", "", [program], scored(program, 0.5, 0.7), first_score=0.6)
    trial = Trial("try", (program,))
    result, _ = describe_trial(trial, tried, view(scored(FITTED, 0.5)), workshop(), LEADER, "")
    return result["outcome"]


LEADER = Leader(scored(FITTED, 0.5, 0.5), np.array([0.4, 0.4]))


def test_a_held_out_score_where_nothing_was_fitted_says_so():
    assert outcome_of(FITTED) == "0.600 (+0.100), held out 0.600 (+0.200)"
    unfitted = pipeline("a = plane(image)", "return otsu(a)")
    assert outcome_of(unfitted) == "0.600 (+0.100), held out 0.600 (+0.200) with nothing to fit"


def test_the_ending_that_a_sum_was_given_is_named():
    assert outcome_of(SUMMED).endswith(", its sum ended by threshold, remove_small")


def test_an_operator_is_described_with_the_program_that_it_does_best_in():
    code = read_code(SOURCE)
    own = OwnOperator("spread", 1, SimpleNamespace(code=code), None)
    assert own.describe() == "spread(gray plane, size=3..41) -> gray: Local range of grey levels."
    best = scored(pipeline('a = plane(image, channel="R")', "return otsu(a)"), 0.25)
    told = OwnOperator("spread", 1, SimpleNamespace(code=code), best).describe()
    assert told.endswith(
        " Alone it scores 0.250, as `a = plane(image, channel='R'); return otsu(a, polarity='bright', offset=0)`."
    )
