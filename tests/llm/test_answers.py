"""Replies are third-party bytes: every one is read as an answer or as a fault."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoseg.llm.structured import SCHEMAS, Critique, Description, Programs, parse_answer, parse_reply, strict_schema

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "usage", "tool_calls", "function", "finish_reason", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
GOOD = {"programs": [{"name": "a", "idea": "b", "program": "def pipeline(image): ..."}]}


@given(st.text() | json_values.map(json.dumps))
def test_any_body_gives_a_text_or_a_fault(body):
    reply = parse_reply(body)
    assert bool(reply.text) != bool(reply.fault)


@given(st.text() | json_values.map(json.dumps), st.sampled_from(list(SCHEMAS.values())))
def test_any_text_gives_an_answer_or_a_fault(text, schema):
    answer, fault = parse_answer(text, schema)
    assert (answer is None) == bool(fault)


def body(message, finish="stop", **more):
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}], **more})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<html></html>", "not json"),
        ('{"choices": [', "not json"),
        ("[" * 100_000, "not json"),
        ("[]", "not a completion"),
        ('{"choices": []}', "not a completion"),
        (body({"content": "x"}, "length"), "length"),
        (body({"content": "x"}, None), "unfinished"),
        (body({"content": "x"}, "content_filter"), "refusal"),
        (body({"content": None, "refusal": "no"}), "refusal"),
        (body({"content": None}), "empty"),
        (body({"content": "  "}), "empty"),
    ],
)
def test_each_kind_of_useless_reply_has_its_name(text, fault):
    assert parse_reply(text).fault == fault


def test_a_reply_is_read_from_content_and_from_a_tool_call():
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    reply = parse_reply(body({"content": "hello"}, usage=usage))
    assert (reply.text, reply.tokens_in, reply.tokens_out) == ("hello", 7, 3)
    call = {"function": {"name": "answer", "arguments": "{}"}}
    assert parse_reply(body({"content": None, "tool_calls": [call]}, "tool_calls")).text == "{}"
    assert parse_reply(body({"content": "x"}, usage={"prompt_tokens": -1})).tokens_in is None


@pytest.mark.parametrize("form", ["{}", "Sure!\n```json\n{}\n```\nGood luck.", "Here: {} - done", "```\n{}\n```"])
def test_an_answer_is_found_as_it_is_in_a_fence_and_between_words(form):
    answer, fault = parse_answer(form.replace("{}", json.dumps(GOOD)), Programs)
    assert not fault and isinstance(answer, Programs)
    assert answer.programs[0].name == "a"


@pytest.mark.parametrize("programs", [[], [{"program": 3}], [{"name": "no program"}], [{"program": "x" * 30_000}], "x"])
def test_an_answer_of_another_shape_says_what_is_wrong(programs):
    answer, fault = parse_answer(json.dumps({"programs": programs}), Programs)
    assert answer is None and "programs" in fault


@pytest.mark.parametrize("schema", [Programs, Description, Critique])
def test_the_schema_for_strict_endpoints_requires_everything_and_allows_nothing_else(schema):
    def check(node):
        assert set(node) <= {"type", "properties", "items", "required", "additionalProperties", "description"}
        if node["type"] == "object":
            assert node["required"] == list(node["properties"]) and node["additionalProperties"] is False
            for part in node["properties"].values():
                check(part)
        if node["type"] == "array":
            check(node["items"])

    check(strict_schema(schema))
