"""The tables of a run, and how their file is opened."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
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
    Table,
    Text,
    TypeDecorator,
    create_engine,
    event,
    text,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from evoseg.base.errors import EvosegError

APPLICATION = 0x65766F73
"""`evos`; tells a run's database from any other SQLite file."""
SCHEMA = 1
"""Changes with the tables, unless old and new versions of evoseg can do without what is added."""
PATIENCE_S = 20.0
"""How long one process waits for another that is writing."""

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


def create(path: Path, run: dict[str, Any]) -> None:
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
        raise StoreError(f"{path}: there is no such file, so {path.parent} holds no run.")
    with mended(path):
        address = f"file:{quote(os.fsencode(path))}?mode={'rw' if write else 'ro'}"
        engine = create_engine(
            "sqlite://",
            creator=lambda: sqlite3.connect(
                address, timeout=PATIENCE_S, uri=True, isolation_level=None, check_same_thread=False
            ),
            poolclass=StaticPool,
        )
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
            f"{path}: has the form {schema}, and this evoseg reads form {SCHEMA} only. Use the version of evoseg that "
            "made the run; its pipeline.evo can be used by any."
        )


@contextmanager
def mended(path: Path) -> Iterator[None]:
    """Turn what SQLite complains of into one clear error."""
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreError(_in_words(path, str(getattr(error, "orig", None) or error))) from error
    except sqlite3.Error as error:
        raise StoreError(_in_words(path, str(error))) from error


def _in_words(path: Path, message: str) -> str:
    if "full" in message or "disk I/O" in message:
        return f"{path}: cannot be written ({message}). Make room; what is written already is safe."
    if "readonly" in message or "unable to open" in message or "locked" in message:
        return f"{path}: cannot be opened ({message})."
    return f"{path}: damaged ({message}). {REST}"
