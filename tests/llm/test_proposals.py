"""Proposals of a model: only what the reader accepts comes out."""

import pytest

from evoseg.core.errors import PipelineError
from evoseg.llm.proposals import lines_of, shown_text
from evoseg.llm.structured import Edit, Experiment, NewOperator, PlaneList, Programs, Proposal
from evoseg.pipeline import read_text
from evoseg.pipeline.textform import add_macros, find_macros
from evoseg.sandbox.code import digest_of_source
from evoseg.sandbox.operators import AdmittedCode, add_code
from tests.llm.helpers import OPERATORS, pipeline
from tests.llm.helpers import parser as workshop

NAMES = {op.name for op in OPERATORS}
PLAIN = "def pipeline(image):\n    return threshold(channel(image))"
SPOTS = "def spots(gray):\n    return white_tophat(gaussian(gray))\n"
CHAIN = [f"    a{i} = gaussian({f'a{i - 1}' if i else 'channel(image)'}, sigma={1 + i / 10})" for i in range(45)]
LONG = "\n".join(["def pipeline(image):", *CHAIN, "    return threshold(a44)"])
USING = "def pipeline(image):\n    return threshold(spots(channel(image)))"


def answer(*texts: str) -> Programs:
    return Programs(programs=[Proposal(name=f"p{i}", program=text) for i, text in enumerate(texts)])


def test_good_programs_come_out_and_the_others_with_the_readers_words():
    parser = workshop()
    (complaint,) = parser.review(answer(PLAIN, "def pipeline(image):\n    return threshol(channel(image))"))
    assert complaint == "p1: line 2: unknown operator 'threshol'; did you mean threshold?"
    assert [idea.pipeline for idea in parser.accepted] == [read_text(PLAIN)]
    assert parser.refused[0].reason in complaint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import os", "only function definitions"),
        ("def pipeline(image):\n    return __import__(image)", "unknown operator '__import__'"),
        ("def pipeline(image):\n    return eval(image)", "unknown operator 'eval'"),
        ("def pipeline(image):\n    return channel(image)", "returns a gray value; this task needs a mask value"),
        ("def pipeline(image):\n    return threshold(channel(image, index=7))", "reads channel 7, counted from 0"),
        ("", "no 'def pipeline"),
        ("threshold(channel(image)) + 1", "only names and calls"),
        (LONG, "at most 40"),
        ("x" * 70_000, "at most 65536 are read"),
    ],
)
def test_anything_else_is_refused(text, words):
    parser = workshop()
    (complaint,) = parser.review(Programs.model_construct(programs=[Proposal.model_construct(program=text)]))
    assert words in complaint and not parser.accepted


def test_an_operator_of_another_search_is_refused():
    parser = workshop(operators=NAMES - {"gaussian"})
    (complaint,) = parser.review(answer("def pipeline(image):\n    return threshold(gaussian(channel(image)))"))
    assert "gaussian is not among the operators of this search" in complaint


def test_the_same_program_counts_once_and_a_fence_does_no_harm():
    parser = workshop()
    assert not parser.review(answer(PLAIN, f"```python\n{PLAIN}\n```"))
    assert len(parser.accepted) == 1


def test_a_macro_of_an_accepted_program_can_be_called_later():
    parser = workshop()
    assert "spots" in parser.review(answer(USING))[0]
    assert not parser.review(answer(SPOTS + USING)) and not parser.review(answer(USING))
    assert len(parser.accepted) == 1, "expanded, it is the same program"
    assert [s.operator for s in parser.accepted[0].pipeline.steps] == [
        "channel",
        "gaussian",
        "white_tophat",
        "threshold",
    ]


def test_a_macro_of_a_refused_program_is_not_kept():
    parser = workshop()
    parser.review(answer(SPOTS + "def pipeline(image):\n    return spots(image)"))
    assert parser.macros == {}


def test_macros_bring_the_macros_that_they_call():
    twice = "def twice(gray):\n    return spots(spots(gray))\n"
    known = find_macros(SPOTS + twice + USING)
    assert set(known) == {"spots", "twice"}
    text = "def pipeline(image):\n    return threshold(twice(channel(image)))"
    assert read_text(add_macros(text, known)) == read_text(SPOTS + twice + text)
    assert add_macros(PLAIN, known) == PLAIN
    with pytest.raises(PipelineError):
        add_macros("import os", known)


LEADER = pipeline("a = channel(image)", "b = gaussian(a, sigma=3)", "c = threshold(b)", "return open_mask(c)")
SHOWN = {"leader": LEADER, "p7": pipeline("return otsu(median(plane(image, channel='R'), radius=4))")}


def only(parser, **answer) -> None:
    assert parser.review(Programs(**answer)) == []


