"""Calls of a language model as rows of a run's database: what was asked, what came back, what it cost.

A call is committed before it is sent, with the most that it can cost, and settled when the answer is there. So a
process that is killed has never spent more than its rows say.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, final

from sqlalchemy import JSON, Column, Connection, Float, Integer, MetaData, Table, Text, inspect, select

from evoseg.store import database
from evoseg.store.runs import DATABASE

_METADATA = MetaData()

# A table of its own that comes with the first call: runs without a model are as they were.
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
    messages : sequence of {"role", "text"}
        What was said; pictures by their sizes only.
    sent : str
        Local time.
    state : str
        "reserved" until there is an outcome, then "answered" or "failed".
    reply : str
        The body of the answer as it came, without keys.
    fault : str
        What was wrong, in one or two words; "" if nothing.
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
    messages: Sequence[dict[str, str]]
    sent: str
    state: str = RESERVED
    reply: str = ""
    fault: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    seconds: float = 0.0


class Ledger(Protocol):
    """Where calls are written down."""

    def calls(self) -> list[Call]:
        """Return all calls, in their order."""
        ...

    def write(self, call: Call) -> None:
        """Write a call down, in place of what was known of it; it is safe when this returns."""
        ...


@final
class LooseLedger:
    """Calls that belong to no run, in memory."""

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}

    def calls(self) -> list[Call]:
        """Return all calls, in their order."""
        return list(self._calls.values())

    def write(self, call: Call) -> None:
        """Remember a call."""
        self._calls[call.number] = call


@final
class CallFile:
    """The calls of a run, over a connection of its own: whoever waits for a model must not hold the journal's."""

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


@contextmanager
def open_calls(folder: Path) -> Iterator[CallFile]:
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
        yield CallFile(connection, path)


def calls_of(folder: Path) -> list[Call]:
    """Return the calls of a run; none if it has asked no model.

    Raises
    ------
    StoreError
        If there is no run in the folder, or its database is damaged.
    """
    path = folder / DATABASE
    with database.opened(path) as connection:
        return _read(connection, path) if inspect(connection).has_table(CALL.name) else []


def _read(connection: Connection, path: Path) -> list[Call]:
    try:
        with database.mended(path):
            if wrong := database.check_schema(connection, [CALL]):
                raise database.StoreError(f"{path}: damaged, or not made by evoseg ({wrong}). {database.REST}")
            rows: list[Any] = list(connection.execute(select(CALL).order_by(CALL.c.number)))
            connection.commit()
        return [Call(**row._asdict()) for row in rows]
    except (TypeError, ValueError) as error:
        raise database.StoreError(f"{path}: damaged (its list of calls cannot be read). {database.REST}") from error
