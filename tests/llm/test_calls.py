"""Calls of a language model in a run's database."""

from dataclasses import replace

import pytest

from evoseg.llm.calls import ANSWERED, Call, MemoryCallLog, open_calls, read_calls
from evoseg.runs.database import StoreError
from evoseg.runs.run_file import create_run, open_journal
from tests.runs.test_run_file import RUN as RECORD

CALL = Call(1, 1, "generate", "text", [{"role": "user", "text": "é\x00"}], "now", tokens_in=7, tokens_out=3, usd=0.1)


@pytest.fixture
def folder(tmp_path):
    create_run(tmp_path, RECORD)
    return tmp_path


def test_a_run_without_a_model_has_no_calls(folder):
    assert read_calls(folder) == []


def test_a_call_is_there_once_written_and_its_outcome_takes_its_place(folder):
    answered = replace(CALL, state=ANSWERED, reply="{}", seconds=1.5)
    with open_calls(folder) as log:
        log.write(CALL)
        assert read_calls(folder) == [CALL], "another reader sees it while the run goes on"
        log.write(answered)
        log.write(replace(CALL, number=2))
    with open_calls(folder) as log:
        assert log.calls() == read_calls(folder) == [answered, replace(CALL, number=2)]


def test_journal_and_calls_are_written_side_by_side(folder):
    with open_journal(folder, write=True) as journal, open_calls(folder) as log:
        for number in range(1, 6):
            log.write(replace(CALL, number=number))
            journal.flush()
    assert len(read_calls(folder)) == 5
    assert [path.name for path in folder.iterdir()] == ["run.db"]


def test_calls_outside_of_runs_are_kept_in_memory():
    log = MemoryCallLog()
    log.write(CALL)
    log.write(replace(CALL, reply="x"))
    assert log.calls() == [replace(CALL, reply="x")]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(StoreError, match="holds no run"):
        read_calls(tmp_path)
