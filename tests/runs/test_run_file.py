"""Runs on disk: what was written comes back to the last bit, and whatever is damaged says so."""

import math
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evoseg.evolve.journal import END, Heading, Sampled, same
from evoseg.evolve.ports import Failed, Pruned, Scored
from evoseg.runs.control import RunLock, is_locked
from evoseg.runs.database import SCHEMA, StoreError
from evoseg.runs.run_file import (
    DATABASE,
    DONE,
    INTERRUPTED,
    RUNNING,
    SEARCH,
    RunRecord,
    answer_row,
    create_run,
    iterate_scored,
    open_journal,
    read_answer,
    read_run,
    read_state,
)
from tests.evolve.helpers import marking

ROOT = Path(__file__).resolve().parents[2]
RUN = RunRecord(
    id="20261120-101500-plates-1f3a",
    dataset="plates",
    dataset_path="/somewhere/plätes",
    dataset_digest="00ff",
    parts={"a's image": "01"},
    splits={"search": ["a"], "selection": [], "test": []},
    settings={"seed": 3, "seconds": None, "start": ["text"]},
    revisions={"threshold": 1},
    versions={"evoseg": "0.1.0"},
    started="2026-11-20T10:15:00+0000",
)


def scored(score: float = 0.5, level: int = 100, n: int = 3) -> Scored:
    return Scored(marking(level), np.full((n, 4), score), np.full(n, score), np.full(n, score / 2))


@pytest.fixture
def folder(tmp_path) -> Path:
    create_run(tmp_path, RUN)
    return tmp_path


def fill(folder: Path, n: int = 6) -> None:
    with open_journal(folder, write=True) as journal:
        for i in range(n):
            answers = [scored(0.1 * i, 100 + i), Pruned(marking(7), 0.01), Failed(marking(8), "no", "trace"), None]
            journal.add(Heading(SEARCH, f"q{i}", 1.5 * (i + 1), killed=i == 2), answers)


PROGRAMS = [marking(1), marking(7), marking(8), marking(9)]


def taken(folder: Path) -> list[tuple[Heading, list[object]]]:
    found = []
    with open_journal(folder) as journal:
        while (heading := journal.peek()) is not None:
            found.append((heading, journal.next_entry(PROGRAMS)))
    return found


def test_what_a_run_was_asked_for_comes_back(folder):
    assert read_run(folder) == RUN
    assert sorted(p.name for p in folder.iterdir()) == [DATABASE]


def test_a_journal_comes_back_in_order(folder):
    fill(folder)
    found = taken(folder)
    assert [heading for heading, _ in found] == [Heading(SEARCH, f"q{i}", 1.5 * (i + 1), i == 2) for i in range(6)]
    assert all(same(answers[0], scored(0.1 * i, 100 + i)) for i, (_, answers) in enumerate(found))
    assert found[0][1][1:] == [Pruned(marking(7), 0.01), Failed(marking(8), "no", "trace"), None]


def test_a_journal_can_be_cut_before_the_entry_that_was_taken_last(folder):
    fill(folder, 4)
    with open_journal(folder, write=True) as journal:
        journal.next_entry(PROGRAMS)
        journal.next_entry(PROGRAMS)
        journal.cut()
        assert journal.peek() is None
        journal.add(Heading(SEARCH, "again", 9.0), [None] * len(PROGRAMS))
    assert [heading.question for heading, _ in taken(folder)] == ["q0", "again"]


def test_later_entries_follow_earlier_ones(folder):
    fill(folder, 2)
    with open_journal(folder, write=True) as journal:
        journal.next_entry(PROGRAMS)
        journal.next_entry(PROGRAMS)
        assert journal.peek() is None
        journal.add(Heading(END, "seconds", 9.0), [])
        assert journal.peek() is None
    with open_journal(folder) as journal:
        for _ in range(2):
            journal.next_entry(PROGRAMS)
        assert journal.peek() == Heading(END, "seconds", 9.0)


