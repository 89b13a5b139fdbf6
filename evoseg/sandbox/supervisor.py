"""Starts the processes in which operators run, passes arrays in and out, and trusts nothing that comes back."""

import fcntl
import inspect
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import EvosegError, PipelineError, legible, unknown
from evoseg.core.kinds import Kind
from evoseg.operators.parameters import Value
from evoseg.sandbox import probe
from evoseg.sandbox.code import COMMON_MODULES, MODULES, Cause, Code, CodeError
from evoseg.sandbox.zygote import DONE, ENDING, FAILED, INVALID, LENGTH, LONGEST_TEXT, NO_MEMORY, REQUEST

Array = NDArray[Any]

SECONDS, SECONDS_PER_IMAGE, SECONDS_PER_MPX = 1.0, 0.1, 5.0
"""CPU time that an operator may use, s: for any call, and in addition for each image and megapixel of it. evoseg's own
operators take about 0.1 s for a megapixel."""
MEMORY_BYTES = 2 << 30
"""What an operator may allocate for any image."""
BYTES_PER_PIXEL = 128
"""What it may allocate in addition for each pixel: sixteen planes of float64."""
GROUP_BYTES = 64 << 20
"""Images are passed to one process until they have this size together."""
PIPE_BYTES = 1 << 20
"""What pipes may hold, so that most images are passed at once."""
F_SETPIPE_SZ = 1031
"""From linux/fcntl.h."""
START_S = 300.0
"""Wall time in which a sandbox must be ready."""
WALL_S, WALL_RATIO = 60.0, 30.0
"""Wall time after which a process is given up: for any image, and as a multiple of the CPU time that it may use. As it
cannot sleep, this only happens to one that was stopped from outside, or on a machine that is very busy."""

_INHERITED = (
    *("LD_LIBRARY_PATH", "PYTHONHOME", "GLIBC_TUNABLES"),
    *("NPY_DISABLE_CPU_FEATURES", "OPENBLAS_CORETYPE", "OPENCV_CPU_DISABLE"),
)
"""Variables that decide which libraries run, and how; no others are passed on."""
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",  # the order of sets of texts must not change from run to run
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # For glibc, as for workers: arrays that return to the kernel when freed are faulted in again page by page.
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_TOP_PAD_": "67108864",
    "EAGER_IMPORT": "1",  # for scikit-image, which otherwise loads its modules when they are first used
}
_PERTURBED = {"PYTHONHASHSEED": "1", "PYTHONMALLOC": "malloc", "MALLOC_PERTURB_": "85"}
"""Other hashes, other addresses, and memory that is not zero before it is written to."""
_DTYPES = {
    Kind.RAW: ("uint8", "uint16", "float32"),
    Kind.GRAY: ("uint8",),
    Kind.MASK: ("bool",),
    Kind.LABELS: ("int32",),
}
_SHAPES = {Kind.RAW: "(M, N, C)", Kind.GRAY: "(M, N)", Kind.MASK: "(M, N)", Kind.LABELS: "(M, N)"}
_CAUSES: dict[bytes, Cause] = {INVALID: "result", FAILED: "error", NO_MEMORY: "memory"}
_TRIES = 2


