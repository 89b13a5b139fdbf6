"""The conversation of a run with its language model: what was new in each call, the answer, and what became of it.

Most of a message repeats earlier ones. A reader sees each text once: a prompt when its role is first called, an entry
of the data when it changes, a program when it first occurs.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

from evoseg.core.errors import PipelineError
from evoseg.llm.agent import Agent
from evoseg.llm.calls import Call, parse_reply, read_calls, read_pictures
from evoseg.llm.limits import total_usage
from evoseg.metrics import METRIC_LABELS
from evoseg.pipeline import read_text
from evoseg.report.page import render
from evoseg.runs.database import StoreError
from evoseg.runs.lineage import FAILED, PRUNED, StoredCandidate, read_candidates
from evoseg.runs.run_file import read_run
from evoseg.runs.run_folder import find_run_folder, write_whole

REPEATED = 4
"""Lines in a row that a reader has seen before and that are left out, at least."""
WIDEST = 240
"""Characters of a line that are shown; curves have many numbers."""
_PICTURE = "[picture, "
"""Stands in a message's text for a picture."""


@dataclass(frozen=True)
class Part:
    """A piece of a turn: a heading, and a text in lines."""

    title: str
    text: str = ""


@dataclass(frozen=True)
class Proposal:
    """A program of an answer.

    Attributes
    ----------
    name, idea, program : str
        The model's own words.
    outcome : str
        What became of it; "" where that takes other programs to be known, and the next round says it.
    """

    name: str
    idea: str
    program: str
    outcome: str


@dataclass(frozen=True)
class Turn:
    """A call, with what is new in it.

    Attributes
    ----------
    title, figures : str
        What was called; its outcome and cost.
    told : sequence of Part
    unchanged : sequence of str
        Names of entries of the data that are as in an earlier call.
    pictures : sequence of str
        Digests of those that were not sent before; "" for one that was not stored.
    n_repeated : int
        Number of pictures that were sent before.
    answer : str
        The answer where it is no list of programs.
    proposals : sequence of Proposal
    """

    title: str
    figures: str
    told: Sequence[Part]
    unchanged: Sequence[str]
    pictures: Sequence[str]
    n_repeated: int
    answer: str
    proposals: Sequence[Proposal]


@dataclass(frozen=True)
class Conversation:
    """All calls of a run.

    Attributes
    ----------
    title, in_short : str
    turns : sequence of Turn
    """

    title: str
    in_short: str
    turns: Sequence[Turn]


def read_conversation(run: str) -> Conversation:
    """Return the conversation of a run; without turns if it has asked no model.

    Raises
    ------
    EvosegError
        If there is no such run, or its database is damaged.
    """
    folder = find_run_folder(run).path
    record, calls = read_run(folder), read_calls(folder)
    short = f"{record.settings.get('agent')}: {total_usage(calls)}"
    outcomes = _Outcomes(_candidates(folder), METRIC_LABELS.get(str(record.settings.get("metric")), "score"))
    seen = _Seen()
    return Conversation(record.dataset, short, [_turn(call, seen, outcomes) for call in calls])


def _candidates(folder: Path) -> list[StoredCandidate]:
    try:
        return [one for one in read_candidates(folder) if one.proposer == Agent.name]
    except StoreError:  # an early version has made the run
        return []


class _Outcomes:
    """What became of programs, by form."""

    def __init__(self, candidates: Sequence[StoredCandidate], metric: str) -> None:
        self._by_form = {one.pipeline.form: one for one in candidates}
        self._metric = metric

    def explain(self, text: str) -> str:
        """Say what became of a program."""
        try:
            candidate = self._by_form.get(read_text(text, settled=False).form)
        except PipelineError:
            if "def pipeline" not in text:
                return ""
            candidate = None
        if candidate is None:
            return "not evaluated: it was refused, known already, or came too late"
        if candidate.outcome == FAILED:
            return f"failed: {candidate.reason}"
        if candidate.outcome == PRUNED:
            return f"pruned: {self._metric} {candidate.score:.3f} on a few images"
        return f"candidate {candidate.evaluations}: {self._metric} {candidate.score:.3f}"


class _Seen:
    """What a reader has seen so far."""

    def __init__(self) -> None:
        self._lines: set[str] = set()
        self._entries: dict[str, Any] = {}
        self._pictures: set[str] = set()

    def take_new(self, pictures: Sequence[str]) -> list[str]:
        """Return the pictures that did not occur before, and those of which that is not known."""
        new = [digest for digest in pictures if digest not in self._pictures]
        self._pictures.update(filter(None, new))
        return new

    def is_unchanged(self, name: str, value: Any) -> bool:
        """Return whether an entry of the data is as it was when it last occurred."""
        unchanged = name in self._entries and self._entries[name] == value
        self._entries[name] = value
        return unchanged

    def shorten(self, text: str) -> str:
        """Return a text in which lines that occurred before are left out where there are several in a row."""
        kept: list[str] = []
        known: list[str] = []
        for line in [*_plain(text).splitlines(), None]:
            if line is not None and line.strip() in self._lines:
                known.append(line)
                continue
            few = len(known) < REPEATED
            kept += known if few else [f"{_margin(known[0])}[{len(known)} lines as before]"]
            known = []
            if line is not None:
                kept.append(line if len(line) <= WIDEST else f"{line[: WIDEST - 1]}…")
        self._lines.update(line.strip() for line in _plain(text).splitlines())
        return "\n".join(kept)