numbers = arrays(
    np.float64, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=st.floats(-1e6, 1e6) | st.just(math.nan)
)


@given(statistics=numbers, score=st.floats(), words=st.text(st.characters(exclude_categories=["Cs"])))
def test_every_bit_of_an_answer_comes_back(statistics, score, words):
    program = marking(50)
    line = statistics[:, 0]
    for answer in (
        Scored(program, statistics, line, -line),
        Pruned(program, score),
        Failed(program, words.replace("\0", ""), words),
        Sampled("00ff"),
        statistics,
        None,
    ):
        assert same(read_answer(answer_row(answer), program), answer)


def test_the_state_of_a_run_is_told_without_reading_its_answers(folder):
    assert read_state(folder).state == INTERRUPTED
    assert (read_state(folder).evaluations, read_state(folder).best, read_state(folder).seconds) == (0, None, 0.0)
    fill(folder)
    state = read_state(folder)
    assert (state.evaluations, state.best, state.seconds, state.entries) == (12, 0.5, 9.0, 6)
    with RunLock(folder):
        assert read_state(folder).state == RUNNING
        with open_journal(folder, write=True) as journal:
            journal.finish()
    assert read_state(folder).state == DONE
    assert read_run(folder).finished
    assert [[s.score for s in generation] for generation in iterate_scored(folder)] == [
        [scored(0.1 * i).score] for i in range(6)
    ]


def test_a_score_that_is_no_number_can_be_kept(folder):
    with open_journal(folder, write=True) as journal:
        journal.add(Heading(SEARCH, "q"), [scored(math.nan), Pruned(marking(7), math.nan)])
    with open_journal(folder) as journal:
        assert all(math.isnan(answer.score) for answer in journal.next_entry(PROGRAMS[:2]))
    assert read_state(folder).best is None


def test_a_run_that_is_written_can_be_read_by_others(folder):
    with open_journal(folder, write=True) as journal:
        journal.add(Heading(SEARCH, "q", 1.0), [scored()])
        journal.flush()
        assert read_state(folder).evaluations == 1
        assert len(taken_headings(folder)) == 1


def test_a_run_at_rest_is_one_file_that_can_be_read_where_nothing_may_be_written(folder):
    fill(folder)
    taken(folder)
    assert sorted(p.name for p in folder.iterdir()) == [DATABASE]


def test_a_writer_may_end_while_somebody_reads(folder):
    with open_journal(folder, write=True) as journal:
        journal.add(Heading(SEARCH, "q", 1.0), [scored()])
        reader = sqlite3.connect(folder / DATABASE)
        cursor = reader.execute("SELECT * FROM run")
    assert len(cursor.fetchall()) == 1
    reader.close()
    assert read_state(folder).evaluations == 1


def taken_headings(folder: Path) -> list[Heading | None]:
    with open_journal(folder) as journal:
        return [journal.peek()]


