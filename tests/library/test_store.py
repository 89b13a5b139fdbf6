"""The library on disk. The same tests run on SQLite and, where EVOSEG_TEST_POSTGRES names a server, on PostgreSQL."""

import os
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from evoseg.library.store import APPLICATION, MIGRATIONS, LibraryStore, TaskRow
from evoseg.runs.database import StoreError

ROOT = Path(__file__).resolve().parents[2]
SERVER = os.environ.get("EVOSEG_TEST_POSTGRES")
FIXTURE = Path(__file__).parent / "library-1.db"


def row(name: str, vector: bytes = b"\0\0\x80\x3f") -> TaskRow:
    return TaskRow(id=f"id-{name}", name=name, document=f'{{"name": "{name}"}}', origin="here", vectors={"d": vector})


def reuse(n: int) -> dict[str, object]:
    numbers = {"scale": 1.0, "retrieved": None, "refitted": 0.5, "kept": None}
    return {"id": f"r{n}", "source": "id-a", "target": f"t{n}", "form": "f", **numbers}


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path) -> Iterator[str]:
    """Return the place of a new library."""
    if request.param == "sqlite":
        yield str(tmp_path / "library.db")
        return
    if SERVER is None:
        pytest.skip("EVOSEG_TEST_POSTGRES names no server; `make test-postgres` starts one")
    from sqlalchemy import create_engine

    name = f"evoseg_{uuid.uuid4().hex[:12]}"
    engine = create_engine(SERVER.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"{SERVER.rpartition('/')[0]}/{name}"
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def opened(where) -> Iterator[Callable[[], LibraryStore]]:
    stores: list[LibraryStore] = []

    def open_one() -> LibraryStore:
        stores.append(LibraryStore(where))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def test_what_is_added_is_there_for_others(opened):
    assert opened().add([row("a"), row("b")]) == ["id-a", "id-b"]
    other = opened()
    assert [name for _, name, _, _ in other.names()] == ["a", "b"]
    assert other.documents(["id-b", "id-z"]) == {"id-b": '{"name": "b"}'}
    assert other.count() == (2, 0)


def test_adding_again_changes_nothing(opened):
    store = opened()
    store.add([row("a")])
    before = store.vectors("d")
    assert store.add([row("a"), row("a")]) == []
    assert store.vectors("d") == before and store.count() == (1, 0)


def test_vectors_come_and_go_with_their_tasks(opened):
    store = opened()
    store.add([row("a", b"aaaa"), row("b", b"bbbb")])
    assert [vector for _, vector in store.vectors("d")] == [b"aaaa", b"bbbb"]
    assert store.remove("id-a") and not store.remove("id-a")
    assert [vector for _, vector in store.vectors("d")] == [b"bbbb"]


def test_a_number_is_never_given_twice(opened):
    store = opened()
    store.add([row("a"), row("b")])
    last = store.vectors("d")[-1][0]
    store.remove("id-b")
    store.add([row("c")])
    assert store.vectors("d")[-1][0] > last


def test_the_ledger_takes_each_row_once_and_forgets_removed_tasks(opened):
    store = opened()
    store.add([row("a")])
    assert store.add_transfer_rows([reuse(1), reuse(2)]) == 2
    assert store.add_transfer_rows([reuse(2), reuse(3)]) == 1
    assert [r["target"] for r in store.transfer_rows()] == ["t3", "t2", "t1"]
    assert [r["target"] for r in store.transfer_rows(most=1)] == ["t3"]
    store.remove("id-a")
    assert store.transfer_rows() == []


ADDER = """
import sys
from evoseg.library.store import LibraryStore, TaskRow
store = LibraryStore(sys.argv[1])
for i in range(25):
    store.add([TaskRow(f"{sys.argv[2]}-{i}", "t", "{}", "", {"d": f"{i:04d}".encode()})])
    store.add_transfer_rows([{"id": f"{sys.argv[2]}-{i}", "source": "s", "target": "t", "form": "f", "scale": 1.0,
                   "retrieved": None, "refitted": 0.5, "kept": None}])
"""


def test_two_processes_that_add_at_once_lose_nothing(where):
    # Neither has made the tables yet, so they meet there, too.
    both = [subprocess.Popen([sys.executable, "-c", ADDER, where, name], cwd=ROOT) for name in ("one", "two")]
    assert [process.wait(timeout=240) for process in both] == [0, 0]
    store = LibraryStore(where)
    assert store.count() == (50, 50)
    assert len(store.vectors("d")) == 50
    store.close()


def test_a_later_version_is_refused_and_left_as_it_is(opened, where):
    store = opened()
    with store._writing() as connection:
        connection.execute(text("UPDATE state SET number = 99 WHERE key = 'version'"))
    with pytest.raises(StoreError, match="version 99"):
        opened()


def test_a_library_of_this_version_is_opened(tmp_path):
    """The fixture was written by `python tests/library/make_fixture.py`, once per version, and is never rewritten."""
    shutil.copy(FIXTURE, tmp_path / "library.db")
    store = LibraryStore(tmp_path / "library.db")
    assert len(MIGRATIONS) == 1, "add a fixture of the new version, and keep this one"
    assert [name for _, name, _, _ in store.names()] == ["plates", "wells"]
    assert store.count() == (2, 1) and len(store.vectors("images-1")) == 2
    store.close()


def test_other_files_are_refused(tmp_path):
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE notes (words TEXT)")
    connection.close()
    before = other.read_bytes()
    (tmp_path / "text.db").write_text("not a database at all, and long enough to be taken for one" * 20)
    for path in (other, tmp_path / "text.db"):
        with pytest.raises(StoreError, match=path.name):
            LibraryStore(path)
    assert other.read_bytes() == before


def test_a_new_library_is_marked_as_one(tmp_path):
    LibraryStore(tmp_path / "new" / "library.db").close()
    connection = sqlite3.connect(tmp_path / "new" / "library.db")
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
    connection.close()


def test_a_place_that_cannot_be_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made"):
        LibraryStore(tmp_path / "file" / "library.db")
    with pytest.raises(StoreError, match="postgresql://"):
        LibraryStore("mysql://somewhere/library")


def test_a_password_is_not_shown():
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError) as error:
        LibraryStore("postgresql://me:secret@127.0.0.1:1/library")
    assert "secret" not in str(error.value) and "127.0.0.1" in str(error.value)


def test_readers_do_not_wait_for_a_writer_and_other_writers_do_only_so_long(where):
    writer = LibraryStore(where)
    writer.add([row("a")])
    with writer._writing():
        other = LibraryStore(where, wait_s=0.05)
        assert other.count() == (1, 0)
        with pytest.raises(StoreError, match=r"another process has been writing for more than 0\.05 s"):
            other.add([row("b")])
    assert other.add([row("b")]) == ["id-b"]
    for store in (writer, other):
        store.close()