class SandboxError(EvosegError, RuntimeError):
    """Python operators cannot run on this system; no operator is to blame."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"Python operators cannot run here: {why}. Run evoseg on Linux 5.13 or later with Landlock, or in a "
            "container on such a system (docs/sandbox.md)."
        )


class Sandbox:
    """Runs Python operators in processes that can open, send and start nothing.

    The first call starts a process; each call forks one from it. Calls from several threads take turns. A process that
    dies is replaced at the next call. After a fork of the caller, the copy starts a process of its own.

    Parameters
    ----------
    perturbed : bool
        Whether hashes, addresses and unwritten memory differ from those of other sandboxes, so that a result which
        depends on them shows.
    """

    def __init__(self, *, perturbed: bool = False) -> None:
        self._perturbed = perturbed
        self._lock = threading.Lock()
        self._zygote: _Zygote | None = None
        self._modules = COMMON_MODULES
        self._cpu_s = 0.0

    def start(self) -> str:
        """Start the process, if there is none, and return what locks it, in words.

        Raises
        ------
        SandboxError
            If this system does not have all locks, or one of them does not hold.
        """
        with self._lock:
            return self._ready().words

    def run(self, code: Code, inputs: Sequence[Array], parameters: Mapping[str, Value] | None = None) -> Array:
        """Run an operator on one image; as `run_all`."""
        return self.run_all(code, [inputs], parameters)[0]

    def run_all(
        self,
        code: Code,
        images: Sequence[Sequence[Array]],
        parameters: Mapping[str, Value] | None = None,
        *,
        limit_ratio: float = 1.0,
        strict: bool = False,
    ) -> list[Array]:
        """Run an operator on several images, as many in one process as have `GROUP_BYTES`.

        Parameters
        ----------
        code : Code
        images : sequence of sequences of arrays
            For each image, one array for each input, all of one height and width: uint8, uint16 or float32 of shape
            (M, N, C) for Raw, uint8 of shape (M, N) for Gray, bool for Mask, int32 for Labels.
        parameters : mapping of str to number, optional
            Defaults stand for those that are missing.
        limit_ratio : float
            Multiple of the CPU time that is allowed.
        strict : bool
            Whether a gray result may have at most 1 % of its values outside its range.

        Returns
        -------
        list of arrays of shape (M, N)
            uint8 for Gray, bool for Mask, int32 for Labels.

        Raises
        ------
        CodeError
            If it gives no result, or not what it declares.
        PipelineError
            If a parameter is unknown or out of its range.
        SandboxError
            If nothing can run on this system.
        ValueError
            If an input is not of its kind.
        """
        values = _checked_parameters(code, parameters or {})
        for inputs in images:
            _check_inputs(code, inputs)
        results: list[Array] = []
        for group in _groups(images):
            pixels = [inputs[0].shape[0] * inputs[0].shape[1] for inputs in group]
            head = {
                "source": code.source,
                "parameters": values,
                "n_inputs": len(code.inputs),
                "output": code.output.value,
                "strict": strict,
                "arrays": [(array.dtype.name, array.shape) for inputs in group for array in inputs],
                "cpu_s": limit_ratio * _seconds(pixels),
                "memory_bytes": MEMORY_BYTES + BYTES_PER_PIXEL * max(pixels),
            }
            try:
                with self._lock:
                    results += self._run(code, head, group)
            except _FailureError as failure:
                message = f"the Python operator {code.digest[:8]}: {failure.reason}"
                raise CodeError(failure.cause, message) from None
        return results

    def cpu_seconds(self, code: Code, inputs: Sequence[Array]) -> float:
        """Return the CPU time that an operator takes for one image with its defaults; errors as of `run_all`."""
        self.run(code, inputs)
        return self._cpu_s

    def close(self) -> None:
        """End the process and all that it has started; a later call starts another."""
        with self._lock:
            self._drop()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, code: Code, head: dict[str, Any], group: Sequence[Sequence[Array]]) -> list[Array]:
        shapes = [inputs[0].shape[:2] for inputs in group]
        dtype = np.dtype(_DTYPES[code.output][0])
        n_bytes = sum(rows * cols for rows, cols in shapes) * dtype.itemsize
        self._modules |= MODULES.intersection(code.modules)
        for _ in range(_TRIES):
            zygote = self._ready()
            try:
                ending, reply = zygote.exchange(head, group, max(n_bytes, LONGEST_TEXT) + 1)
            except _GoneError:
                self._drop()  # killed from outside, as when memory runs out
                continue
            except BaseException:
                self._drop()  # in mid-call: whatever it writes would be taken for a later answer
                raise
            if not ending.started:
                self._drop()
                continue
            self._cpu_s = ending.cpu_s
            return _read_reply(code, head, ending, reply, shapes, dtype)
        raise _FailureError("crash", "its process was killed twice, as when the machine runs out of memory.")

    def _ready(self) -> "_Zygote":
        """Return a process that has loaded all modules that were ever asked for."""
        if self._zygote is not None and self._zygote.owner != os.getpid():
            self._zygote.disown()
            self._zygote = None
        if self._zygote is None or not self._modules <= self._zygote.modules:
            self._drop()
            self._zygote = _Zygote(self._modules, self._perturbed)
        return self._zygote

    def _drop(self) -> None:
        if self._zygote is not None:
            self._zygote.kill()
        self._zygote = None


class _FailureError(Exception):
    """An operator has given no result; for the message of a `CodeError`."""

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason


class _GoneError(Exception):
    """The process has ended."""


class _Ending(NamedTuple):
    started: bool
    status: int
    cpu_s: float


class _Zygote:
    """One process that operators are forked from, and the three pipes to it."""

    def __init__(self, modules: frozenset[str], perturbed: bool) -> None:
        if sys.platform != "linux":
            raise SandboxError(f"{sys.platform} has none of the locks that are needed")
        self.modules = modules
        self.owner = os.getpid()
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | _ENVIRONMENT
        # As for workers: it finds what this process finds, first of all the same evoseg.
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(Path(__file__).resolve().parents[2]), *map(os.path.abspath, filter(None, sys.path))]
        )
        answers, answering = os.pipe()
        results, resulting = os.pipe()
        self._answers, self._results = os.fdopen(answers, "rb", 0), os.fdopen(results, "rb", 0)
        arguments = [json.dumps(sorted(modules)), str(answering), str(resulting)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "evoseg.sandbox.zygote", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment | (_PERTURBED if perturbed else {}),
                cwd="/",
                bufsize=0,
                pass_fds=(answering, resulting),
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(f"its process cannot be started ({error.strerror})") from None
        finally:
            os.close(answering)
            os.close(resulting)
        self._requests = cast(BinaryIO, self._process.stdin)
        for pipe in (self._requests, self._results):
            try:
                fcntl.fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES)
            except OSError:
                pass  # beyond what the user may have; it only takes more turns
        os.set_blocking(self._requests.fileno(), False)
        os.set_blocking(results, False)
        try:
            self.words = self._greet()
        except BaseException:
            self.kill()
            raise

    def exchange(
        self, head: Mapping[str, Any], images: Sequence[Sequence[Array]], most: int
    ) -> tuple[_Ending, bytearray]:
        """Have one operator run; return how its process ended and what it wrote.

        Raises
        ------
        _GoneError
            If the zygote has ended.
        _FailureError
            If more than `most` bytes were written, or for the wall time.
        """
        rest = _request(head, images)
        reply, ending = bytearray(), b""
        limit_s = WALL_S * len(images) + WALL_RATIO * head["cpu_s"]
        deadline = time.monotonic() + limit_s
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        poll.register(self._results, select.POLLIN)
        poll.register(self._requests, select.POLLOUT)
        while len(ending) < ENDING.size:
            ready = {descriptor for descriptor, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)}
            if not ready:
                raise _FailureError("time", f"it took more than {limit_s:.0f} s.")
            if self._requests.fileno() in ready and not self._send(rest):
                poll.unregister(self._requests)
            if self._results.fileno() in ready:
                self._take(reply, most)
            if self._answers.fileno() in ready:
                ending += self._answers.read(ENDING.size - len(ending)) or _gone()
        self._take(reply, most)  # its process has ended: there will be no more
        return _Ending(*ENDING.unpack(ending)), reply

    def kill(self) -> None:
        """End the process and its children."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        self._close_pipes()

    def disown(self) -> None:
        """Forget a process of which this one is not the parent."""
        self._process.returncode = 0  # or it would be warned of as still running
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._requests, self._answers, self._results):
            try:
                pipe.close()
            except OSError:
                pass

    def _greet(self) -> str:
        """Wait until it has locked itself, and see whether the locks hold."""
        try:
            poll = select.poll()
            poll.register(self._answers, select.POLLIN)
            if not poll.poll(START_S * 1000):
                raise SandboxError(f"its process was not ready within {START_S:.0f} s")
            (length,) = LENGTH.unpack(self._answers.read(LENGTH.size) or _gone())
            hello = json.loads(self._answers.read(length) or _gone())
            if "error" in hello:
                raise SandboxError(hello["error"])
            escapes = self._probe()
        except _GoneError:
            raise SandboxError("its process ended before it was ready") from None
        if escapes:
            raise SandboxError(f"its locks do not hold, since a test {', '.join(escapes)}")
        return str(hello["locks"])

    def _probe(self) -> list[str]:
        """Return what an operator that tries to get out has done."""
        head = {
            "source": inspect.getsource(probe),
            "parameters": {},
            "n_inputs": 1,
            "output": "gray",
            "strict": False,
            "arrays": [("uint8", (1, len(probe.ATTEMPTS)))],
            "cpu_s": SECONDS,
            "memory_bytes": MEMORY_BYTES,
        }
        ending, reply = self.exchange(head, [[np.zeros((1, len(probe.ATTEMPTS)), np.uint8)]], LONGEST_TEXT)
        if not ending.started or ending.status or reply[:1] != DONE or len(reply) != 1 + len(probe.ATTEMPTS):
            raise SandboxError(f"a test of its locks failed ({legible(reply[1:].decode('utf-8', 'replace'))})")
        return [name for name, byte in zip(probe.ATTEMPTS, reply[1:], strict=True) if byte]

    def _send(self, rest: list[memoryview]) -> bool:
        """Send what the pipe takes of a request; return whether there is more."""
        try:
            while rest:
                n = os.write(self._requests.fileno(), rest[0])
                rest[0] = rest[0][n:]
                if not rest[0]:
                    del rest[0]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            _gone()
        return bool(rest)

    def _take(self, reply: bytearray, most: int) -> None:
        """Take what an operator's process has written."""
        try:
            while part := os.read(self._results.fileno(), 1 << 20):
                reply += part
                if len(reply) > most:
                    raise _FailureError("crash", "its process wrote more than a result.")
        except BlockingIOError:
            pass