def test_an_expression_is_a_program_and_programs_and_their_lines_are_called_by_name():
    parser = workshop(references=SHOWN)
    assert lines_of(LEADER) == ["a", "b", "c"]
    only(parser, programs=[Proposal(name="both", program="mask_or(leader(image), p7(image))")])
    only(parser, programs=[Proposal(name="part", program="otsu(maximum(leader_b(image), channel(image)))")])
    both, part = (one.pipeline for one in parser.accepted)
    assert {s.operator for s in both.steps} == {s.operator for p in SHOWN.values() for s in p.steps} | {"mask_or"}
    assert [s.operator for s in part.steps] == ["channel", "gaussian", "maximum", "otsu"]
    for text, words in (
        ("mask_or(p3(image), p7(image))", "there is no program 'p3'; there are leader, p7"),
        ("leader_z(image)", "leader has no line 'z'; it has a, b, c"),
    ):
        (problem,) = parser.review(Programs(programs=[Proposal(program=text)]))
        assert words in problem


@pytest.mark.parametrize(
    ("replace", "by", "operators"),
    [
        ("b", "median(a, radius=5)", ["channel", "median", "threshold", "open_mask"]),
        ("threshold(b", "otsu(b", None),
        ("channel(image, index=0)", "plane(image, channel='R')", ["plane", "gaussian", "threshold", "open_mask"]),
        ("return", "fill_holes(c)", ["channel", "gaussian", "threshold", "fill_holes"]),
    ],
)
def test_an_edit_replaces_a_line_or_an_expression(replace, by, operators):
    parser = workshop(references=SHOWN)
    problems = parser.review(Programs(edits=[Edit(name="e", of="leader", replace=replace, by=by)]))
    if operators is None:
        assert problems, "half an expression leaves parameters that otsu does not have"
    else:
        assert not problems
        assert [s.operator for s in parser.accepted[0].pipeline.steps] == operators


def test_an_edit_names_expressions_as_they_were_shown():
    source = (
        "def operator(plane: Gray, *, size: Annotated[int, Range(1, 9)] = 3) -> Gray:\n"
        '    """Return the plane."""\n'
        "    return plane\n"
    )
    codes = {"spread": add_code(AdmittedCode(source, 5.0))}
    numbers = ", ".join(str(i * 10.0) for i in range(18))
    leader = pipeline(
        "a = channel(image)",
        f'b = python(a, code="{codes["spread"]}", size=5)',
        f"return otsu(add_curves(a, b, curves=({numbers})))",
    )
    shown = shown_text(leader, codes)
    assert "spread(a, size=5)" in shown and "add_curves(a, b)" in shown
    for replace, operators in (
        ("spread(a, size=5)", ["channel", "median", "add_curves", "otsu"]),
        ("add_curves(a, b)", ["channel", "median", "otsu"]),
    ):
        parser = workshop(references={"leader": leader}, codes=codes)
        edit = Edit(name="e", of="leader", replace=replace, by="median(a, radius=5)")
        assert not parser.review(Programs(edits=[edit]))
        assert [s.operator for s in parser.accepted[0].pipeline.steps] == operators


def test_an_edit_that_is_not_clear_is_refused_with_the_names_of_lines():
    parser = workshop(references=SHOWN)
    (problem,) = parser.review(Programs(edits=[Edit(of="leader", replace="=", by="x")]))
    assert "times in leader" in problem and problem.endswith(shown_text(LEADER))
    (problem,) = parser.review(Programs(edits=[Edit(of="p9", replace="a", by="b")]))
    assert "there is no program 'p9'" in problem


def test_plane_lists_are_gray_planes_at_least_two_different_ones():
    parser = workshop(references=SHOWN)
    only(
        parser,
        plane_lists=[PlaneList(name="a", planes=["channel(image)", "leader_b(image)", "channel(image)"])],
    )
    (listed,) = parser.planes
    assert [len(plane) for plane in listed.planes] == [1, 2]
    for planes, words in (
        (["channel(image)"] * 2, "all planes are the same"),
        (["channel(image)", "leader(image)"], "plane 2 is a mask value"),
    ):
        (problem,) = parser.review(Programs(plane_lists=[PlaneList(planes=planes)]))
        assert words in problem


@pytest.mark.parametrize(
    ("experiment", "wanted"),
    [
        ({"kind": "try", "program": "otsu(channel(image))"}, "otsu"),
        ({"kind": "try", "program": "channel(image)"}, "this task needs a mask"),
        ({"kind": "stats", "program": "leader_b(image)"}, "gaussian"),
        ({"kind": "stats", "program": "leader(image)"}, "stats describes gray planes"),
        ({"kind": "show", "image": "img_003"}, ""),
        ({"kind": "show", "image": "img_003", "program": "leader(image)", "window": [0, 1, 5, 6]}, "open_mask"),
        ({"kind": "show", "image": "img_004"}, "there are img_001 to img_003"),
        ({"kind": "show", "image": "../../etc/passwd"[:20]}, "there are img_001 to img_003"),
        ({"kind": "show", "image": "img_001", "window": [1, 2, 3]}, "four numbers"),
    ],
)
def test_an_experiment_is_read_or_refused(experiment, wanted):
    parser = workshop(references=SHOWN)
    problems = parser.review(Programs(experiments=[Experiment(**experiment)]))
    if problems:
        assert wanted in problems[0] and not parser.trials
        return
    (trial,) = parser.take_trials(6)
    assert [p.steps[-1].operator for p in trial.programs] == ([wanted] if wanted else [])
    assert trial.kind != "show" or trial.image == 2
    assert parser.take_trials(6) == []


