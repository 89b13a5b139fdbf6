"""What a model's answer must look like, and how it is found in a reply."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Word = Annotated[str, Field(max_length=2000)]
Words = Annotated[list[Word], Field(max_length=12)]
MOST_PROGRAMS = 12


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Proposal(Answer):
    """One program, with the idea behind it."""

    name: Annotated[str, Field(max_length=80)] = ""
    idea: Word = ""
    program: Annotated[str, Field(max_length=20_000)]


class Programs(Answer):
    """Programs to try."""

    programs: Annotated[list[Proposal], Field(min_length=1, max_length=MOST_PROGRAMS)]


class Description(Answer):
    """What the images show."""

    summary: Word
    foreground: Word
    cues: Words = []
    difficulties: Words = []


class Critique(Answer):
    """What goes wrong, and what may help."""

    findings: Words
    advice: Words = []


SCHEMAS: dict[str, type[Answer]] = {"programs": Programs, "description": Description, "critique": Critique}
"""By the output that a role names."""


def strict_schema(schema: type[Answer]) -> dict[str, Any]:
    """Return a JSON schema as endpoints take it for strict answers: all required, nothing else, no limits."""
    document = schema.model_json_schema()
    definitions = document.pop("$defs", {})

    def plain(node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in node:
            return plain(definitions[node["$ref"].rpartition("/")[2]])
        kept: dict[str, Any] = {key: node[key] for key in ("type", "description") if key in node}
        if "items" in node:
            kept["items"] = plain(node["items"])
        if "properties" in node:
            kept["properties"] = {name: plain(part) for name, part in node["properties"].items()}
            kept |= {"required": list(node["properties"]), "additionalProperties": False}
        return kept

    return plain(document)


@dataclass(frozen=True)
class Reply:
    """The body of a chat completion, looked through.

    Attributes
    ----------
    text : str
        Arguments of a tool call, or the message.
    fault : str
        "" if there is something to read.
    tokens_in, tokens_out : int or None
        None if the endpoint does not say.
    """

    text: str = ""
    fault: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None


def reply_of(body: str) -> Reply:
    """Look through the body of a chat completion; nothing in it is taken for granted."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return Reply(fault="not json")
    if not isinstance(document, dict):
        return Reply(fault="not a completion")
    text, fault = _message(document)
    usage = document.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Reply(text, fault, _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens")))


def _message(document: dict[str, Any]) -> tuple[str, str]:
    """Return the text of a completion's first choice, or what is wrong with it."""
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return "", "not a completion"
    finish = choice.get("finish_reason")
    if message.get("refusal") or finish == "content_filter":
        return "", "refusal"
    if finish not in ("stop", "tool_calls", "function_call"):
        return "", "length" if finish == "length" else "unfinished"
    calls = message.get("tool_calls")
    call = calls[0] if isinstance(calls, list) and calls else None
    function = call.get("function") if isinstance(call, dict) else None
    text = function.get("arguments") if isinstance(function, dict) else message.get("content")
    return (text, "") if isinstance(text, str) and text.strip() else ("", "empty")


def _count(number: Any) -> int | None:
    return number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None


def answer_in(text: str, schema: type[Answer]) -> tuple[Answer | None, str]:
    """Return the answer in a text and "", or None and what is wrong: JSON as it is, in a fence, or between braces."""
    # Split, not searched: an expression that looks for a fence's end from each of its beginnings is quadratic.
    fences = [fence.partition("\n")[2] for fence in text.split("```")[1::2]]
    braces = text[text.find("{") : text.rfind("}") + 1]
    fault = "there is no JSON document in the answer"
    for candidate in (text, *fences, braces):
        try:
            document = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        try:
            return schema.model_validate(document), ""
        except ValidationError as error:
            fault = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
    return None, fault