def test_a_lock_is_held_by_one_and_dies_with_its_process(folder):
    program = (
        "import sys; from pathlib import Path; from evoseg.runs.control import RunLock\n"
        "lock = RunLock(Path(sys.argv[1])); lock.write_owner(scratch='there')\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, folder], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        assert is_locked(folder)
        with pytest.raises(StoreError, match=f"process {holder.pid} on .* is using this run"):
            RunLock(folder)
    finally:
        holder.kill()
        holder.communicate()
    assert not is_locked(folder)
    with RunLock(folder) as lock:
        assert lock.previous_owner["scratch"] == "there"
        with pytest.raises(StoreError, match=f"process {os.getpid()}"):
            RunLock(folder)
    with RunLock(folder) as lock:
        assert lock.previous_owner == {}


def test_a_lock_file_that_holds_anything_is_taken_over(folder):
    for text in (b"\xff\x00", b"[1]", b'{"pid": 1}', b"x" * 100_000, b"[" * 60_000):
        (folder / "run.owner").write_bytes(text)
        with RunLock(folder) as lock:
            assert lock.previous_owner == {}


def test_without_a_database_there_is_no_run(tmp_path):
    with pytest.raises(StoreError, match="holds no run"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no database at all", b"SQLite format 3\0" + bytes(50), bytes(5000)])
def test_what_is_no_run_is_one_clear_error(folder, content):
    (folder / DATABASE).write_bytes(content)
    for read in (read_run, read_state, taken):
        with pytest.raises(StoreError, match=r"run\.db: (damaged|cannot be opened)"):
            read(folder)


def test_somebody_elses_database_is_refused(folder):
    (folder / DATABASE).unlink()
    with sqlite3.connect(folder / DATABASE) as other:
        other.execute("CREATE TABLE run (id)")
    other.close()
    with pytest.raises(StoreError, match="not made by evoseg"):
        read_run(folder)


def test_another_form_of_the_database_is_refused(folder):
    with sqlite3.connect(folder / DATABASE) as newer:
        newer.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    newer.close()
    with pytest.raises(
        StoreError, match=f"has format version {SCHEMA + 1}, and this version of evoseg only reads {SCHEMA}"
    ):
        read_run(folder)


@pytest.mark.e2e
@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), cut=st.booleans())
def test_damage_is_noticed_or_harmless(tmp_path_factory, seed, cut):
    folder = tmp_path_factory.mktemp("damaged")
    create_run(folder, RUN)
    fill(folder)
    good = taken(folder)
    rng = random.Random(seed)
    data = bytearray((folder / DATABASE).read_bytes())
    if cut:
        del data[rng.randrange(len(data)) :]
    else:
        for _ in range(3):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    (folder / DATABASE).write_bytes(data)
    try:
        found = taken(folder)
    except StoreError:
        return
    for (_, answers), (_, expected) in zip(found, good, strict=False):
        assert all(same(a, e) for a, e in zip(answers, expected, strict=True))


def test_a_full_disk_is_one_clear_error_and_loses_nothing_that_was_written(folder):
    fill(folder, 3)

    def write() -> None:
        with open_journal(folder, write=True) as journal:
            raw = journal._connection.connection.driver_connection
            raw.execute(f"PRAGMA max_page_count = {raw.execute('PRAGMA page_count').fetchone()[0]}")
            for i in range(200):
                journal.add(Heading(SEARCH, f"more{i}"), [scored(n=50)])
                journal.flush()

    with pytest.raises(StoreError, match="Make room"):
        write()
    with open_journal(folder) as journal:
        for i in range(3):
            assert same(journal.next_entry(PROGRAMS)[0], scored(0.1 * i, 100 + i))
        assert journal.peek().question == "more0"
    fill(folder)  # once there is room again


@pytest.mark.parametrize(
    "change",
    [
        "answer SET numbers = numbers || numbers WHERE place = 0",
        "answer SET numbers = 'text' WHERE place = 0",
        "answer SET words = x'ff' WHERE place = 0",
        "answer SET words = CAST(x'ff' AS TEXT) WHERE place = 0",
        "answer SET words = 'def pipeline(image): pass' WHERE place = 0",
        "answer SET outcome = 'unheard of'",
        "answer SET place = 17 WHERE place = 3",
        "entry SET number = 5",
        "entry SET seconds = 'soon'",
        "run SET settings = '{'",
        "run SET parts = x'00'",
    ],
)
def test_a_table_that_somebody_has_changed_is_one_clear_error(folder, change):
    fill(folder, 1)
    connection = sqlite3.connect(folder / DATABASE)
    connection.execute(f"UPDATE {change}")
    connection.commit()
    connection.close()

    def read() -> None:
        read_run(folder)
        read_state(folder)
        taken(folder)

    with pytest.raises(StoreError, match=r"run\.db: damaged"):
        read()


def test_a_program_is_kept_as_text_that_people_can_read(folder):
    fill(folder, 1)
    connection = sqlite3.connect(folder / DATABASE)
    (words,) = connection.execute("SELECT words FROM answer WHERE outcome = 'scored'").fetchone()
    connection.close()
    assert words.startswith("# evoseg 1: ")