def test_at_most_so_many_experiments_are_made_and_each_once():
    parser = workshop()
    planes = [f"gaussian(channel(image), sigma={sigma})" for sigma in (1, 2, 2, 3)]
    only(parser, experiments=[Experiment(kind="stats", program=plane) for plane in planes])
    assert [trial.programs[0].steps[1].params for trial in parser.take_trials(2)] == [(1.0,), (2.0,)]


def test_an_operator_is_admitted_before_the_programs_of_its_answer_are_read():
    codes: dict[str, str] = {}

    def admit(operators):
        codes["spread"] = digest_of_source("...")
        return ["", "it opens a file."][: len(operators)]

    parser = workshop(codes=codes, admit=admit)
    answer = Programs(
        operators=[NewOperator(name="spread", source="..."), NewOperator(name="spy", source="open('x')")],
        programs=[Proposal(name="p", program="otsu(spread(channel(image), size=5))")],
    )
    spy, program = parser.review(answer)
    assert spy == "spy: it opens a file."
    assert f"the Python operator {digest_of_source('...')}" in program, (
        "it is called by its digest, which nobody knows here"
    )
    assert parser.review(Programs(operators=answer.operators[:1])) == [], "sent again beside a correction"
    later = workshop(codes=codes, admit=admit)
    assert later.review(Programs(operators=answer.operators[:1])) == [], "sent again in a later round"
    (taken,) = parser.review(Programs(operators=[NewOperator(name="spread", source="other")]))
    assert "an earlier operator of yours has this name" in taken


def test_the_function_of_an_operator_may_have_the_operators_name():
    admitted, codes = [], {}

    def admit(operators):
        admitted.extend(one.source for one in operators)
        codes.update((one.name, digest_of_source(one.source)) for one in operators)
        return [""] * len(operators)

    parser = workshop(codes=codes, admit=admit)
    own = NewOperator(
        name="spread", source="import cv2\n\ndef spread(a: Gray) -> Gray:\n    return cv2.blur(a, (3, 3))"
    )
    usual = NewOperator(name="other", source="def other(a):\n    return a\n\ndef operator(a: Gray) -> Gray: ...")
    assert parser.review(Programs(operators=[own, usual])) == []
    assert admitted == [own.source.replace("def spread", "def operator"), usual.source]
    assert parser.review(Programs(operators=[own])) == [] and len(admitted) == 2, "sent again"


def test_what_calls_an_operator_that_was_refused_is_told_why():
    reason = "it takes 3.2 s for a megapixel, and may take 1 s. Use array operations instead of loops."
    parser = workshop(admit=lambda operators: [reason for _ in operators])
    calls = Proposal(name="p", program="threshold(spread(channel(image)))")
    operator = NewOperator(name="spread", source="def operator(plane: Gray) -> Gray: ...")
    problems = parser.review(Programs(operators=[operator], programs=[calls]))
    assert problems == [f"spread: {reason}", "p: it calls spread, which was refused."]
    own = f"def spread(a):\n    return gaussian(a)\n\n{PLAIN.replace('(channel', '(spread(channel')})"
    assert not parser.review(answer(own)), "a definition may have the name"


def test_findings_are_kept_whole_and_those_of_the_last_answer_count():
    words = "Shadows beside hairs are marked, and pale lesions are missed; the cue is colour.\x07 " * 3
    parser = workshop()
    parser.review(Programs(findings=words, programs=[Proposal(name="p", program=PLAIN)]))
    assert parser.findings == words.replace("\x07", " ").strip()
    parser.review(answer(PLAIN))
    assert parser.findings, "an answer without findings says nothing new"


@pytest.mark.parametrize("name", ["gaussian", "python", "pipeline", "leader", "p7"])
def test_an_operator_needs_a_name_of_its_own(name):
    parser = workshop(admit=lambda operators: pytest.fail("admitted"))
    (problem,) = parser.review(Programs(operators=[NewOperator(name=name, source="...")]))
    assert "choose another" in problem


def test_what_is_shown_of_a_program_has_no_long_lists_and_can_be_read_again():
    numbers = ", ".join(str(i * 10.0) for i in range(18))
    program = pipeline("a = channel(image)", "b = median(a)", f"return otsu(add_curves(a, b, curves=({numbers})))")
    text = shown_text(program)
    assert "curves=" not in text and "\n    " not in text and '"' not in text
    assert text.splitlines()[1:3] == [" a = channel(image, index=0)", " b = median(a, radius=2)"]
    assert [s.operator for s in read_text(text).steps] == [s.operator for s in program.steps]
