"""Programs of a model: only what the reader accepts comes out."""

import pytest

from evoseg.core.errors import PipelineError
from evoseg.core.kinds import Kind
from evoseg.llm.rounds import ProposalParser
from evoseg.llm.structured import Programs, Proposal
from evoseg.operators import registry
from evoseg.pipeline import read_text
from evoseg.pipeline.textform import add_macros, find_macros

NAMES = {op.name for op in registry.operators()}
PLAIN = "def pipeline(image):\n    return threshold(channel(image))"
SPOTS = "def spots(gray):\n    return white_tophat(gaussian(gray))\n"
CHAIN = [f"    a{i} = gaussian({f'a{i - 1}' if i else 'channel(image)'}, sigma={1 + i / 10})" for i in range(45)]
LONG = "\n".join(["def pipeline(image):", *CHAIN, "    return threshold(a44)"])
USING = "def pipeline(image):\n    return threshold(spots(channel(image)))"


def workshop() -> ProposalParser:
    return ProposalParser(Kind.MASK, NAMES, 3)


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
        (LONG, "at most 40"),
        ("x" * 70_000, "at most 65536 are read"),
    ],
)
def test_anything_else_is_refused(text, words):
    parser = workshop()
    (complaint,) = parser.review(Programs.model_construct(programs=[Proposal.model_construct(program=text)]))
    assert words in complaint and not parser.accepted


def test_an_operator_of_another_search_is_refused():
    parser = ProposalParser(Kind.MASK, NAMES - {"gaussian"}, 3)
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