def _gone() -> Any:
    raise _GoneError


def _request(head: Mapping[str, Any], images: Sequence[Sequence[Array]]) -> list[memoryview]:
    text = json.dumps(head).encode()
    # Only names of types are sent: bytes in the order of another processor would be misread.
    arrays = [np.ascontiguousarray(array, array.dtype.newbyteorder("=")) for inputs in images for array in inputs]
    start = REQUEST.pack(len(text), sum(array.nbytes for array in arrays)) + text
    return [memoryview(start), *(array.reshape(-1).view(np.uint8).data for array in arrays)]


def _seconds(pixels: Sequence[int]) -> float:
    """Return the CPU time that one call may take for images of these sizes."""
    return SECONDS + SECONDS_PER_IMAGE * len(pixels) + SECONDS_PER_MPX * sum(pixels) / 1e6


def _groups(images: Sequence[Sequence[Array]]) -> Iterator[list[Sequence[Array]]]:
    """Yield images in groups of a bounded size, in order."""
    group: list[Sequence[Array]] = []
    size = 0
    for inputs in images:
        n_bytes = sum(array.nbytes for array in inputs)
        if group and size + n_bytes > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(inputs)
        size += n_bytes
    if group:
        yield group


def _checked_parameters(code: Code, given: Mapping[str, Value]) -> dict[str, Value]:
    names = [parameter.name for parameter in code.parameters]
    for name in given:
        if name not in names:
            raise PipelineError(unknown("parameter", name, names))
    return {p.name: p.check(given.get(p.name, p.default)) for p in code.parameters}


