import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoseg.core.errors import DatasetError
from evoseg.core.untrusted import MAX_YAML_NODES, YamlError, open_file, read_file, read_yaml, within
from tests.bounded import bounded

yaml = pytest.importorskip("yaml")


def test_a_file_is_read_as_it_is(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"\0" * 10)
    assert read_file(path, 10) == b"\0" * 10
    with pytest.raises(DatasetError, match="10 bytes; at most 9 bytes are read"):
        read_file(path, 9)
    (tmp_path / "empty").touch()
    assert read_file(tmp_path / "empty", 5) == b""


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device"])
def test_only_a_regular_file_is_opened(tmp_path, kind):
    path = tmp_path / "thing"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        listener = socket.socket(socket.AF_UNIX)
        here = os.getcwd()
        os.chdir(tmp_path)  # the name of a socket is short
        try:
            listener.bind("thing")
        finally:
            os.chdir(here)
            listener.close()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(DatasetError, match=f"not a file but a (named )?{kind}"):
        open_file(path)


def test_a_link_out_of_the_folder_is_refused_and_one_within_it_is_not(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    (folder / "plain").write_text("plain")
    (folder / "inner").symlink_to("plain")
    (folder / "outer").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to("loop")
    assert read_file(folder / "inner", 10, inside=folder) == b"plain"
    assert read_file(folder / "outer", 10) == b"secret"
    with pytest.raises(DatasetError, match="link out of the folder"):
        read_file(folder / "outer", 10, inside=folder)
    assert within(folder / "loop", folder)
    with pytest.raises(OSError, match="Too many levels"):
        read_file(folder / "loop", 10, inside=folder)


def test_plain_values_are_those_of_yaml():
    text = "a: [1, 0x10, 1.5, yes, ~, '1', 2020-01-01]\nb:\n  c: |\n    two\n    lines\n011: x\n"
    assert read_yaml(text) == {
        "a": [1, 16, 1.5, True, None, "1", "2020-01-01"],
        "b": {"c": "two\nlines\n"},
        9: "x",
    }
    assert read_yaml("") is None
    assert read_yaml("9" * 5000) == "9" * 5000, "too long to mean a number"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(value=VALUES)
def test_whatever_is_dumped_comes_back(value):
    assert read_yaml(yaml.safe_dump(value)) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: {", "line 3 is not YAML"),
        ("a: &x [1]\nb: *x", r"line 2 holds a YAML alias \(\*x\)"),
        ("a: !!python/name:os.system x", "line 1 holds the YAML tag python"),
        ("a: 1\n--- 2", "line 2 begins a second document"),
        ("a: 1\na: 2", "line 2 gives a a second time"),
        ("? [1]\n: 2", "line 1 has a list or mapping for a key"),
        ("a: " + "9" * 150, "line 1 holds a number of 150 characters"),
        ("a: 99999999999999999999", "too large"),
        ("a: !!int x", "which is no int"),
        ("a: " + "x" * 200_000, "value of 200000 characters"),
        ("- " * 30, "nested"),
        ("[" * 30, "nested"),
        ("\0", "line 1 is not YAML"),
    ],
)
def test_what_is_not_read_is_refused_with_its_line(text, says):
    with pytest.raises(YamlError, match=says):
        read_yaml(text)


SHAPES = {
    "nested blocks": '"- " * 2_000_000',
    "nested flows": '"[" * 4_000_000',
    "flows side by side": '"[" + "[]," * 1_300_000 + "]"',
    "nested keys": '"{a: " * 1_000_000',
    "question marks": '"? " * 2_000_000',
    "values": f'"- a\\n" * {MAX_YAML_NODES * 2}',
    "anchors": '"&a " * 1_000_000',
    "a laugh": '"a: &a [x]\\n" + "".join(f"b{i}: &b{i} [*a, *a]\\n" for i in range(50_000))',
    "one long value": '"a: " + "x" * 4_000_000',
    "quotes": '"a: \'" + "\'\'" * 2_000_000',
    "comments": '"#\\n" * 2_000_000 + "["',
    "spaces": '"a:" + " " * 4_000_000 + "["',
    "colons": '"a:" * 2_000_000',
    "digits": '"a: " + "1_" * 2_000_000',
    "sixties": '"a: 1" + ":59" * 1_300_000',
}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_no_text_of_four_megabytes_costs_more_than_seconds_of_cpu_time_or_crashes(shape):
    code = f"""
from evoseg.core.untrusted import YamlError, read_yaml
try:
    read_yaml({SHAPES[shape]})
except YamlError:
    pass
"""
    done = bounded([], code, cpu_s=20, memory=2 << 30)
    assert done.returncode == 0, done.stderr[-500:]
