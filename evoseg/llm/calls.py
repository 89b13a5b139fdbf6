"""Calls of a language model as rows of a run's database: question, pictures, answer and cost.

A call is committed before it is sent, with the most that it can cost, and settled when the answer has come. So a
process that is killed has never spent more than its rows say.
"""

import json
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, final

from PIL import Image
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    inspect,
    select,
)

from evoseg.runs import database
from evoseg.runs.run_file import DATABASE

_METADATA = MetaData()

# A separate table that is created with the first call, so that runs without a model do not change.
CALL = Table(
    "call",
    _METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("round", Integer, nullable=False),
    Column("role", Text, nullable=False),
    Column("form", Text, nullable=False),
    Column("messages", JSON, nullable=False),
    Column("sent", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reply", Text, nullable=False),
    Column("fault", Text, nullable=False),
    Column("tokens_in", Integer, nullable=False),
    Column("tokens_out", Integer, nullable=False),
    Column("usd", Float, nullable=False),
    Column("seconds", Float, nullable=False),
)

PICTURE = Table(
    "picture",
    _METADATA,
    Column("digest", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)
"""Pictures that were sent, each once, as JPEG files; early runs lack the table."""

MOST_PICTURE_BYTES = 8 * 2**20
"""What the pictures of a run may take in its database; further ones are sent, but not stored."""

RESERVED, ANSWERED, FAILED = "reserved", "answered", "failed"


@dataclass(frozen=True)
class Call:
    """One request to a language model.

    Attributes
    ----------
    number : int
        From 1, in the order of sending.
    round : int
        The round that it belongs to.
    role : str
    form : str
        How a structured answer was asked for.
    messages : sequence of {"role", "text", "pictures"}
        Messages as text, with the sizes of pictures, and the digests of those that are stored, "" for others; early
        runs have no digests.
    sent : str
        Local time.
    state : str
        "reserved" until there is an outcome, then "answered" or "failed".
    reply : str
        The body of the answer as it came, without keys.
    fault : str
        The problem in one or two words; "" if there was none.
    tokens_in, tokens_out : int
        While reserved, the most that they can be.
    usd : float
        The same in money; 0 where the price is unknown.
    seconds : float, s
    """

    number: int
    round: int
    role: str
    form: str
    messages: Sequence[dict[str, Any]]
    sent: str
    state: str = RESERVED
    reply: str = ""
    fault: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    seconds: float = 0.0


MOST_PX, QUALITY = 1600, 60
"""Longest side and JPEG quality of pictures that are stored."""


def compress_picture(url: str) -> bytes:
    """Return the picture in a data URL as a small JPEG file; nothing if it is none."""
    try:
        with Image.open(BytesIO(b64decode(url.partition(",")[2]))) as picture:
            small = picture.convert("RGB")
    except (OSError, ValueError):
        return b""
    small.thumbnail((MOST_PX, MOST_PX))
    file = BytesIO()
    small.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()


class CallLog(Protocol):
    """Where calls are recorded."""

    def calls(self) -> list[Call]:
        """Return all calls, in their order."""
        ...

    def write(self, call: Call) -> None:
        """Record a call in place of its earlier state; it is on disk when this returns."""
        ...

    def keep_picture(self, data: bytes) -> str:
        """Store a picture and return its digest; "" if it is not stored."""
        ...


@final
class MemoryCallLog:
    """A log in memory, for calls that belong to no run, or not yet."""

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}
        self._pictures: dict[str, bytes] = {}

    def calls(self) -> list[Call]:
        """Return all calls, in their order."""
        return list(self._calls.values())

    def write(self, call: Call) -> None:
        """Record a call."""
        self._calls[call.number] = call

    def keep_picture(self, data: bytes) -> str:
        """Keep a picture and return its digest."""
        self._pictures[_picture_digest(data)] = data
        return _picture_digest(data)

    def insert_into(self, connection: Connection) -> None:
        """Write all calls into the database of a run that is being made, so that none is ever forgotten."""
        if self._calls:
            _METADATA.create_all(connection)
            rows = [asdict(replace(call, messages=list(call.messages))) for call in self._calls.values()]
            connection.execute(CALL.insert(), rows)
        if self._pictures:
            pictures = [{"digest": digest, "data": data} for digest, data in self._pictures.items()]
            connection.execute(PICTURE.insert(), pictures)


@final
class StoredCallLog:
    """The calls of a run, with a connection of its own, since waiting for a model must not block the journal."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def calls(self) -> list[Call]:
        """Return all calls, in their order.

        Raises
        ------
        StoreError
            If they cannot be read.
        """
        return _read(self._connection, self._path)

    def write(self, call: Call) -> None:
        """Write a call to the disk.

        Raises
        ------
        StoreError
            If that is impossible, as on a full disk.
        """
        row = asdict(replace(call, messages=list(call.messages)))
        with database.mended(self._path), self._connection.begin():
            self._connection.execute(CALL.delete().where(CALL.c.number == call.number))
            self._connection.execute(CALL.insert(), row)

    def keep_picture(self, data: bytes) -> str:
        """Write a picture to the disk, unless it is there already or pictures take up `MOST_PICTURE_BYTES`.

        Raises
        ------
        StoreError
            If that is impossible, as on a full disk.
        """
        digest = _picture_digest(data)
        with database.mended(self._path), self._connection.begin():
            there = self._connection.execute(select(PICTURE.c.digest).where(PICTURE.c.digest == digest)).first()
            size = self._connection.execute(select(func.sum(func.length(PICTURE.c.data)))).scalar_one() or 0
            if there is None and size + len(data) > MOST_PICTURE_BYTES:
                return ""
            if there is None:
                self._connection.execute(PICTURE.insert(), {"digest": digest, "data": data})
        return digest


def _picture_digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


@contextmanager
def open_calls(folder: Path) -> Iterator[StoredCallLog]:
    """Open the calls of a run to add to them; the caller holds its lock.

    Raises
    ------
    StoreError
        If there is no run in the folder, or its database is damaged.
    """
    path = folder / DATABASE
    with database.opened(path, write=True) as connection:
        with database.mended(path), connection.begin():
            _METADATA.create_all(connection)
        yield StoredCallLog(connection, path)


def read_calls(folder: Path) -> list[Call]:
    """Return the calls of a run; none if it has asked no model.

    Raises
    ------
    StoreError
        If there is no run in the folder, or its database is damaged.
    """
    path = folder / DATABASE
    with database.opened(path) as connection:
        return _read(connection, path) if inspect(connection).has_table(CALL.name) else []


def read_pictures(folder: Path) -> dict[str, bytes]:
    """Return the pictures that were sent in a run and stored, as JPEG files by digest.

    Raises
    ------
    StoreError
        If there is no run in the folder, or its database is damaged.
    """
    path = folder / DATABASE
    with database.opened(path) as connection:
        if not inspect(connection).has_table(PICTURE.name):
            return {}
        _refuse_other_tables(connection, path)
        try:
            with database.mended(path):
                return {row.digest: row.data for row in database.rows_of(connection, select(PICTURE))}
        except TypeError as error:
            raise database.StoreError(f"{path}: damaged (its pictures cannot be read). {database.REST}") from error


def _refuse_other_tables(connection: Connection, path: Path) -> None:
    if wrong := database.check_schema(connection, [CALL, PICTURE]):
        raise database.StoreError(f"{path}: damaged, or not made by evoseg ({wrong}). {database.REST}")


def _read(connection: Connection, path: Path) -> list[Call]:
    try:
        with database.mended(path):
            _refuse_other_tables(connection, path)
            rows: list[Any] = list(connection.execute(select(CALL).order_by(CALL.c.number)))
            connection.commit()
        return [Call(**row._asdict()) for row in rows]
    except (TypeError, ValueError) as error:
        raise database.StoreError(f"{path}: damaged (its list of calls cannot be read). {database.REST}") from error


@dataclass(frozen=True)
class Reply:
    """What a chat completion contains.

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


def parse_reply(body: str) -> Reply:
    """Return what a chat completion contains; any part of it may be missing or wrong."""
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


def conversation_json(folder: Path) -> list[dict[str, Any]]:
    """Return all calls of a run as values that JSON knows."""
    return [vars(call) | {"messages": list(call.messages)} for call in read_calls(folder)]