def _check_inputs(code: Code, inputs: Sequence[Array]) -> None:
    if len(inputs) != len(code.inputs):
        raise ValueError(f"the operator takes {len(code.inputs)} inputs, not {len(inputs)}")
    for array, kind in zip(inputs, code.inputs, strict=True):
        n_axes = 3 if kind is Kind.RAW else 2
        if array.dtype.name not in _DTYPES[kind] or array.ndim != n_axes or array.size == 0:
            wanted = f"{' or '.join(_DTYPES[kind])} of shape {_SHAPES[kind]}"
            raise ValueError(f"an input is {array.dtype} of shape {array.shape}; a {kind} is {wanted}")
        if array.shape[:2] != inputs[0].shape[:2]:
            raise ValueError(f"inputs of shapes {inputs[0].shape} and {array.shape} are not of one image")


def _read_reply(
    code: Code,
    head: Mapping[str, Any],
    ending: _Ending,
    reply: bytearray,
    shapes: Sequence[tuple[int, ...]],
    dtype: np.dtype[Any],
) -> list[Array]:
    """Return the planes that an operator's process wrote; it may have written anything."""
    if os.WIFSIGNALED(ending.status):
        number = os.WTERMSIG(ending.status)
        if number in (signal.SIGPROF, signal.SIGXCPU):
            raise _FailureError("time", f"it used more than {head['cpu_s']:.3g} s of CPU time. Make it faster.")
        if number == signal.SIGKILL:
            raise _FailureError("memory", "its process was killed, as when the machine runs out of memory.")
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        raise _FailureError("crash", f"its process crashed ({name}), as by endless recursion or a fault in a library.")
    status, n_bytes = bytes(reply[:1]), len(reply) - 1
    if ending.status or not status:
        raise _FailureError("crash", "it ended its process without a result.")
    if status in _CAUSES and n_bytes <= LONGEST_TEXT:
        raise _FailureError(_CAUSES[status], f"{_printable(reply[1:].decode('utf-8', 'replace'))}.")
    if status != DONE or n_bytes != sum(rows * cols for rows, cols in shapes) * dtype.itemsize:
        raise _FailureError("crash", "its process wrote something else than a result.")
    results = []
    start = 1
    for rows, cols in shapes:
        # Masks first as numbers: a byte that is neither 0 nor 1 is no truth value.
        stored = np.dtype(np.uint8) if code.output is Kind.MASK else dtype
        plane = np.frombuffer(reply, stored, rows * cols, start).copy()
        start += plane.nbytes
        most = {Kind.MASK: 1, Kind.LABELS: plane.size}.get(code.output)
        if most is not None and (plane.min() < 0 or plane.max() > most):
            raise _FailureError("crash", f"its process wrote something else than {code.output}.")
        results.append(plane.view(dtype).reshape(rows, cols))
    return results


def _printable(text: str) -> str:
    """Return one line without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)
