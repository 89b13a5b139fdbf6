"""The check-up."""

import json

from evoseg.app import checkup
from evoseg.base.errors import EvosegError


def test_it_says_what_is_there_and_leaves_nothing_behind(command, home):
    done = command("doctor", "--json")
    assert (done.code, done.err) == (0, "")
    found = {finding["name"]: finding for finding in json.loads(done.out)["findings"]}
    assert found["filters"]["state"] == found["workers"]["state"] == found["runs"]["state"] == "ok"
    assert str(home / "runs") in found["runs"]["words"]
    assert list(home.iterdir()) == []


def test_what_is_broken_is_said_and_ends_with_1(command, monkeypatch):
    def broken() -> str:
        raise EvosegError("no process can be started")

    monkeypatch.setattr(checkup, "_worker", broken)
    monkeypatch.setattr(checkup, "_OPTIONAL", {"nowhere_to_be_found": ("nowhere", "magic")})
    done = command("doctor")
    assert done.code == 1
    assert "broken   workers" in done.out
    assert "not installed: magic" in done.out
