"""Names with control characters, or with bytes that are not UTF-8, are shown escaped, and everything works."""

import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

pytestmark = pytest.mark.e2e

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")

NAMES = (b"a\xff", b"b\x1b[31mred", b"c\nerror: disk full", "d\u202egnp".encode(), b"e\x07\xc2\x9b31m", b"f\tx")
STEMS = ("a\\xff", "b\\x1b[31mred", "c\\nerror: disk full", "d\\u202egnp", "e\\x07\\u009b31m", "f\\tx")
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a dataset in which all names, and its title, hold what a terminal would act on."""
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9\x1b[2J"))
    rng = default_rng(4)
    for number, name in enumerate(NAMES):
        mask = np.zeros((40, 52), np.uint8)
        mask[8 : 20 + number, 9:30] = 255
        image = rng.integers(0, 90, mask.shape, np.uint8) + (mask > 0) * np.uint8(100)
        for place, array in (("images", image), ("masks", mask)):
            (root / place).mkdir(parents=True, exist_ok=True)
            whole = io.BytesIO()
            Image.fromarray(array).save(whole, "PNG")
            (root / place / f"{os.fsdecode(name)}.png").write_bytes(whole.getvalue())
    (root / "dataset.yaml").write_text('title: "plates \\e[31m\\nerror: fake \\u202e"\n')
    return root


@pytest.fixture(autouse=True)
def strange_home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EVOSEG_HOME", os.fsdecode(os.fsencode(tmp_path) + b"/home\xfe"))


def harmless(done, code: int = 0) -> str:
    """Return what a command has printed, after making sure that it acts on no terminal and fakes no message."""
    printed = done.out + done.err
    assert done.code == code, printed
    assert not ACTING.search(printed), printed
    assert not any(line.startswith(("error: disk", "error: fake")) for line in printed.splitlines()), printed
    return printed


@pytest.mark.e2e
def test_such_names_work_from_check_to_report(folder, tmp_path, command: Callable):
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/out\xe8"))
    assert "d\\xe9\\x1b[2J: plates \\x1b[31m\\nerror: fake \\u202e" in harmless(command("check", folder))
    assert list(json.loads(command("check", folder, "--json").out)["card"]["digests"]) == list(STEMS)
    harmless(command("describe", folder))
    assert json.loads(command("describe", folder, "--json").out)["card"]["images"] == 4
    done = command("search", folder, "--evaluations", 20, "--workers", 0, "--out", out, "--library", "default")
    assert "d\\xe9\\x1b[2J" in harmless(done)
    result = json.loads((out / "result.json").read_text())
    assert {*result["test_per_image"]} < {*STEMS}
    assert "d\\xe9" in (out / "report.html").read_text("utf-8")
    harmless(command("runs", "list"))
    harmless(command("runs", "show", out))
    harmless(command("runs", "replay", out))
    harmless(command("library", "list"))
    harmless(command("similar", folder))
    assert all(stem in harmless(command("score", out, folder, "--split", "all")) for stem in STEMS)
    table = tmp_path / "t.csv"
    harmless(command("apply", out, folder, "--out", tmp_path / "applied", "--table", table))
    assert sorted(path.stem for path in (tmp_path / "applied" / "masks").iterdir()) == list(STEMS)
    assert "a\\xff" in table.read_text("utf-8")


def test_what_is_wrong_with_such_files_is_said_on_one_line(folder, command: Callable):
    for path in (folder / "masks").iterdir():
        path.write_bytes(b"")
    (folder / "images" / "more\nerror: fake.txt").touch()
    printed = harmless(command("check", folder), code=1)
    assert "masks/b\\x1b[31mred.png, masks/c\\nerror: disk full.png" in printed and "more\\nerror: fake.txt" in printed
    printed = harmless(command("search", folder), code=1)
    assert "error: " in printed and "the file is empty" in printed
    printed = harmless(command("check", folder / "no\nerror: fake"), code=1)
    assert "no\n  error: fake" in printed
