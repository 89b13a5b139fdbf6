"""The tables of a run, and how their file is opened."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Dialect,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Select,
    Table,
    Text,
    TypeDecorator,
    create_engine,
    event,
    text,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from evoseg.core.errors import EvosegError, legible

APPLICATION = 0x65766F73
"""`evos`; tells a run's database from any other SQLite file."""
SCHEMA = 1
"""Changes with the tables, unless old and new versions of evoseg can do without what is added."""
PATIENCE_S = 20.0
"""How long one process waits for another that is writing."""
MAX_VALUE = 2**28
"""Bytes that one value of a database may have."""
_MAX_OBJECTS = 100

_METADATA = MetaData()


class FilePath(TypeDecorator[str]):
    """A path; one whose bytes are not UTF-8 is kept as bytes, which SQLite allows in a column of text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Return what SQLite is given."""
        return value if value is None or not any("\ud800" <= c <= "\udfff" for c in value) else os.fsencode(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Return the path."""
        return os.fsdecode(value) if isinstance(value, bytes) else value


RUN = Table(
    "run",
    _METADATA,
    Column("id", Text, primary_key=True),
    Column("dataset", Text, nullable=False),
    Column("dataset_path", FilePath),
    Column("dataset_digest", Text, nullable=False),
    Column("parts", JSON, nullable=False),
    Column("splits", JSON, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("revisions", JSON, nullable=False),
    Column("versions", JSON, nullable=False),
    Column("started", Text, nullable=False),
    Column("finished", Text),
)
ENTRY = Table(
    "entry",
    _METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("about", Text, nullable=False),
    Column("question", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("killed", Boolean, nullable=False),
    Column("evaluations", Integer, nullable=False),
    Column("best", Float),
    Column("checksum", LargeBinary, nullable=False),
)
ANSWER = Table(
    "answer",
    _METADATA,
    Column("entry", Integer, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("outcome", Text, nullable=False),
    Column("score", Float),
    Column("words", Text),
    Column("n_images", Integer),
    Column("numbers", LargeBinary),
)
CANDIDATE = Table(
    "candidate",
    _METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("generation", Integer, nullable=False),
    Column("evaluations", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("stage", Text, nullable=False),
    Column("proposer", Text, nullable=False),
    Column("parents", Text, nullable=False),
    Column("request", Integer),
    Column("outcome", Text, nullable=False),
    Column("score", Float),
    Column("left_out", Float),
    Column("jittered", Float),
    Column("reason", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("cost", Float, nullable=False),
    Column("program", Text, nullable=False),
)
"""All candidates that were decided upon, with their lineage (`evoseg.runs.lineage`); early runs lack the table."""
LOOK = Table(
    "look",
    _METADATA,
    Column("number", Integer, primary_key=True),
    Column("when", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("n_images", Integer, nullable=False),
)
"""Times at which a run's pipelines were scored on its test images after the search; early runs lack the table."""


REST = "The other files of the run, if there are any, can still be used; `evoseg runs delete` removes them all."


class StoreError(EvosegError, OSError):
    """A run's database that cannot be read, or must not be written."""


def connect(path: Path, mode: str, wait_s: float = 5.0) -> sqlite3.Connection:
    """Open a SQLite file by its path, whatever characters are in it, so that nothing in the file can run.

    Parameters
    ----------
    path : Path
    mode : "ro", "rw" or "rwc"
        As of SQLite's URIs: read, write, or make it if need be.
    wait_s : float, s
        How long to wait for another process that is writing.

    Raises
    ------
    StoreError
        If there is something else than a regular file.
    """
    if path.exists() and not path.is_file():
        raise StoreError(f"{path}: not a file, so not a database. Name a file.")
    # Quoted, since '?', '#' and '%' mean something in a URI; as bytes, since a name need not be text.
    address = f"file:{quote(os.fsencode(os.path.abspath(path)))}?mode={mode}"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=wait_s)
    # A schema is part of the file: what it names, such as functions in an index, may be anybody's idea.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    return connection


def check_schema(connection: Connection, tables: Sequence[Table]) -> str:
    """Return what is wrong with the schema of a SQLite file, or "" if our tables in it are tables, and ours.

    A view or a virtual table may have endless rows, a trigger or a generated column may run with every statement.

    Parameters
    ----------
    tables : sequence of Table
        Those that are going to be used; a missing one is not wrong.
    """
    query = text(f"SELECT type, name, sql FROM sqlite_master LIMIT {_MAX_OBJECTS + 1}")
    objects = connection.execute(query).all()
    if len(objects) > _MAX_OBJECTS:
        return f"it holds more than {_MAX_OBJECTS} tables"
    known = {table.name: table for table in tables}
    indices = {index.name for table in tables for index in table.indexes}
    for kind, name, statement in objects:
        shown = legible(str(name))
        if kind == "index" and statement is not None and name not in indices:
            return f"it holds the index {shown}, which is not evoseg's"
        if kind not in ("table", "index") or "VIRTUAL" in str(statement).upper()[:40]:
            return f"it holds the {kind} {shown}, which is not evoseg's"
        if kind == "table" and name in known:
            columns = connection.execute(text(f'PRAGMA table_xinfo("{name}")')).all()
            there = {column.name for column in columns if not column.hidden and column.dflt_value is None}
            if len(there) < len(columns) or not {column.name for column in known[name].columns} <= there:
                return f"its table {shown} has other columns"
    return ""


