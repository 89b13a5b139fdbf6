"""The tables of the locks agree with the kernel's, and systems without them run no operators."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from evoseg.sandbox import locks
from evoseg.sandbox.probe import ATTEMPTS
from evoseg.sandbox.supervisor import Sandbox, SandboxError
from tests.sandbox.conftest import skip_without_landlock

HEADERS = (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h"))


@pytest.mark.parametrize("column", [0, 1], ids=["x86_64", "aarch64"])
def test_numbers_of_system_calls_are_those_of_the_kernels_headers(column):
    if not HEADERS[column].is_file():
        pytest.skip("the kernel's headers are not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[column].read_text("utf-8"))
    numbers = {name: int(number) for name, number in found}
    for name, both in locks.NUMBERS.items():
        assert numbers["ppoll" if (name, column) == ("poll", 1) else name] == both[column]


def test_an_operator_may_call_little_and_the_zygote_opens_nothing():
    assert set(locks.operator_calls(7)) == {
        *("brk", "mmap", "mprotect", "mremap", "munmap", "madvise", "futex", "sched_getaffinity", "exit_group", "write")
    }
    makes_descriptors = {name for name in locks.zygote_calls() if re.search("open|socket|dup|memfd|pipe|accept", name)}
    assert makes_descriptors == {"pipe2"}


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


MASK = """
import ctypes, struct
from evoseg.sandbox import locks
def fail(number, first):
    # One system call with this first argument fails with ENOSYS, here and in whatever is started from here.
    code = [locks._do(0x20, 0), locks._do(0x15, number, 0, 3), locks._do(0x20, 16), locks._do(0x15, first, 0, 1)]
    code += [locks._do(6, 0x50026), locks._do(6, 0x7FFF0000)]
    room = ctypes.create_string_buffer(b"".join(code))
    program = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(code), ctypes.addressof(room)))
    locks._prctl(38, 1)
    assert locks._prctl(22, 2, ctypes.addressof(program)) == 0
"""
START = """
from evoseg.sandbox.supervisor import Sandbox, SandboxError
try:
    print(Sandbox().start())
except SandboxError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("masked", "words"),
    [("fail(444, 0)", "no Landlock (Function not implemented)"), ("fail(157, 22)", "no seccomp filters")],
)
def test_nothing_runs_on_a_system_without_a_lock(masked, words):
    skip_without_landlock()
    said = run(f"{MASK}\n{masked}\n{START}")
    assert words in said and said.startswith("Python operators cannot run here: ") and "container" in said


def test_nothing_runs_on_other_systems(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match=r"darwin has none of the locks .* container"):
        Sandbox().start()


def test_an_unknown_processor_is_refused(monkeypatch):
    monkeypatch.setattr(locks.platform, "machine", lambda: "riscv64")
    with pytest.raises(locks.LockError, match="riscv64"):
        locks.CallFilter(locks.operator_calls(3))


def test_what_the_probe_tries_would_succeed_without_locks():
    # As far as an ordinary user of an ordinary system can do it; otherwise its failure would prove nothing.
    names = [name for name in ATTEMPTS if name not in ("started a program", "traced a process")]
    program = f"from evoseg.sandbox.probe import ATTEMPTS\nfor n in {names!r}: print(n) if not ATTEMPTS[n]() else None"
    failed = run(program).splitlines()
    for folder in ("/tmp", "/dev/shm"):
        Path(folder, "evoseg-sandbox-probe").unlink(missing_ok=True)
    assert failed == []
