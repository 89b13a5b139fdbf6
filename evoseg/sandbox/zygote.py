"""The process from which operators are forked; started by `evoseg.sandbox.supervisor.Sandbox`.

It loads the libraries, locks itself and then waits. For each request it forks a child, which alone reads the request,
so that nothing of one request is in the memory of the next. The child tightens the locks, runs the operator and writes
the result into a pipe to the parent, which the zygote never reads. The zygote then says how the child ended; no byte
from an operator is ever interpreted here.
"""

import __future__

import gc
import importlib
import json
import os
import random
import resource
import select
import signal
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.sandbox import locks

LENGTH = struct.Struct("<I")
"""Before the zygote's first words to its parent, which are JSON."""
REQUEST = struct.Struct("<IQ")
"""Before a request: bytes of its JSON, and of the arrays that follow."""
ENDING = struct.Struct("<?id")
"""After an operator's end: whether it had been started at all, status as of wait(2), CPU time in s."""
DONE, INVALID, FAILED, NO_MEMORY = b"D", b"I", b"F", b"M"
"""First byte of what an operator's process writes: planes follow, or one sentence."""
LONGEST_TEXT = 2000
"""Bytes of that sentence."""
MOST_OUTSIDE = 0.01
"""Share of an image's values outside the range of its kind, from which an operator is told to choose a scale."""

_LOOK_S = 5.0
"""Time between looks whether the parent is still there; a closed pipe is noticed at once."""


class Invalid(Exception):
    """A result that is not what the operator declares."""


def main(modules: list[str], answers: int, results: int) -> None:
    """Load, lock, and answer requests on file 0.

    Parameters
    ----------
    modules : list of str
        To load; nothing else can be imported later.
    answers, results : int
        Descriptors: for the zygote, and for the operators' processes.
    """
    parent = os.getppid()
    try:
        load(modules)
        size = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        for_operators, words = lock(results)
    except (OSError, ImportError) as error:
        _write(answers, _with_length({"error": str(error)[:LONGEST_TEXT]}))
        return
    _write(answers, _with_length({"locks": words}))
    while wait_for(0, parent):
        lifeline, held_by_child = os.pipe()
        zygote = os.getpid()
        child = os.fork()
        if child == 0:
            os.close(answers)
            os.close(lifeline)
            run_request(zygote, held_by_child, results, size, for_operators)
        os.close(held_by_child)
        started = os.read(lifeline, 1) != b""
        # The child cannot close its end: only its death does.
        if started and not wait_for(lifeline, parent):
            return
        os.close(lifeline)
        _, status, used = os.wait4(child, 0)
        _write(answers, ENDING.pack(started, status, used.ru_utime + used.ru_stime))
        if not started:
            return  # nobody knows where the next request would begin


def load(modules: list[str]) -> None:
    """Load what operators may import, and use one thread."""
    for name in modules:
        importlib.import_module(name)
    cv2.setNumThreads(1)
    cv2.ocl.setUseOpenCL(False)
    cv2.ipp.setUseIPP(False)  # its results depend on where in memory an array lies
    warnings.simplefilter("ignore")
    sys.stdout = sys.stderr = _Nowhere()


