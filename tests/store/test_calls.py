"""Calls of a language model in a run's database."""

from dataclasses import replace

import pytest

from evoseg.store.calls import ANSWERED, Call, LooseLedger, calls_of, open_calls
from evoseg.store.database import StoreError
from evoseg.store.runs import create_run, open_journal
from tests.store.test_runs import RUN as RECORD

CALL = Call(1, 1, "generate", "text", [{"role": "user", "text": "é\x00"}], "now", tokens_in=7, tokens_out=3, usd=0.1)


@pytest.fixture
def folder(tmp_path):
    create_run(tmp_path, RECORD)
    return tmp_path


def test_a_run_without_a_model_has_no_calls(folder):
    assert calls_of(folder) == []


def test_a_call_is_there_once_written_and_its_outcome_takes_its_place(folder):
    answered = replace(CALL, state=ANSWERED, reply="{}", seconds=1.5)
    with open_calls(folder) as ledger:
        ledger.write(CALL)
        assert calls_of(folder) == [CALL], "another reader sees it while the run goes on"
        ledger.write(answered)
        ledger.write(replace(CALL, number=2))
    with open_calls(folder) as ledger:
        assert ledger.calls() == calls_of(folder) == [answered, replace(CALL, number=2)]


def test_journal_and_calls_are_written_side_by_side(folder):
    with open_journal(folder, write=True) as journal, open_calls(folder) as ledger:
        for number in range(1, 6):
            ledger.write(replace(CALL, number=number))
            journal.flush()
    assert len(calls_of(folder)) == 5
    assert [path.name for path in folder.iterdir()] == ["run.db"]


def test_calls_outside_of_runs_are_kept_in_memory():
    ledger = LooseLedger()
    ledger.write(CALL)
    ledger.write(replace(CALL, reply="x"))
    assert ledger.calls() == [replace(CALL, reply="x")]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(StoreError, match="holds no run"):
        calls_of(tmp_path)
