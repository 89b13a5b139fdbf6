"""Operators that try to get out, to stay, to cheat or to break something; the source is not checked before they run.

Each file in `hostile` says on its first line how it ends: "ok" if it gives a result, else the cause of the error.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.sandbox.code import Code, CodeError
from evoseg.sandbox.supervisor import Sandbox

FILES = sorted((Path(__file__).parent / "hostile").glob("*.py"))
PLANE = stream(5, "hostile").integers(0, 256, (32, 40)).astype(np.uint8)
CONTROL = Code(
    "import cv2, numpy as np\n"
    "def operator(plane):\n"
    "    low, high = np.percentile(cv2.GaussianBlur(plane, (0, 0), 1.5), (5, 95))\n"
    "    return np.clip((plane - low) / (high - low), 0, 1) + 0 * np.random.rand()\n",
    (Kind.GRAY,),
    Kind.GRAY,
)


@pytest.fixture(scope="module")
def control(sandbox: Sandbox) -> bytes:
    return sandbox.run(CONTROL, [PLANE]).tobytes()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_hostile_operator_is_contained_and_changes_nothing(file, sandbox, control):
    source = file.read_text("utf-8")
    expected = re.match(r"# Expected: (.+)\.\n", source)[1].split(" or ")
    assert sandbox.run(CONTROL, [PLANE]).tobytes() == control
    ended, words = run(sandbox, Code(source, (Kind.GRAY,), Kind.GRAY))
    assert ended in expected
    assert len(words) < 2100 and words.isprintable()
    assert sandbox.run(CONTROL, [PLANE]).tobytes() == control
    assert children(sandbox) == ""
    assert canaries() == []


def run(sandbox: Sandbox, code: Code) -> tuple[str, str]:
    """Return how an operator ends, and what is said about it."""
    try:
        sandbox.run_all(code, [[PLANE]], limit_ratio=0.3)
    except CodeError as error:
        return error.cause, str(error)
    return "ok", ""


def children(sandbox: Sandbox) -> str:
    """Return the processes that a sandbox has started and that still exist."""
    zygote = sandbox._zygote._process.pid
    return Path(f"/proc/{zygote}/task/{zygote}/children").read_text("ascii")


def canaries() -> list[Path]:
    """Return what a hostile operator has written."""
    return [path for folder in ("/tmp", "/dev/shm", Path.home()) for path in Path(folder).glob("evoseg-canary*")]


def test_there_are_enough_of_them():
    assert len(FILES) >= 70
