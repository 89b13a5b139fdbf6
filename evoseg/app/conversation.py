"""What a run and its language model have said to each other, for people."""

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

from evoseg.store.calls import Call, calls_of

MOST_LINES = 30
"""Of a message; the whole of it is in the JSON document."""


def conversation_json(folder: Path) -> list[dict[str, Any]]:
    """Return all calls of a run as values that JSON knows."""
    return [vars(call) | {"messages": list(call.messages)} for call in calls_of(folder)]


def conversation_text(folder: Path) -> str:
    """Return all calls of a run, one after the other."""
    calls = calls_of(folder)
    return "\n\n".join(map(_call_text, calls)) if calls else "no language model was asked"


def _call_text(call: Call) -> str:
    head = f"call {call.number}  round {call.round}, {call.role}, asked as {call.form}, {call.sent}"
    cost = f"${call.usd:.4f}" if call.usd else "price unknown"
    figures = f"{call.state}{f' ({call.fault})' if call.fault else ''}, {call.seconds:.1f} s, "
    figures += f"{call.tokens_in} tokens read, {call.tokens_out} written, {cost}"
    parts = [f"=== {head}", f"    {figures}"]
    for message in call.messages:
        parts.append(f"--- {message['role']}\n{indent(_shortened(message['text']), '    ')}")
    if call.reply:
        parts.append(f"--- answer\n{indent(_shortened(_said(call.reply)), '    ')}")
    return "\n".join(parts)


def _said(body: str) -> str:
    """Return what a body says, programs as lines; the body itself if it is none that says anything."""
    from evoseg.llm.answers import reply_of

    text = reply_of(body).text or body
    try:
        document = json.loads(text)
    except ValueError:
        return text
    return _plain(document) if isinstance(document, dict) else text


def _plain(document: Mapping[str, Any]) -> str:
    if not isinstance(document.get("programs"), list):
        return json.dumps(document, indent=1, ensure_ascii=False)
    lines = []
    for entry in document["programs"]:
        if isinstance(entry, dict):
            lines.append(
                f"{entry.get('name', '')}: {entry.get('idea', '')}\n{indent(str(entry.get('program', '')), '  ')}"
            )
    return "\n".join(lines)


def _shortened(text: str) -> str:
    """Return a text's first lines, without what a terminal would obey."""
    plain = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    lines = plain.splitlines()
    more = [f"... and {len(lines) - MOST_LINES} more lines; --json shows all"] if len(lines) > MOST_LINES else []
    return "\n".join([*(line[:2000] for line in lines[:MOST_LINES]), *more])