def rows_of(connection: Connection, query: Select[Any]) -> list[Row[Any]]:
    """Return the rows of a query, each value of the type that its column promises; SQLite itself keeps any.

    Raises
    ------
    TypeError
        If a value is of another type, or a number that is not finite.
    """
    rows = connection.execute(query).all()
    for column, values in zip(query.selected_columns, zip(*rows, strict=True), strict=bool(rows)):
        kind: Any = column.type.python_type
        for value in values:
            if value is None and getattr(column, "nullable", True):
                continue
            right = type(value) is kind or (kind is float and type(value) is int)
            if not right or (kind is float and not isfinite(value)):
                raise TypeError(f"{column.name} holds a {type(value).__name__}")
    return list(rows)


def create(path: Path, run: dict[str, Any], insert_more: Callable[[Connection], None]) -> None:
    """Write the database of a new run; it appears whole or not at all, in place of an earlier one."""
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.unlink(missing_ok=True)
    with mended(path):
        engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(unfinished), poolclass=StaticPool)
        try:
            with engine.begin() as connection:
                connection.execute(text(f"PRAGMA application_id = {APPLICATION}"))
                connection.execute(text(f"PRAGMA user_version = {SCHEMA}"))
                _METADATA.create_all(connection)
                connection.execute(RUN.insert(), run)
                insert_more(connection)
        finally:
            engine.dispose()
        for leftover in (path, *wal_files(path)):
            leftover.unlink(missing_ok=True)
        unfinished.replace(path)


def wal_files(path: Path) -> list[Path]:
    """Return the files that SQLite keeps beside a database while it is open."""
    return [path.with_name(path.name + end) for end in ("-wal", "-shm")]


@contextmanager
def opened(path: Path, *, write: bool = False, journal: bool = True) -> Iterator[Connection]:
    """Open a run's database.

    Parameters
    ----------
    write : bool
    journal : bool
        Whether what is written is a search's journal; False for a single row, which other processes may be writing at
        the same time.

    Raises
    ------
    StoreError
        If there is none, it is damaged, or another version of evoseg has made it.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such file, so {path.parent} holds no run.")
    with mended(path):
        mode = "rw" if write else "ro"
        engine = create_engine("sqlite://", creator=lambda: connect(path, mode, PATIENCE_S), poolclass=StaticPool)
        # By itself, pysqlite would begin a transaction only at the first write.
        event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN"))
        try:
            with engine.connect() as connection:
                _check(connection, path)
                connection.commit()
                if write and journal:
                    raw = connection.connection.driver_connection
                    assert raw is not None
                    # Outside of transactions, where alone these may be set.
                    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
                        raw.execute(f"PRAGMA {pragma}").fetchall()
                try:
                    yield connection
                finally:
                    if write and journal:
                        _settle(connection)
        finally:
            engine.dispose()


def _settle(connection: Connection) -> None:
    """Leave one plain file behind, which can be read where nothing may be written; not while somebody reads it."""
    raw = connection.connection.driver_connection
    assert raw is not None
    try:
        raw.execute("PRAGMA busy_timeout = 100")
        raw.execute("PRAGMA journal_mode = DELETE").fetchall()
    except sqlite3.Error:
        pass  # the files beside it are as safe


def _check(connection: Connection, path: Path) -> None:
    application, schema = (
        connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("application_id", "user_version")
    )
    if application != APPLICATION:
        raise StoreError(f"{path}: damaged, or not made by evoseg. {REST}")
    if schema != SCHEMA:
        raise StoreError(
            f"{path}: has format version {schema}, and this version of evoseg only reads {SCHEMA}. Use the version of "
            "evoseg that made the run; its pipeline.evo can be used by any."
        )
    if wrong := check_schema(connection, list(_METADATA.tables.values())):
        raise StoreError(f"{path}: damaged, or not made by evoseg ({wrong}). {REST}")


@contextmanager
def mended(path: Path) -> Iterator[None]:
    """Turn what SQLite complains of into one clear error."""
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreError(_in_words(path, str(getattr(error, "orig", None) or error))) from error
    except sqlite3.Error as error:
        raise StoreError(_in_words(path, str(error))) from error
    except UnicodeDecodeError as error:  # of SQLite's own message, which repeats what is in a damaged schema
        raise StoreError(_in_words(path, "its schema is malformed")) from error


def _in_words(path: Path, message: str) -> str:
    if "full" in message or "disk I/O" in message:
        return f"{path}: cannot be written ({message}). Make room; what is written already is safe."
    if "readonly" in message or "unable to open" in message or "locked" in message:
        return f"{path}: cannot be opened ({message})."
    return f"{path}: damaged ({message}). {REST}"
