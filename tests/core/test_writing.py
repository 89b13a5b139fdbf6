"""Files appear whole or not at all."""

import os

import pytest

from evoseg.core.disk import write_atomically


def test_a_file_takes_its_place_when_it_is_complete_with_the_rights_of_any_new_file(tmp_path):
    path, plain = tmp_path / "answer", tmp_path / "plain"
    path.write_bytes(b"old")
    plain.write_bytes(b"")
    with write_atomically(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.stat(path).st_mode == os.stat(plain).st_mode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answer", "plain"]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "answer"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with write_atomically(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["answer"]
