"""Run a piece of Python, or a command of evoseg, in a child that may use only so much CPU time and memory."""

import os
import resource
import subprocess
import sys
from collections.abc import Sequence

COMMAND = "import sys; from evoseg.cli.main import run; sys.exit(run(sys.argv[1:]))"


def bounded(
    arguments: Sequence[object],
    code: str = COMMAND,
    cpu_s: int = 30,
    memory: int = 4 << 30,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Return what became of a child; one that used up its CPU time was killed by a signal."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))

    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        preexec_fn=limit,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,  # of a machine that is busy, not of the command
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the message of a command that has refused its input with one clear error."""
    assert done.returncode in (1, 2), (done.returncode, done.stdout[-500:], done.stderr[-500:])
    assert "should not happen" not in done.stderr and "Traceback" not in done.stderr
    return done.stderr
