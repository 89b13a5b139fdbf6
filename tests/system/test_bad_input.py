"""Bad input: one clear error, the right exit code, no traceback, nothing written over."""

import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image


def missing_folder(data: Path) -> None:
    shutil.rmtree(data)


def no_masks(data: Path) -> None:
    shutil.rmtree(data / "masks")


def unpaired_stems(data: Path) -> None:
    (data / "masks" / "nuclei_002.png").rename(data / "masks" / "nuclei_two.png")


def mask_of_another_size(data: Path) -> None:
    Image.new("L", (84, 61)).save(data / "masks" / "nuclei_002.png")


def all_masks_empty(data: Path) -> None:
    for mask in (data / "masks").iterdir():
        Image.new("L", (84, 60)).save(mask)


def truncated_png(data: Path) -> None:
    image = data / "images" / "nuclei_002.png"
    image.write_bytes(image.read_bytes()[:700])


def decompression_bomb(data: Path) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6)))
    (data / "images" / "nuclei_002.png").write_bytes(bomb + chunk(b"IEND", b""))


def infinite_tiff(data: Path) -> None:
    image = np.zeros((60, 84), np.float32)
    image[3, 4] = np.inf
    (data / "images" / "nuclei_002.png").unlink()
    tifffile.imwrite(data / "images" / "nuclei_002.tif", image)


FAULTS: dict[Callable[[Path], None], tuple[str, str]] = {
    missing_folder: ("", "no such folder"),
    no_masks: ("", "there is no masks/ folder"),
    unpaired_stems: ("nuclei_two.png", "without an image"),
    mask_of_another_size: ("nuclei_002.png", "must match its image"),
    all_masks_empty: ("", "masks are empty"),
    truncated_png: ("nuclei_002.png", ""),
    decompression_bomb: ("nuclei_002.png", "pixels"),
    infinite_tiff: ("nuclei_002.tif", "infinite"),
}


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_a_spoiled_dataset_is_one_error(command, dataset, tmp_path, spoil):
    data = tmp_path / "data"
    shutil.copytree(dataset, data)
    spoil(data)
    before = sorted(tmp_path.rglob("*"))
    done = command("search", data, "--evaluations", "5", "--workers", "0", "--out", tmp_path / "out")
    assert (done.code, done.out) == (1, "")
    assert done.err.count("error: ") == 1
    assert "Traceback" not in done.err
    where, says = FAULTS[spoil]
    assert f"{data}" in done.err
    assert where in done.err
    assert says in done.err
    assert sorted(tmp_path.rglob("*")) == before
    check = command("check", data)
    assert check.code == 1
    assert says in check.out + check.err


PIPELINES = {
    "unknown_operator": ("def pipeline(image):\n    return treshold(channel(image))\n", "did you mean threshold"),
    "unknown_parameter": ("def pipeline(image):\n    return threshold(channel(image), levle=3)\n", "levle"),
    "wrong_kind": (
        "def pipeline(image):\n    return channel(threshold(channel(image)))\n",
        "channel takes a raw value",
    ),
    "a_megabyte": ("# " + "x" * 2**20, "at most 65536 bytes are read"),
    "code": ("import os\n", "line 1"),
    "nothing": ("", "no 'def pipeline(image):'"),
    "broken_json": ('{"evoseg": 1, "steps": [', "not a pipeline in JSON"),
    "no_text": (b"\xff\xfe\x00binary", "not a text in UTF-8"),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_spoiled_pipeline_is_one_error_that_names_the_file(command, dataset, tmp_path, name):
    text, says = PIPELINES[name]
    file = tmp_path / "p.evo"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    for arguments in (
        ["show", file],
        ["apply", file, dataset / "images", "--out", tmp_path / "out"],
        ["score", file, dataset],
        ["export", file, "--to", "python", "--out", tmp_path / "p.py"],
        ["search", dataset, "--warm-start", file, "--out", tmp_path / "out"],
    ):
        done = command(*arguments)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"error: {file}: ")
        assert says in done.err
        assert len(done.err.splitlines()) == 1
        assert [p.name for p in tmp_path.iterdir()] == ["p.evo"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seconds", "0"], "seconds is 0"),
        (["--evaluations", "0"], "evaluations is 0"),
        (["--metric", "iuo"], "unknown metric 'iuo'; did you mean iou"),
        (["--workers", "-1"], "workers is -1"),
        (["--task", "point"], "did you mean points"),
        (["--task", "points"], "needs a file in points/ for every labelled image"),
    ],
)
def test_a_setting_that_cannot_be_is_misuse(command, dataset, tmp_path, arguments, says):
    done = command("search", dataset, *arguments, "--out", tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_to_is_one_error(command, dataset, tmp_path):
    (tmp_path / "file").write_text("mine")
    done = command("search", dataset, "--evaluations", "5", "--workers", "0", "--out", tmp_path / "file" / "out")
    assert done.code == 1
    assert "the folder cannot be created" in done.err
    assert (tmp_path / "file").read_text() == "mine"