def lock(results: int) -> tuple[locks.CallFilter, str]:
    """Lock this process; return the filter that is left for the operators' processes, and the locks in words.

    Raises
    ------
    OSError
        If a lock is missing or does not hold.
    """
    if len(os.listdir("/proc/self/task")) != 1:
        raise locks.LockError("the libraries have started threads, which the locks would not cover")
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")  # first to go when the machine runs out of memory
    except OSError:
        pass
    for limit, most in (("CORE", 0), ("FSIZE", 0), ("MEMLOCK", 0), ("NOFILE", 16)):
        lower(getattr(resource, f"RLIMIT_{limit}"), most, most)
    # Whoever started this process may have ignored or blocked the signals that end an operator which takes too long.
    for number in (signal.SIGPROF, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.chdir("/")
    locks.drop_user()
    user = "an unprivileged user" if os.getuid() else "root without rights to open or start anything"
    locks.hide()
    version = locks.close_files()
    for file in (sys.executable, os.devnull, "/"):
        try:
            os.close(os.open(file, os.O_RDONLY))
        except PermissionError:
            continue
        raise locks.LockError(f"Landlock does not hold: {file} can be opened")
    for_operators = locks.CallFilter(locks.operator_calls(results))
    locks.CallFilter(locks.zygote_calls()).install()
    # Objects that the collector never visits stay in memory that is shared with the children.
    gc.collect()
    gc.freeze()
    return for_operators, f"Landlock {version}, seccomp, {user}"


def lower(limit: int, soft: int, hard: int) -> None:
    """Lower a limit of this process; one that is lower already stays."""
    highest = resource.getrlimit(limit)[1]
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(limit, (soft, hard))


def wait_for(descriptor: int, parent: int) -> bool:
    """Wait for bytes from, or the end of, another process; False if the parent has ended, or wants no more."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if descriptor != 0:
        poll.register(0, 0)  # its end is reported unasked
    while True:
        events = dict(poll.poll(_LOOK_S * 1000))
        if os.getppid() != parent or events.get(0, 0) & ~select.POLLIN:
            return False
        if descriptor in events:
            return True


def run_request(zygote: int, lifeline: int, results: int, size: int, for_operators: locks.CallFilter) -> None:
    """Read a request, lock this process further, run the operator and write its reply; never returns."""
    try:
        locks.die_with(zygote)
        head, arrays = _read_request()
        os.close(0)
        os.write(lifeline, b".")
        most = size + head["memory_bytes"]
        lower(resource.RLIMIT_AS, most, most)
        seconds = int(head["cpu_s"]) + 2  # of the kernel's two clocks, this one counts whole seconds
        lower(resource.RLIMIT_CPU, seconds, seconds + 1)
        signal.setitimer(signal.ITIMER_PROF, head["cpu_s"])
        for_operators.install()
        for part in reply_to(head, arrays):
            _write(results, part)
        os._exit(0)
    finally:
        os._exit(1)


def _read_request() -> tuple[dict[str, Any], list[NDArray[Any]]]:
    n_text, n_raw = REQUEST.unpack(_read(REQUEST.size))
    head = json.loads(_read(n_text))
    arrays = []
    for dtype, shape in head["arrays"]:
        array = np.frombuffer(_read(int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype).reshape(shape)
        n_raw -= array.nbytes
        arrays.append(array)
    if n_raw:
        raise ValueError("more bytes than arrays")
    return head, arrays


def reply_to(head: dict[str, Any], arrays: list[NDArray[Any]]) -> list[bytes]:
    """Run an operator on all images; return its planes, or what is wrong with it, after the byte that says which."""
    try:
        return [DONE, *_planes(head, arrays)]
    except Invalid as error:
        return [INVALID, _cut(str(error))]
    except MemoryError:
        return [NO_MEMORY, b"it ran out of memory"]
    except BaseException as error:  # SystemExit, too
        return [FAILED, _cut(_describe(error))]


def _planes(head: dict[str, Any], arrays: list[NDArray[Any]]) -> list[bytes]:
    flag = __future__.annotations.compiler_flag  # annotations are for the reader of the source only
    code = compile(head["source"], "<operator>", "exec", flag, dont_inherit=True)
    scope: dict[str, Any] = {"__name__": "operator"}
    exec(code, scope)
    if "operator" not in scope:
        raise Invalid("it defines no function called operator")
    n_inputs = head["n_inputs"]
    planes = []
    for i in range(0, len(arrays), n_inputs):
        inputs = arrays[i : i + n_inputs]
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - the operator may use the global generators; each image sees them new
        cv2.setRNGSeed(0)
        # Not marked as read-only: many functions of scikit-image take no such arrays.
        given = [array.copy() for array in inputs]
        result = scope["operator"](*given, **head["parameters"])
        planes.append(as_declared(result, head["output"], inputs[0].shape[:2], head["strict"]).tobytes())
        if any(before.data.cast("B") != after.data.cast("B") for before, after in zip(inputs, given, strict=True)):
            raise Invalid("it wrote into its input; it must work on a copy, as of plane.copy()")
    return planes


def as_declared(result: Any, kind: str, shape: tuple[int, ...], strict: bool) -> NDArray[Any]:
    """Return an operator's result as its kind is stored: uint8, bool or int32.

    Parameters
    ----------
    result : object
    kind : "gray", "mask" or "labels"
    shape : tuple of int
        Of the input images, (M, N).
    strict : bool
        Whether more than `MOST_OUTSIDE` of the values of a gray image may not lie outside its range.

    Raises
    ------
    Invalid
        If it is something else.
    """
    if type(result) is not np.ndarray:
        raise Invalid(f"it returned {type(result).__name__}; it must return a NumPy array")
    if result.shape != shape:
        raise Invalid(f"it returned an array of shape {result.shape} for an image of shape {shape}")
    if result.dtype.kind not in "buif":
        raise Invalid(f"it returned an array of {result.dtype}; it must hold numbers")
    if result.dtype.kind == "f" and not np.isfinite(result).all():
        raise Invalid("it returned values that are not finite, as a division by zero gives")
    if kind == "gray":
        return _as_gray(result, strict)
    if result.dtype.kind == "f":
        raise Invalid(f"it returned {result.dtype} for {kind}; compare it with a threshold, or convert it to integers")
    if kind == "mask":
        return np.not_equal(result, 0)
    if result.min() < 0:
        raise Invalid("it returned negative labels; objects are numbered from 1, and the background is 0")
    labels: NDArray[Any] = result
    if result.max() > result.size:  # whoever measures objects counts up to the largest number
        labels = np.unique(np.append(np.zeros(1, result.dtype), result), return_inverse=True)[1][1:].reshape(shape)
    return labels.astype(np.int32)


def _as_gray(result: NDArray[Any], strict: bool) -> NDArray[Any]:
    if result.dtype == np.uint8:
        return result
    if result.dtype == np.bool_:
        return result.astype(np.uint8) * 255
    most = 1 if result.dtype.kind == "f" else 255
    if strict and np.count_nonzero((result < 0) | (result > most)) > MOST_OUTSIDE * result.size:
        raise Invalid(
            f"it returned {result.dtype} from {result.min():.4g} to {result.max():.4g}, but values below 0 and above "
            f"{most} are cut off. Scale them to 0 to {most} in a way that does not depend on a single pixel"
        )
    clipped: NDArray[Any] = np.clip(result, 0, most)
    if most == 1:
        clipped = clipped.astype(np.float64, copy=False)
        clipped *= 255
        np.rint(clipped, out=clipped)
    return clipped.astype(np.uint8)


def _describe(error: BaseException) -> str:
    """Say what an operator raised, and in which of its lines."""
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<operator>":
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f"line {line}: " if line else ""
    hint = ""
    if isinstance(error, PermissionError):
        hint = ". Files, networks, processes, threads, sleep and entropy are out of reach; give generators a seed"
    return f"{where}{type(error).__name__}: {str(error)[:500]}{hint}"


def _cut(text: str) -> bytes:
    return text.encode("utf-8", "replace")[:LONGEST_TEXT]


class _Nowhere:
    """Takes what an operator prints."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def _with_length(words: dict[str, Any]) -> bytes:
    text = json.dumps(words).encode()
    return LENGTH.pack(len(text)) + text


def _read(n: int) -> bytearray:
    data = bytearray()
    while len(data) < n:
        part = os.read(0, min(n - len(data), 1 << 20))
        if not part:
            raise EOFError("the parent has ended")
        data += part
    return data


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
