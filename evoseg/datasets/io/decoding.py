"""Files that are not plain: read by a child process whose CPU time and memory are limited.

TIFF is a family of formats with dozens of compressions, most of them decoded by C libraries that hostile files crash or
keep busy for ever; the libraries that read other formats of the field are no better. PNG, JPEG, BMP and plain TIFF (see
`tiff.is_plain`) are read in this process. For everything else a child
(``python -m evoseg.datasets.io.decoding``) is started once and reused; a file that uses up its limits costs that child.
"""

import atexit
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from evoseg.core.errors import DatasetError
from evoseg.core.untrusted import open_file
from evoseg.datasets.io import tiff
from evoseg.datasets.io.formats import Decoded, Header, Limits, damaged, explain_errors, format_of
from evoseg.datasets.reading import ReadOptions

CPU_S = 20
"""CPU time for one file, besides a second per megabyte."""
MEMORY = 6 << 30
"""Bytes of address space: the file, and three times the largest array."""
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
"""Environment variables that are passed on to the child process; all others are withheld."""

_lock = threading.Lock()
_idle: list["_Child"] = []


def read_header_in_child(path: Path, limits: Limits, reading: ReadOptions, packed: bytes = b"") -> Header:
    """Return what a file says about its pixels, as `tiff.header` or `stacks.header` does.

    Parameters
    ----------
    path : Path
    limits : Limits
    reading : ReadOptions
    packed : bytes
        Of a folder that is one image, the files that describe it.

    Raises
    ------
    DatasetError
        As these; and if the child uses up its limits or crashes.
    """
    return _ask_child(path, packed, limits, reading, pixels=False).header


def decode_in_child(path: Path, data: bytes, limits: Limits, reading: ReadOptions) -> Decoded:
    """Return the pixels of a file's bytes, as `tiff.decode` or `stacks.decode` does.

    Raises
    ------
    DatasetError
        As these; and if the child uses up its limits or crashes.
    """
    return _ask_child(path, data, limits, reading, pixels=True)


def _ask_child(path: Path, data: bytes, limits: Limits, reading: ReadOptions, *, pixels: bool) -> Decoded:
    child = _take_child()
    try:
        found = child.ask(path, data, limits, reading, pixels=pixels)
    except BaseException:
        child.kill()
        raise
    with _lock:
        _idle.append(child)
    if isinstance(found, str):
        raise DatasetError(found)
    return found


def _take_child() -> "_Child":
    """Return a free child process, or start one; those of a process that was forked are left alone."""
    with _lock:
        while _idle:
            child = _idle.pop()
            if child.owner == os.getpid() and child.process.poll() is None:
                return child
            if child.owner == os.getpid():
                child.kill()
    return _Child()


@atexit.register
def _end_all() -> None:
    """End the children that are free; one that is not ends when its pipe closes."""
    with _lock:
        for child in _idle:
            if child.owner == os.getpid():
                child.kill()
        _idle.clear()


class _Child:
    """A child process and its two pipes."""

    def __init__(self) -> None:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        # As workers: the same evoseg, and nothing of the folder that the parent was started in.
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).resolve().parents[3]), *filter(None, sys.path)])
        environment["OMP_NUM_THREADS"] = "1"
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "evoseg.datasets.io.decoding"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )

    def ask(self, path: Path, data: bytes, limits: Limits, reading: ReadOptions, *, pixels: bool) -> Decoded | str:
        """Return what is in a file, its header alone or also its pixels, or the child's message about it."""
        question: dict[str, Any] = {
            "path": str(path),
            "size": len(data),
            "pixels": pixels,
            "limits": asdict(limits),
            "reading": asdict(reading),
        }
        question["cpu_s"] = CPU_S + len(data) // 2**20
        questions, answers = cast(BinaryIO, self.process.stdin), cast(BinaryIO, self.process.stdout)
        try:
            questions.write(json.dumps(question).encode() + b"\n" + data)
            questions.flush()
            answer = json.loads(answers.readline())
            if "error" in answer:
                return str(answer["error"])
            arrays = [_array(answers, about) for about in answer["arrays"]]
        except (OSError, ValueError):
            raise damaged(path, self._end()) from None
        head = answer["header"]
        head |= {"dtype": np.dtype(head["dtype"]), "shape": tuple(head["shape"])}
        head |= {name: tuple(head[name]) for name in ("names", "labels")}
        head["pages"] = tuple((axis, n) for axis, n in head["pages"])
        head["pixel_size_um"] = head["pixel_size_um"] and tuple(head["pixel_size_um"])
        pixels, alpha, colours = arrays
        return Decoded(Header(**head), cast(Any, pixels), alpha, colours)

    def _end(self) -> str:
        """Return why the child has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        number = -(self.process.returncode or 0)
        if number in (signal.SIGXCPU, signal.SIGKILL):
            return f"reading it takes more than {CPU_S} s of CPU time or {MEMORY >> 30} GB"
        return "its decoder crashed"

    def kill(self) -> None:
        """End the child."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _array(pipe: BinaryIO, about: dict[str, Any] | None) -> Any:
    """Receive an array, None if there is none."""
    if about is None:
        return None
    array = np.empty(about["shape"], np.dtype(about["dtype"]))
    rest = memoryview(cast(Any, array)).cast("B") if array.size else memoryview(b"")
    while rest:
        n = cast(Any, pipe).readinto(rest)
        if not n:
            raise OSError("the pipe was closed")
        rest = rest[n:]
    return array


def main() -> None:
    """Answer questions until stdin closes."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    _limit_memory()
    while line := questions.readline():
        question = json.loads(line)
        data = questions.read(question["size"])
        _limit_cpu(question["cpu_s"])
        path, limits = Path(question["path"]), Limits(**question["limits"])
        arrays: Sequence[Any] = (None, None, None)
        try:
            found = answer(path, data, limits, ReadOptions(**question["reading"]), pixels=question["pixels"])
            arrays = (found.pixels, found.alpha, found.colours) if question["pixels"] else arrays
            head = asdict(replace(found.header, dtype=cast(Any, found.header.dtype.str)))
            about = [None if a is None else {"shape": a.shape, "dtype": a.dtype.str} for a in arrays]
            reply: dict[str, Any] = {"header": head, "arrays": about}
        except DatasetError as error:
            reply, arrays = {"error": str(error)}, ()
        answers.write(json.dumps(reply).encode() + b"\n")
        for array in arrays:
            if array is not None and array.size:
                answers.write(cast(Any, np.ascontiguousarray(array)).data.cast("B"))
        answers.flush()


def answer(path: Path, data: bytes, limits: Limits, reading: ReadOptions, *, pixels: bool = True) -> Decoded:
    """Return the pixels in a file's bytes, or only the header; without bytes, that of the file itself.

    Raises
    ------
    DatasetError
        For whatever a decoder raises.
    """
    with explain_errors(path), io.BytesIO(data) if data else open_file(path) as file:
        reader: Any = tiff
        if format_of(path, file) != "TIFF":
            from evoseg.datasets.io import stacks as reader
        if pixels:
            return cast(Decoded, reader.decode(path, file, limits, reading))
        return Decoded(reader.header(path, file, reading), np.empty(0))


def _limit_memory() -> None:
    import resource

    with suppress(ValueError, OSError):  # of a system that knows no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _limit_cpu(seconds: int) -> None:
    """Allow this process some more seconds of CPU time."""
    import resource

    until = int(time.process_time()) + 1 + seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (until if hard == resource.RLIM_INFINITY else min(until, hard), hard))


if __name__ == "__main__":
    main()
