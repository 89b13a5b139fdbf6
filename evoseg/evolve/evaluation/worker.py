"""A worker process: ``python -m evoseg.evolve.evaluation.worker``. Reads frames from stdin, answers on stdout.

It is started as a module, so scripts and notebooks need no ``if __name__`` guard. The frames are pickles between a
parent and its own child; nothing from elsewhere is ever unpickled.
"""

import os
import pickle
import signal
import struct
import sys
import warnings
from pathlib import Path
from typing import Any, BinaryIO

HEADER = struct.Struct("<Q")
PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


def write_frame(pipe: BinaryIO, value: Any) -> None:
    """Send one value with its length before it."""
    data = pickle.dumps(value, protocol=5)
    rest = memoryview(HEADER.pack(len(data)) + data)
    while rest:  # an unbuffered pipe may take less than it is given
        rest = rest[pipe.write(rest) :]
    pipe.flush()


def read_frame(pipe: BinaryIO) -> Any:
    """Receive one value.

    Raises
    ------
    EOFError
        If the other side is gone.
    """
    return pickle.loads(_exactly(pipe, HEADER.unpack(_exactly(pipe, HEADER.size))[0]))


def _exactly(pipe: BinaryIO, n: int) -> bytes:
    data = bytearray()
    while len(data) < n:
        part = pipe.read(n - len(data))
        if not part:
            raise EOFError("the pipe was closed")
        data += part
    return bytes(data)


def main() -> None:
    """Answer jobs until stdin closes."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    warnings.simplefilter("ignore", FutureWarning)  # the parent has loaded the same task, and has warned
    # Whatever prints must not end up between the frames.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    questions = sys.stdin.buffer
    pack, task, cache_bytes, ipp, memory_bytes = read_frame(questions)
    limit_memory(memory_bytes)

    from evoseg.datasets.memmap import Pack
    from evoseg.evolve.evaluation.jobs import InProcess
    from evoseg.operators import registry

    with registry.with_ipp(ipp):
        executor = InProcess(task, Pack(Path(pack)).items, cache_bytes)
        write_frame(answers, "ready")
        while True:
            try:
                job = read_frame(questions)
            except EOFError:
                return
            write_frame(answers, executor.run([job])[0])


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends, even in the middle of a C call that never returns."""
    import ctypes

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def limit_memory(memory_bytes: int) -> None:
    """Make an allocation beyond the limit fail here, before the machine starts to swap."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


if __name__ == "__main__":
    main()
