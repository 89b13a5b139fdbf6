"""Feed damaged files of every format to evoseg's commands, and keep those that are not refused with an error of ours.

    python experiments/fuzz.py --inputs 5000
    python experiments/fuzz.py --format pipeline --inputs 2000 --seed 7

Small valid files of every format that evoseg reads are mutated (bits and bytes changed, stretches cut out, doubled,
copied from elsewhere or from other files, numbers and words replaced by extreme ones) and go through the commands that
people use: check, show, apply, score, library add, list, merge and show, runs show. The process that has imported
everything forks a child for each input; the child may use so much CPU time, memory and time by the wall. Mutant number
n of a seed is the same wherever it runs. What may happen is success or one message and exit code 1 or 2; a crash, a
hang, or an exception that is not evoseg's own is a finding, and its input is kept under `--keep`.

Prints a table of the formats, and the findings; exit code 1 if there are any.
"""

import argparse
import io
import json
import os
import re
import resource
import shutil
import signal
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import tifffile
from numpy.random import Generator
from PIL import Image

# Imported for the forked processes.
from evoseg.cli.main import run
from evoseg.core.streams import stream
from evoseg.library.collection import Library, bundled_tasks
from evoseg.library.task_files import print_task
from evoseg.pipeline import print_text, write_json
from evoseg.runs.run_file import RunRecord, create_run

CPU_S = 30
MEMORY = 4 << 30
WALL_S = 240
"""For children that wait for something; a busy machine may take long for 30 s of CPU time."""
SHAPE = (23, 31)
FINE, REFUSED = (0,), (1, 2, 3)

PIPELINE = """def pipeline(image):
    plane_1 = plane(image, channel="G")
    gaussian_1 = gaussian(plane_1, sigma=1.5)
    return threshold(gaussian_1, level=90)
"""


@dataclass(frozen=True)
class Format:
    """One kind of input.

    Attributes
    ----------
    name : str
    seeds : callable () -> sequence of bytes
        Valid files.
    place : str
        Name of the mutated file in the folder of a case.
    commands : sequence of sequences of str
        What is run there, one after the other.
    prepare : callable (Path) -> None
        Puts the rest of the case into its folder.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    place: str
    commands: Sequence[Sequence[str]]
    prepare: Callable[[Path], None]


def image(seed: int = 0, channels: int = 3) -> np.ndarray:
    """Return a small image with a bright square."""
    pixels = stream(seed, "image").integers(0, 90, (*SHAPE, channels), np.uint8)
    pixels[5:15, 8:20] += 120
    return pixels if channels > 1 else pixels[..., 0]


def mask() -> np.ndarray:
    """Return the square."""
    square = np.zeros(SHAPE, np.uint8)
    square[5:15, 8:20] = 255
    return square


def pillow(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    """Return pixels as a file of Pillow's."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    """Return pixels as a TIFF file."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def pngs() -> list[bytes]:
    """Return PNG files of several kinds."""
    deep = image(channels=1).astype(np.uint16) * 256
    palette = io.BytesIO()
    Image.fromarray(image()).quantize(16).save(palette, "PNG")
    return [pillow(image(), "PNG"), pillow(image(channels=1), "PNG"), pillow(deep, "PNG"), palette.getvalue()]


def tiffs() -> list[bytes]:
    """Return TIFF files of several kinds."""
    rgb: dict[str, object] = {"photometric": "rgb"}
    packed = [{"compression": c} for c in ("zlib", "lzw", "packbits", "zstd", "webp", "jpeg", "jpeg2000", "lzma")]
    forms = [{}, {"bigtiff": True}, {"byteorder": ">"}, {"tile": (16, 16)}, {"rowsperstrip": 4}, *packed]
    stack = np.stack([image(i, 1) for i in range(3)])
    palette = tiff(image(channels=1), photometric="palette", colormap=np.arange(768, dtype=np.uint16).reshape(3, 256))
    return [*(tiff(image(), **rgb, **form) for form in forms), tiff(stack, imagej=True), palette]


def ome() -> list[bytes]:
    """Return OME-TIFF files: colours, channels, a stack."""
    several = np.stack([image(i, 1) for i in range(3)])
    return [
        tiff(image(), ome=True, photometric="rgb"),
        tiff(several, ome=True, metadata={"axes": "CYX", "Channel": {"Name": ["a", "b", "c"]}}),
        tiff(several, ome=True, metadata={"axes": "ZYX"}, compression="zlib"),
    ]


