"""The check-up."""

import json
import sys

import pytest


@pytest.mark.e2e
def test_it_says_what_is_there_and_leaves_nothing_behind(command, home):
    done = command("doctor", "--json")
    assert (done.code, done.err) == (0, "")
    found = {finding["name"]: finding for finding in json.loads(done.out)["findings"]}
    assert found["filters"]["state"] == found["workers"]["state"] == found["runs"]["state"] == "ok"
    assert found["sandbox"]["state"] == "ok" or "cannot run here" in found["sandbox"]["words"]
    assert str(home / "runs") in found["runs"]["words"]
    assert list(home.iterdir()) == []


def test_what_is_broken_or_missing_is_named_and_ends_with_1(command, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    done = command("doctor")
    assert done.code == 1
    assert "broken   workers" in done.out
    assert "not installed; needed for the search among solved tasks" in done.out
    assert "not installed; needed for NIfTI images" in done.out
