"""The library of solved tasks on disk: SQLite, or PostgreSQL for a lab; the same tables and the same statements.

Tasks are stored as JSON documents, with their vectors in a separate table, so that a search reads few documents. The
column `state.digest` is no longer used; evoseg 0.1 checked its index files with it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    delete,
    event,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from evoseg.runs.database import StoreError, check_schema, connect, rows_of

APPLICATION = 0x65766C62
"""`evlb`; tells a library from any other SQLite file."""
WAIT_S = 60.0
"""How long one process waits for another that is writing, in s."""
LOCK = 0x65766C62
"""Number of the advisory lock that a process holds while it writes to a PostgreSQL library."""
CHUNK = 500
"""Largest number of ids in one statement."""

_METADATA = MetaData()
_LONG = BigInteger().with_variant(Integer(), "sqlite")

STATE = Table(
    "state",
    _METADATA,
    Column("key", Text, primary_key=True),
    Column("number", _LONG, nullable=False),
    Column("digest", LargeBinary, nullable=False),
)
TASK = Table(
    "task",
    _METADATA,
    Column("number", _LONG, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("added", Text, nullable=False),
    sqlite_autoincrement=True,  # a number is never given twice, so results never refer to another task
)
VECTOR = Table(
    "vector",
    _METADATA,
    Column("descriptor", Text, primary_key=True),
    Column("task", _LONG, primary_key=True, autoincrement=False),
    Column("numbers", LargeBinary, nullable=False),
)
TRANSFER = Table(
    "reuse",
    _METADATA,
    Column("number", _LONG, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("source", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("form", Text, nullable=False),
    Column("scale", Float, nullable=False),
    Column("retrieved", Float),
    Column("refitted", Float, nullable=False),
    Column("kept", Boolean),
    Index("reuse_source", "source"),
)
VERSION = "version"


def _first_tables(connection: Connection) -> None:
    _METADATA.create_all(connection)


MIGRATIONS = (_first_tables,)
"""Number n brings a library from version n to n + 1; none is ever changed once it was released."""


@dataclass(frozen=True)
class TaskRow:
    """A task as it is stored.

    Attributes
    ----------
    id, name, document, origin : str
        `document` is the task's YAML, `origin` says where it came from.
    vectors : mapping of str to bytes
        float32 numbers, little-endian, by descriptor.
    """

    id: str
    name: str
    document: str
    origin: str
    vectors: Mapping[str, bytes]


@final
class LibraryStore:
    """An open library. Every method is one transaction; several processes may have it open.

    Parameters
    ----------
    where : Path or str
        A SQLite file, which is made if need be, or the URL of a PostgreSQL database.
    wait_s : float, s
        How long a transaction waits for another process that is writing.

    Raises
    ------
    StoreError
        If it cannot be opened, is not a library, or was made by a later version of evoseg.
    """

    def __init__(self, where: Path | str, wait_s: float = WAIT_S) -> None:
        self.where = str(where)
        self._wait_s = wait_s
        self._engine = _engine(where, wait_s)
        try:
            with self._mended():
                self._migrate()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the database; calling it again does nothing."""
        self._engine.dispose()

    def add(self, rows: Sequence[TaskRow]) -> list[str]:
        """Add tasks; return the ids of those that were not there yet."""
        added = []
        with self._writing() as connection:
            for row in rows:
                if connection.execute(select(TASK.c.number).where(TASK.c.id == row.id)).first() is not None:
                    continue
                values = {"id": row.id, "name": row.name, "document": row.document, "origin": row.origin}
                done = connection.execute(insert(TASK).values(**values, added=_now()).returning(TASK.c.number))
                _insert_vectors(connection, done.scalar_one(), row)
                added.append(row.id)
        return added

    def replace(self, row: TaskRow) -> None:
        """Replace the document and the vectors of a task, if it is still there."""
        with self._writing() as connection:
            number = connection.execute(select(TASK.c.number).where(TASK.c.id == row.id)).scalar()
            if number is not None:
                connection.execute(update(TASK).where(TASK.c.number == number).values(document=row.document))
                connection.execute(delete(VECTOR).where(VECTOR.c.task == number))
                _insert_vectors(connection, number, row)

    def remove(self, task: str) -> bool:
        """Remove a task by its id, and the transfer results that concern it; return whether it was there."""
        with self._writing() as connection:
            number = connection.execute(select(TASK.c.number).where(TASK.c.id == task)).scalar()
            if number is None:
                return False
            connection.execute(delete(VECTOR).where(VECTOR.c.task == number))
            connection.execute(delete(TRANSFER).where((TRANSFER.c.source == task) | (TRANSFER.c.target == task)))
            connection.execute(delete(TASK).where(TASK.c.number == number))
        return True

    def names(self, ids: Sequence[str] | None = None) -> list[tuple[str, str, str, str]]:
        """Return id, name, origin and time of adding of all tasks, or of some, oldest first."""
        with self._reading() as connection:
            query = select(TASK.c.id, TASK.c.name, TASK.c.origin, TASK.c.added).order_by(TASK.c.number)
            queries = [query] if ids is None else [query.where(TASK.c.id.in_(some)) for some in _chunks(ids)]
            return [(row.id, row.name, row.origin, row.added) for one in queries for row in rows_of(connection, one)]

    def documents(self, ids: Sequence[str] | None = None) -> dict[str, str]:
        """Return the documents of some tasks, or of all, by id."""
        with self._reading() as connection:
            query = select(TASK.c.id, TASK.c.document).order_by(TASK.c.number)
            if ids is None:
                return {row.id: row.document for row in rows_of(connection, query)}
            found: dict[str, str] = {}
            for some in _chunks(ids):
                found |= {row.id: row.document for row in rows_of(connection, query.where(TASK.c.id.in_(some)))}
            return found

    def ids_of(self, numbers: Sequence[int]) -> dict[int, str]:
        """Return the ids of tasks by their numbers."""
        with self._reading() as connection:
            found: dict[int, str] = {}
            for some in _chunks(numbers):
                rows = rows_of(connection, select(TASK.c.number, TASK.c.id).where(TASK.c.number.in_(some)))
                found |= {row.number: row.id for row in rows}
            return found

    def vectors(self, descriptor: str) -> list[tuple[int, bytes]]:
        """Return the number and the vector of each task that has a descriptor, oldest first."""
        with self._reading() as connection:
            query = select(VECTOR.c.task, VECTOR.c.numbers).where(VECTOR.c.descriptor == descriptor)
            return [(row.task, bytes(row.numbers)) for row in rows_of(connection, query.order_by(VECTOR.c.task))]

    def vectors_of(self, tasks: Sequence[int], descriptors: Sequence[str]) -> dict[int, dict[str, bytes]]:
        """Return the vectors of some tasks by their numbers and the descriptors."""
        found: dict[int, dict[str, bytes]] = {}
        with self._reading() as connection:
            for some in _chunks(tasks):
                query = select(VECTOR).where(VECTOR.c.descriptor.in_(descriptors), VECTOR.c.task.in_(some))
                for row in rows_of(connection, query):
                    found.setdefault(row.task, {})[row.descriptor] = bytes(row.numbers)
        return found

    def all_have_vectors(self, descriptors: Sequence[str]) -> bool:
        """Return whether each task has a vector of at least one of some descriptors."""
        having = select(VECTOR.c.task).where(VECTOR.c.descriptor.in_(descriptors))
        with self._reading() as connection:
            return not rows_of(connection, select(TASK.c.number).where(TASK.c.number.not_in(having)).limit(1))

    def add_transfer_rows(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Add transfer results; return how many were not there yet."""
        n = 0
        with self._writing() as connection:
            for row in rows:
                if connection.execute(select(TRANSFER.c.number).where(TRANSFER.c.id == row["id"])).first() is None:
                    connection.execute(insert(TRANSFER).values(**row))
                    n += 1
        return n

    def transfer_rows(self, most: int | None = None) -> list[dict[str, Any]]:
        """Return transfer results, the newest first."""
        with self._reading() as connection:
            rows = rows_of(connection, select(TRANSFER).order_by(TRANSFER.c.number.desc()).limit(most))
        return [{k: v for k, v in row._asdict().items() if k not in ("number", "id")} for row in rows]

    def verify(self) -> None:
        """Check the whole file, before everything in it is merged.

        Raises
        ------
        StoreError
            If it is damaged; a page that is part of two tables, or of one twice, would make a table without end.
        """
        with self._reading() as connection:
            if connection.dialect.name != "sqlite":
                return
            if (wrong := connection.execute(text("PRAGMA quick_check(1)")).scalar_one()) != "ok":
                raise StoreError(f"{self.shown}: {_advice(str(wrong).splitlines()[0], self._wait_s)}")

    def count(self) -> tuple[int, int]:
        """Return how many tasks and how many transfer results there are."""
        with self._reading() as connection:
            tasks = connection.execute(select(func.count()).select_from(TASK)).scalar_one()
            return tasks, connection.execute(select(func.count()).select_from(TRANSFER)).scalar_one()

    def _migrate(self) -> None:
        # Most libraries are up to date, and finding that out does not need to wait for writers.
        with self._transaction(writes=False) as connection:
            self._check_schema(connection)
            if _version(connection) == len(MIGRATIONS):
                if connection.dialect.name == "sqlite":
                    self._check_application(connection)
                return
        with self._transaction(writes=True) as connection:
            if connection.dialect.name == "sqlite":
                self._check_application(connection)
            there = _version(connection)
            if there > len(MIGRATIONS):
                raise StoreError(
                    f"{self.shown}: has format version {there}, and this version of evoseg only reads up to "
                    f"{len(MIGRATIONS)}. Use a newer one."
                )
            for migration in MIGRATIONS[there:]:
                migration(connection)
            if there < len(MIGRATIONS):
                connection.execute(delete(STATE).where(STATE.c.key == VERSION))
                connection.execute(insert(STATE).values(key=VERSION, number=len(MIGRATIONS), digest=b""))

    def _check_application(self, connection: Connection) -> None:
        """Refuse a SQLite file that something else has made; mark a new one."""
        application = connection.execute(text("PRAGMA application_id")).scalar_one()
        empty = not connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar_one()
        if application == 0 and empty:
            connection.execute(text(f"PRAGMA application_id = {APPLICATION}"))
        elif application != APPLICATION:
            raise StoreError(f"{self.shown}: damaged, or not a library of evoseg.")

    def _check_schema(self, connection: Connection) -> None:
        """Refuse a SQLite file whose tables are not what a library's are, before anything is read from them."""
        if connection.dialect.name == "sqlite" and (wrong := check_schema(connection, list(_METADATA.tables.values()))):
            raise StoreError(f"{self.shown}: damaged, or not a library of evoseg ({wrong}).")

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._mended(), self._transaction(writes=False) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._mended(), self._transaction(writes=True) as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        """Begin a transaction; writers wait for each other, so that numbers are given in the order of commits."""
        with self._engine.connect().execution_options(writes=writes) as connection, connection.begin():
            if writes and connection.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL lock_timeout = {max(1, round(1000 * self._wait_s))}"))
                connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            yield connection

    @contextmanager
    def _mended(self) -> Iterator[None]:
        """Turn an error of the database into one clear StoreError."""
        try:
            yield
        except SQLAlchemyError as error:
            message = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise StoreError(f"{self.shown}: {_advice(message, self._wait_s)}") from error
        except StoreError:
            raise
        except (TypeError, ValueError) as error:
            raise StoreError(f"{self.shown}: {_advice(str(error), self._wait_s)}") from error

    @property
    def shown(self) -> str:
        """Where the library is, without a password."""
        return self._engine.url.render_as_string(hide_password=True) if "://" in self.where else self.where


def _engine(where: Path | str, wait_s: float) -> Engine:
    if "://" not in str(where):
        path = Path(where)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path}: cannot be made ({error.strerror}).") from error
        engine = create_engine("sqlite://", creator=lambda: connect(path, "rwc", wait_s), poolclass=NullPool)
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        return engine
    try:
        url = str(where)
        scheme, _, rest = url.partition("://")
        driver = "postgresql+psycopg" if scheme in ("postgres", "postgresql") else scheme
        if not driver.startswith("postgresql+"):
            raise StoreError(f"{scheme}://...: a library is a SQLite file or a postgresql:// URL.")
        return create_engine(f"{driver}://{rest}", poolclass=NullPool, connect_args={"connect_timeout": 10})
    except ArgumentError as error:
        raise StoreError(f"the URL of the library cannot be read ({error}).") from error
    except ModuleNotFoundError as error:
        raise StoreError("PostgreSQL needs the package psycopg: pip install 'evoseg[postgres]'.") from error


def _prepare(connection: Any, _: Any) -> None:
    # The classic journal: one plain file at rest, which can be copied, and shared drives are safer with it.
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    # A transaction that first reads and then writes would fail, not wait, if another came first.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table(STATE.name):
        return 0
    return connection.execute(select(STATE.c.number).where(STATE.c.key == VERSION)).scalar() or 0


def _insert_vectors(connection: Connection, number: int, row: TaskRow) -> None:
    rows = [{"descriptor": name, "task": number, "numbers": numbers} for name, numbers in row.vectors.items()]
    if rows:
        connection.execute(insert(VECTOR), rows)


def _chunks(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _advice(message: str, wait_s: float) -> str:
    if "full" in message or "disk I/O" in message:
        return f"cannot be written ({message}). Make room; what is written already is safe."
    if "locked" in message or "lock timeout" in message:
        return f"another process has been writing for more than {wait_s:g} s ({message}). Try again later."
    if "readonly" in message or "unable to open" in message or "connect" in message:
        return f"cannot be opened ({message})."
    return f"damaged ({message}). Restore a backup, or run `evoseg library export` on an older copy."
