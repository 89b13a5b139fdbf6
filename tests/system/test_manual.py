"""docs/commands.md says what the commands say."""

from pathlib import Path

import pytest

from evoseg.cli.manual import manual

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"


def test_the_page_of_commands_is_up_to_date(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    made, kept = manual(), PAGE.read_text("utf-8")
    if made.splitlines()[0] != kept.splitlines()[0]:
        pytest.skip("another version of Typer words its help in another way")
    assert made == kept, "run: python -m evoseg.cli.manual > docs/commands.md"