CARD = b"""title: Plates
modality: light microscopy
task: binary
radius: 3 px
pixel_size: 0.5 um
classes: {1: cell, 2: nucleus}
groups: {one: [a], two: [b, c]}
splits:
  train: [a]
  test: [b, c]
"""
COCO = {
    "images": [{"id": i, "file_name": f"{s}.png", "width": SHAPE[1], "height": SHAPE[0]} for i, s in enumerate("abc")],
    "annotations": [
        {"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "segmentation": [[8, 5, 20, 5, 20, 15, 8, 15]]}
        for i in range(3)
    ],
    "categories": [{"id": 1, "name": "cell"}],
}
NNUNET = {"channel_names": {"0": "R"}, "labels": {"background": 0, "cell": 1}, "numTraining": 3, "file_ending": ".png"}
MANIFEST = b"image,mask,split,group\nimages/a.png,masks/a.png,train,one\nimages/b.png,masks/b.png,test,two\n"


def npys() -> list[bytes]:
    """Return masks as NumPy files."""
    files = []
    for dtype in (np.uint8, np.int32, np.uint16):
        file = io.BytesIO()
        np.save(file, (mask() > 0).astype(dtype))
        files.append(file.getvalue())
    return files


def libraries() -> list[bytes]:
    """Return a library of two tasks."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "library.db"
        with Library(path) as library:
            library.add([_own(task) for task in bundled_tasks()[:2]])
        return [path.read_bytes()]


def _own(task: object) -> object:
    """Return a bundled task under another name, so that it counts as one's own."""

    return replace(task, hashes=("0" * len(task.hashes[0]),))  # type: ignore[attr-defined,type-var]


def run_databases() -> list[bytes]:
    """Return the database of a run that has just begun."""
    record = RunRecord(
        id="20260101-000000-plates-0000",
        dataset="plates",
        dataset_path=None,
        dataset_digest="00",
        parts={"a image": "00"},
        splits={"search": ["a"], "selection": [], "test": ["b"]},
        settings={"seed": 0, "seconds": 1.0},
        revisions={"threshold": 1},
        versions={"evoseg": "0"},
        started="2026-01-01T00:00:00+0000",
    )
    with TemporaryDirectory() as folder:
        create_run(Path(folder), record)
        return [(Path(folder) / "run.db").read_bytes()]


def pipelines() -> list[bytes]:
    """Return pipelines as text: a small one, and those of bundled tasks."""
    return [PIPELINE.encode(), *(print_text(task.best.pipeline).encode() for task in bundled_tasks()[:6])]


def plain_folder(root: Path, images: Sequence[str] = "abc", masks: Sequence[str] = "abc") -> None:
    """Write images/ and masks/."""
    for name, stems, content in (("images", images, image()), ("masks", masks, mask())):
        (root / name).mkdir(parents=True, exist_ok=True)
        for stem in stems:
            (root / name / f"{stem}.png").write_bytes(pillow(content, "PNG"))
    (root / "p.evo").write_text(PIPELINE)


def _without_a(root: Path) -> None:
    plain_folder(root, "bc", "abc")


def _points(root: Path) -> None:
    plain_folder(root, "abc", "")
    shutil.rmtree(root / "masks")
    (root / "points").mkdir()
    for stem in "bc":
        (root / "points" / f"{stem}.csv").write_text("row,col\n5,6\n")


def _coco(root: Path) -> None:
    plain_folder(root, "abc", "")
    shutil.rmtree(root / "masks")


def _nnunet(root: Path) -> None:
    for end, name in (("", "labelsTr"), ("_0000", "imagesTr")):
        (root / name).mkdir()
        for stem in "abc":
            content = mask() // 255 if not end else image(channels=1)
            (root / name / f"{stem}{end}.png").write_bytes(pillow(content, "PNG"))


def _cellpose(root: Path) -> None:
    for stem in "abc":
        (root / f"{stem}.png").write_bytes(pillow(image(), "PNG"))


def _nothing(root: Path) -> None:
    (root / "p.evo").write_text(PIPELINE)


CHECK = ("check", ".")
APPLY = ("apply", "p.evo", "images", "--out", "answers")
FORMATS = (
    Format("PNG", pngs, "images/a.png", (CHECK, APPLY), _without_a),
    Format(
        "PNG mask",
        lambda: [pillow(mask(), "PNG"), *pngs()[1:3]],
        "masks/a.png",
        (CHECK, ("score", "p.evo", ".", "--split", "all")),
        plain_folder,
    ),
    Format(
        "JPEG",
        lambda: [pillow(image(), "JPEG"), pillow(image(channels=1), "JPEG")],
        "images/a.jpg",
        (CHECK, APPLY),
        _without_a,
    ),
    Format(
        "BMP",
        lambda: [pillow(image(), "BMP"), pillow(image(channels=1), "BMP")],
        "images/a.bmp",
        (CHECK, APPLY),
        _without_a,
    ),
    Format("TIFF", tiffs, "images/a.tif", (CHECK, APPLY), _without_a),
    Format("OME-TIFF", ome, "images/a.ome.tif", (CHECK,), _without_a),
    Format("points CSV", lambda: [b"row,col\n5,6\n10.5,12\n", b"y;x\n3;4\n"], "points/a.csv", (CHECK,), _points),
    Format("manifest", lambda: [MANIFEST], "manifest.csv", (CHECK,), plain_folder),
    Format("COCO", lambda: [json.dumps(COCO).encode()], "annotations.json", (CHECK,), _coco),
    Format("npy", npys, "a_seg.npy", (CHECK,), _cellpose),
    Format("nnU-Net", lambda: [json.dumps(NNUNET).encode()], "dataset.json", (CHECK,), _nnunet),
    Format("dataset.yaml", lambda: [CARD, CARD[:120]], "dataset.yaml", (CHECK, APPLY), plain_folder),
    Format(
        "task YAML",
        lambda: [print_task(t).encode() for t in bundled_tasks()[:4]],
        "t.yaml",
        (("library", "add", "t.yaml", "--library", "own.db"),),
        _nothing,
    ),
    Format(
        "pipeline",
        pipelines,
        "q.evo",
        (("show", "q.evo"), ("export", "q.evo", "--to", "python", "--out", "q.py")),
        _nothing,
    ),
    Format(
        "pipeline JSON",
        lambda: [write_json(t.best.pipeline).encode() for t in bundled_tasks()[:6]],
        "q.json",
        (("show", "q.json"),),
        _nothing,
    ),
    Format(
        "library",
        libraries,
        "theirs.db",
        (
            ("library", "merge", "theirs.db", "--library", "own.db"),
            ("library", "list", "--library", "theirs.db"),
            ("library", "rebuild", "--library", "theirs.db"),
        ),
        _nothing,
    ),
    Format(
        "run",
        run_databases,
        "run/run.db",
        (("runs", "show", "run"), ("runs", "list"), ("runs", "resume", "run")),
        lambda root: (root / "run").mkdir(),
    ),
)

EXTREMES = (
    b"0",
    b"-1",
    b"9" * 30,
    b"1e999",
    b"nan",
    b"1e308",
    b"null",
    b"true",
    b"\xff\xfe",
    b"\0",
    b"../../etc/passwd",
    b"[" * 60,
)


def mutated(data: bytes, others: Sequence[bytes], rng: Generator) -> bytes:
    """Return a file with a few changes, most often one or two."""
    result = bytearray(data)
    for _ in range(int(rng.geometric(0.5))):
        if not result:
            break
        at, length = int(rng.integers(len(result))), int(rng.integers(1, 1 + min(64, len(result))))
        # Headers are where formats are decided.
        at = min(at, int(rng.integers(1, 400))) if rng.random() < 0.5 else at
        # Cutting off is the easiest to notice.
        how = int(rng.choice(9, p=[0.2, 0.1, 0.2, 0.08, 0.08, 0.1, 0.1, 0.11, 0.03]))
        if how == 0:
            result[at] ^= 1 << int(rng.integers(8))
        elif how == 1:
            result[at] = int(rng.choice([0, 1, 127, 128, 255]))
        elif how == 2:
            form, top = [("<H", 16), (">H", 16), ("<I", 32), (">I", 32), ("<Q", 64)][int(rng.integers(5))]
            value = [0, 1, 2**top - 1, 2 ** (top - 1), len(data)][int(rng.integers(5))]
            result[at : at + top // 8] = struct.pack(form, value % 2**top)
        elif how == 3:
            del result[at : at + length]
        elif how == 4:
            result[at:at] = result[at : at + length] * int(rng.integers(1, 40))
        elif how == 5:
            result[at:at] = EXTREMES[int(rng.integers(len(EXTREMES)))]
        elif how == 6:
            other = others[int(rng.integers(len(others)))]
            start = int(rng.integers(len(other)))
            result[at : at + length] = other[start : start + length]
        elif how == 7:
            _replace_word(result, rng)
        else:
            del result[at:]
    return bytes(result)


def _replace_word(result: bytearray, rng: Generator) -> None:
    """Put an extreme in place of a number of a text."""

    numbers = [match.span() for match in re.finditer(rb"\d+(\.\d+)?", bytes(result[: 1 << 16]))]
    if numbers:
        first, last = numbers[int(rng.integers(len(numbers)))]
        result[first:last] = EXTREMES[int(rng.integers(len(EXTREMES)))]


def with_checksums(data: bytes) -> bytes:
    """Return a PNG file with checksums that fit, so that more than these are tried; another file as it is."""
    result, at = bytearray(data), 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        result[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(result)


def case(form: Format, seeds: Sequence[bytes], seed: int, number: int) -> bytes:
    """Return mutant `number` of a format."""
    rng = stream(seed, "fuzz", form.name, number)
    found = mutated(seeds[int(rng.integers(len(seeds)))], seeds, rng)
    return with_checksums(found) if number % 2 else found


def warm_up(form: Format, folder: Path) -> None:
    """Run a format's commands here, on a valid file: what they import need not be imported by every child."""
    folder.mkdir()
    form.prepare(folder)
    (folder / form.place).parent.mkdir(parents=True, exist_ok=True)
    (folder / form.place).write_bytes(form.seeds()[0])
    here, before = Path.cwd(), os.environ.get("EVOSEG_HOME")
    os.environ["EVOSEG_HOME"] = str(folder / "home")
    os.chdir(folder)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            for command in form.commands:
                run(list(command))
    finally:
        os.chdir(here)
        os.environ.pop("EVOSEG_HOME")
        if before is not None:
            os.environ["EVOSEG_HOME"] = before


def tried(form: Format, data: bytes, root: Path) -> tuple[str, str]:
    """Run a format's commands on a file in a forked child; return what became of it, and the child's words."""
    folder, said = root / "case", root / "said"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    form.prepare(folder)
    (folder / form.place).parent.mkdir(parents=True, exist_ok=True)
    (folder / form.place).write_bytes(data)
    child = os.fork()
    if child == 0:
        _run(form, folder, said)
    until = time.monotonic() + WALL_S
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hang", f"no end after {WALL_S} s by the wall"
        time.sleep(0.003)
    words = said.read_text(errors="replace") if said.exists() else ""
    if os.WIFSIGNALED(done[1]):
        number = os.WTERMSIG(done[1])
        kind = "hang" if number in (signal.SIGXCPU, signal.SIGKILL) else "crash"
        return kind, f"{signal.Signals(number).name}\n{words[-2000:]}"
    code = os.WEXITSTATUS(done[1])
    if code == 99:
        return "foreign", words[-3000:]
    return ("fine" if code in FINE else "refused"), ""


def _run(form: Format, folder: Path, said: Path) -> None:
    """Be the child: run the commands within the limits, and end."""
    try:
        os.setsid()
        os.chdir(folder)
        os.environ["EVOSEG_HOME"] = str(folder / "home")
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream_number in (1, 2):
            os.dup2(handle, stream_number)
        worst = 0
        for command in form.commands:
            code = run(list(command))
            sys.stdout.flush()
            sys.stderr.flush()
            words = said.read_text(errors="replace")
            if code not in (*FINE, *REFUSED) or "should not happen" in words or "Traceback" in words:
                run(["--debug", *command])
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(99)
            worst = max(worst, code)
        os._exit(min(worst, 1))
    except BaseException as error:
        print(f"fuzz: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(99)


def main() -> None:
    """Fuzz, print the table, keep the findings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=5000, help="inputs in all, in equal parts by format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", action="append", help="only this one; may be repeated")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant of each format")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder of the inputs found")
    asked = parser.parse_args()
    cv2.setNumThreads(0)  # threads do not survive a fork
    formats = [form for form in FORMATS if not asked.format or form.name in asked.format]
    each = -(-asked.inputs // len(formats))
    findings = 0
    began = time.monotonic()
    with TemporaryDirectory() as temporary:
        for form in formats:
            warm_up(form, Path(temporary) / form.name)
    print(
        f"{'format':14s} {'inputs':>6s} {'fine':>6s} {'refused':>7s} {'crash':>6s} {'hang':>5s} {'foreign':>7s}  CPU s"
    )
    with TemporaryDirectory() as temporary:
        root = Path(temporary)
        for form in formats:
            seeds = form.seeds()
            counts: Counter[str] = Counter()
            cpu = _cpu()
            for number in range(asked.first, asked.first + each):
                data = case(form, seeds, asked.seed, number)
                what, words = tried(form, data, root)
                counts[what] += 1
                if what not in ("fine", "refused"):
                    findings += 1
                    name = f"{form.name.replace(' ', '-')}-{asked.seed}-{number}-{Path(form.place).name}"
                    asked.keep.mkdir(parents=True, exist_ok=True)
                    (asked.keep / name).write_bytes(data)
                    (asked.keep / f"{name}.txt").write_text(f"{what}\n{words}")
            row = [counts[what] for what in ("fine", "refused", "crash", "hang", "foreign")]
            cells = f"{row[0]:6d} {row[1]:7d} {row[2]:6d} {row[3]:5d} {row[4]:7d}"
            print(f"{form.name:14s} {each:6d} {cells}  {_cpu() - cpu:5.0f}", flush=True)
    print(f"{each * len(formats)} inputs, {findings} findings, {time.monotonic() - began:.0f} s")
    sys.exit(1 if findings else 0)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
