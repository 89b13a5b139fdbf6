"""SQLite files that somebody else may have made: as a library, and as the database of a run."""

import os
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from evoseg.core.errors import EvosegError
from evoseg.library.collection import Library
from evoseg.library.descriptors import IMAGES, MASKS
from evoseg.library.store import APPLICATION, LibraryStore
from evoseg.runs.database import StoreError
from evoseg.runs.run_file import DATABASE, create_run, read_run, read_state
from tests.library.helpers import task
from tests.library.test_store import FIXTURE, row
from tests.runs.test_run_file import RUN

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"


@pytest.mark.parametrize(
    "name",
    ["a?b.db", "a#b.db", "a%20b.db", "file:x.db", "ä ö.db", os.fsdecode(b"\xff.db"), "a?mode=ro.db"],
)
def test_a_path_is_a_path_whatever_is_in_it(tmp_path, name):
    store = LibraryStore(tmp_path / name)
    store.add([row("a")])
    store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    store = LibraryStore(tmp_path / name)
    assert store.count() == (1, 0)
    store.close()


def test_a_name_that_means_something_to_sqlite_is_a_file_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    LibraryStore(":memory:").close()
    assert (tmp_path / ":memory:").is_file()


TAMPERED = {
    "an endless view": f"DROP TABLE task; CREATE VIEW task AS {ENDLESS} i AS number, 'x' AS id FROM n",
    "an endless version": f"DROP TABLE state; CREATE VIEW state AS {ENDLESS} 'x' AS key, i AS number FROM n",
    "another view": f"CREATE VIEW other AS {ENDLESS} i FROM n",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON task BEGIN DELETE FROM reuse; END",
    "a virtual table": "DROP TABLE reuse; CREATE VIRTUAL TABLE reuse USING fts5(source)",
    "a generated column": "ALTER TABLE task ADD COLUMN more AS (hex(zeroblob(1000)))",
    "a missing column": "DROP TABLE reuse; CREATE TABLE reuse (number INTEGER PRIMARY KEY)",
    "an index over an expression": "CREATE INDEX strange ON task(hex(zeroblob(1000)))",
    "a table of another form": "DROP TABLE vector; CREATE TABLE vector (descriptor, task)",
    "no table": "DROP TABLE task",
    "a number for a text": "UPDATE task SET document = 7",
    "bytes for a text": "UPDATE task SET name = x'00ff'",
    "no JSON": "UPDATE task SET document = '{'",
    "deep JSON": f"UPDATE task SET document = '{'[' * 100_000}'",
    "a number that has no end": f"UPDATE task SET document = '{'9' * 100_000}'",
    "text for a number": "UPDATE reuse SET scale = 'wide'",
    "infinity": "UPDATE reuse SET refitted = 9e999",
    "text for a vector": "UPDATE vector SET numbers = 'none'",
    "a later version": "UPDATE state SET number = 99 WHERE key = 'version'",
}


def used(path, tmp_path) -> None:
    """Do with a library what commands do."""
    with Library(path) as library:
        library.list_tasks()
        library.own()
        library.transfer_results()
        for descriptor in IMAGES, MASKS:
            library.most_alike({descriptor.id: np.ones(descriptor.dim, np.float32)})
    with Library(tmp_path / "mine.db") as mine, Library(path) as theirs:
        mine.merge(theirs)


@pytest.mark.parametrize("how", list(TAMPERED))
def test_a_library_that_was_tampered_with_is_one_clear_error(tmp_path, how):
    path = tmp_path / "theirs.db"
    with Library(path) as library:
        library.add([task()])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO reuse VALUES (1, 'i', 's', 't', 'f', 1.0, NULL, 0.5, NULL)")
        connection.executescript(TAMPERED[how])
        connection.commit()
    with pytest.raises(StoreError, match=r"theirs\.db"):
        used(path, tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION,)


def test_a_table_whose_pages_lead_to_each_other_is_not_merged(tmp_path):
    """A page that is its own child gives a table without end."""
    path = tmp_path / "theirs.db"
    store = LibraryStore(path)
    store.add([row(f"t{i}", bytes(3000)) for i in range(60)])
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'vector'").fetchone()[0]
    data = bytearray(path.read_bytes())
    at = (root - 1) * size
    assert data[at] == 5, "an interior page of a table"
    data[at + 8 : at + 12] = int(root).to_bytes(4, "big")
    path.write_bytes(data)
    with Library(tmp_path / "mine.db") as mine, Library(path) as theirs, pytest.raises(StoreError, match="damaged"):
        mine.merge(theirs)


@pytest.mark.e2e
def test_a_library_with_flipped_bits_works_or_is_one_clear_error(tmp_path):
    rng = np.random.default_rng(20261128)
    whole = FIXTURE.read_bytes()
    n_refused = 0
    for number in range(60):
        data = bytearray(whole)
        for _ in range(1 + number % 3):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "theirs.db").write_bytes(data)
        try:
            used(folder / "theirs.db", folder)
        except EvosegError:
            n_refused += 1
        shutil.rmtree(folder)
    assert n_refused > 0


@pytest.mark.parametrize("table", ["run", "entry"])
def test_a_run_whose_tables_are_views_is_refused(tmp_path, table):

    create_run(tmp_path, RUN)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        connection.executescript(f"DROP TABLE {table}; CREATE VIEW {table} AS {ENDLESS} i AS number, i AS id FROM n")
    for read in (read_run, read_state):
        with pytest.raises(StoreError, match="not made by evoseg"):
            read(tmp_path)


def test_a_schema_that_is_no_text_is_one_clear_error(tmp_path):
    create_run(tmp_path, RUN)
    path = tmp_path / DATABASE
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE entry", b"CREATE TABL\x81 entry"))
    with pytest.raises(StoreError, match="damaged"):
        read_run(tmp_path)