def _plain(text: str) -> str:
    """Return a text without control characters."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def _margin(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _turn(call: Call, seen: _Seen, outcomes: _Outcomes) -> Turn:
    cost = f"${call.usd:.4f}" if call.usd else "price unknown"
    fault = f" ({call.fault})" if call.fault else ""
    figures = (
        f"{call.state}{fault}, asked as {call.form} at {call.sent}, {call.seconds:.1f} s, {call.tokens_in} input and "
        f"{call.tokens_out} output tokens, {cost}"
    )
    told: list[Part] = []
    unchanged: list[str] = []
    for message in call.messages:
        text = _without_pictures(message["text"])
        document = _document(text) if message["role"] == "user" else None
        if document is None:
            names = {"system": "instructions", "user": "message", "assistant": "earlier answer"}
            told.append(Part(names.get(message["role"], message["role"]), seen.shorten(text)))
            continue
        for name, value in document.items():
            if seen.is_unchanged(name, value):
                unchanged.append(name)
            else:
                told.append(Part(name, seen.shorten("\n".join(_lines(value)))))
    answer, proposals = _answer(call.reply, outcomes)
    title = f"call {call.number}, round {call.round}: {call.role}"
    pictures = [digest for message in call.messages for digest in message.get("pictures", ())]
    new = seen.take_new(pictures)
    return Turn(title, figures, told, unchanged, new, len(pictures) - len(new), seen.shorten(answer), proposals)


def _without_pictures(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.startswith(_PICTURE))


def _document(text: str) -> dict[str, Any] | None:
    """Return the JSON document that a message ends with; None if it ends with none."""
    try:
        document = json.loads(text[text.index("\n{") :])
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _lines(value: Any) -> list[str]:
    """Return a value of JSON for people: an entry or a line of text per line, and numbers one after the other."""
    if isinstance(value, dict):
        if len(value) > 1 and all(isinstance(inner, int | float) for inner in value.values()):
            return [", ".join(f"{key} {inner}" for key, inner in value.items())]
        found = []
        for key, inner in value.items():
            inside = _lines(inner)
            found += [f"{key}: {inside[0]}"] if len(inside) == 1 else [f"{key}:", *(f"  {line}" for line in inside)]
        return found or ["none"]
    if isinstance(value, list):
        if all(_is_short(inner) for inner in value):
            return [", ".join(map(str, value)) or "none"]
        if all(isinstance(inner, list) and all(map(_is_short, inner)) for inner in value):
            return ["; ".join(", ".join(map(str, inner)) for inner in value)]
        return [f"{'-' if i == 0 else ' '} {line}" for inner in value for i, line in enumerate(_lines(inner))]
    return str(value).splitlines() or [""]


def _is_short(value: Any) -> bool:
    return not isinstance(value, dict | list) and "\n" not in str(value)


def _answer(body: str, outcomes: _Outcomes) -> tuple[str, list[Proposal]]:
    """Return the text of a chat completion, or the programs in it; the body itself if it cannot be parsed."""
    text = parse_reply(body).text or body
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text, []
    if not isinstance(document, dict):
        return "\n".join(_lines(document)), []
    proposals: list[Proposal] = []
    rest: dict[str, Any] = {}
    for kind, entries in document.items():
        if kind in _WRITTEN and isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
            proposals += [_proposal(kind, entry, outcomes) for entry in entries]
        elif entries:
            rest[kind] = entries
    return "\n".join(_lines(rest)) if rest else "", proposals


_WRITTEN: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "programs": lambda entry: str(entry.get("program", "")),
    "plane_lists": lambda entry: "\n".join(map(str, planes if isinstance(planes := entry.get("planes"), list) else ())),
    "edits": lambda entry: f"in {entry.get('of')}: {entry.get('replace')}\n-> {entry.get('by')}",
    "operators": lambda entry: str(entry.get("source", "")).strip(),
}
"""How proposals are shown, by their kinds."""


def _proposal(kind: str, entry: Mapping[str, Any], outcomes: _Outcomes) -> Proposal:
    name, idea = (_plain(str(entry.get(key, ""))) for key in ("name", "idea"))
    text = _plain(_WRITTEN[kind](entry))
    return Proposal(name, idea if idea != name else "", text, outcomes.explain(text) if kind == "programs" else "")


def conversation_text(conversation: Conversation) -> str:
    """Return a conversation for a terminal."""
    if not conversation.turns:
        return "This run asked no language model."
    return "\n\n".join([conversation.in_short, *map(_turn_text, conversation.turns)])


def _turn_text(turn: Turn) -> str:
    lines = [f"=== {turn.title}", f"    {turn.figures}"]
    for part in turn.told:
        lines += [f"--- {part.title}", indent(part.text, "    ")]
    if turn.unchanged:
        lines.append(f"--- as before: {', '.join(turn.unchanged)}")
    if turn.pictures or turn.n_repeated:
        lines.append(f"--- pictures: {len(turn.pictures)} new, {turn.n_repeated} as before")
    if turn.answer:
        lines += ["--- answer", indent(turn.answer, "    ")]
    for proposal in turn.proposals:
        lines.append(f"--- proposed: {proposal.name or 'a program'}. {proposal.idea}".rstrip())
        lines.append(indent(proposal.program.rstrip(), "    "))
        lines += [f"    -> {proposal.outcome}"] if proposal.outcome else []
    return "\n".join(lines)


def write_conversation(run: str, path: Path, *, overwrite: bool = False) -> Path:
    """Write a run's conversation as a page that opens offline, with the pictures that were sent.

    Raises
    ------
    EvosegError
        As `read_conversation`, or if the file exists and `overwrite` is False, or cannot be written.
    """
    pictures = {
        digest: f"data:image/jpeg;base64,{b64encode(data).decode()}"
        for digest, data in read_pictures(find_run_folder(run).path).items()
    }
    page = render("conversation.html.jinja", conversation=read_conversation(run), pictures=pictures)
    write_whole(path, page, overwrite=overwrite)
    return path
