"""Arrays go in and come out unchanged, and no end of any process disturbs the next call."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from evoseg.core.errors import PipelineError
from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.sandbox.code import COMMON_MODULES, Code, CodeError, read_code
from evoseg.sandbox.supervisor import GROUP_BYTES
from tests.sandbox.conftest import skip_without_landlock

RNG = stream(7, "sandbox")
PLANE = RNG.integers(0, 256, (31, 45)).astype(np.uint8)
SAME = Code("def operator(x): return x", (Kind.GRAY,), Kind.GRAY)


def code(body: str, inputs: tuple[Kind, ...] = (Kind.GRAY,), output: Kind = Kind.GRAY) -> Code:
    names = ", ".join("abcd"[: len(inputs)])
    return Code(f"import numpy as np\ndef operator({names}):\n    return {body}\n", inputs, output)


@pytest.mark.parametrize(
    ("returned", "gray"),
    [
        ([0, 1, 254, 255], [0, 1, 254, 255]),
        (np.array([False, True, True, False]), [0, 255, 255, 0]),
        (np.array([0.0, 0.5, 1.0, 1.25]), [0, 128, 255, 255]),
        (np.array([-7.5, 0.1, 0.002, 3.0], np.float32), [0, 26, 1, 255]),
        (np.array([-3, 200, 300, 65535], np.int64), [0, 200, 255, 255]),
    ],
)
def test_a_gray_result_is_brought_to_eight_bits_by_a_fixed_rule(sandbox, returned, gray):
    array = np.asarray(returned, np.uint8) if isinstance(returned, list) else returned
    made = code(f"np.array({array.tolist()}, {array.dtype.name!r}).reshape(2, 2)")
    result = sandbox.run(made, [np.zeros((2, 2), np.uint8)])
    assert result.dtype == np.uint8 and result.ravel().tolist() == gray


def test_masks_and_labels_have_their_types(sandbox):
    mask = sandbox.run(code("a // 128 * 77", output=Kind.MASK), [PLANE])
    assert mask.dtype == np.bool_ and np.array_equal(mask, PLANE >= 128)
    labels = sandbox.run(code("(a // 50).astype(np.uint16) * 2", output=Kind.LABELS), [PLANE])
    assert labels.dtype == np.int32 and np.array_equal(labels, PLANE // 50 * 2)


@pytest.mark.parametrize("first", [0, 7])
def test_labels_beyond_the_number_of_pixels_are_numbered_anew_in_order(sandbox, first):
    body = f"np.array([[{first}, 2**40], [2**62, 9]])"
    labels = sandbox.run(code(body, output=Kind.LABELS), [np.zeros((2, 2), np.uint8)])
    assert labels.tolist() == ([[0, 2], [3, 1]] if first == 0 else [[1, 3], [4, 2]])


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (code("a / 255", output=Kind.MASK), "compare it with a threshold"),
        (code("a.astype(float)", output=Kind.LABELS), "convert it to integers"),
        (code("a.astype(int) - 1", output=Kind.LABELS), "negative labels"),
        (code("a / 0 * 0"), "not finite"),
        (code("a[1:]"), r"shape \(30, 45\) for an image of shape \(31, 45\)"),
        (code("[a]"), "it returned list"),
        (code("1 // 0"), "line 3: ZeroDivisionError: "),
        (code("np.random.default_rng()"), "entropy are out of reach; give generators a seed"),
    ],
)
def test_what_is_wrong_with_a_result_is_said(sandbox, made, words):
    with pytest.raises(CodeError, match=rf"^the Python operator {made.digest[:8]}: .*{words}"):
        sandbox.run(made, [PLANE])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_inputs_arrive_as_they_are(sandbox, dtype):
    image = (RNG.random((20, 30, 3)) * 200).astype(dtype)
    labels = RNG.integers(0, 9, (20, 30)).astype(np.int32)
    mask = RNG.random((20, 30)) > 0.5
    made = code("np.where(b, a[..., 2], c).astype(np.int64)", (Kind.RAW, Kind.MASK, Kind.LABELS), Kind.LABELS)
    # Not contiguous on purpose.
    result = sandbox.run(made, [image[:, ::-1], mask[:, ::-1], labels[:, ::-1]])
    assert np.array_equal(result[:, ::-1], np.where(mask, image[..., 2], labels).astype(np.int32))


def test_the_order_of_bytes_does_not_matter(sandbox):
    image = RNG.integers(0, 60000, (9, 8, 1)).astype(">u2")
    result = sandbox.run(code("a[..., 0] > 20000", (Kind.RAW,), Kind.MASK), [image])
    assert np.array_equal(result, image[..., 0] > 20000)


def test_all_common_modules_can_be_imported(sandbox):
    lines = "\n".join(f"import {name}" for name in sorted(COMMON_MODULES))
    assert np.array_equal(sandbox.run(read_code(f"{lines}\ndef operator(p) -> Gray:\n    return p\n"), [PLANE]), PLANE)


def test_parameters_are_checked_and_have_defaults(sandbox):
    made = read_code("def operator(p, *, up: Annotated[int, Range(0, 9)] = 4) -> Gray:\n    return p // 2 + up\n")
    assert np.array_equal(sandbox.run(made, [PLANE]), PLANE // 2 + 4)
    assert np.array_equal(sandbox.run(made, [PLANE], {"up": 9}), PLANE // 2 + 9)
    with pytest.raises(PipelineError, match="up is 10; it must lie within 0 to 9"):
        sandbox.run(made, [PLANE], {"up": 10})
    with pytest.raises(PipelineError, match="unknown parameter 'down'"):
        sandbox.run(made, [PLANE], {"down": 1})


def test_many_images_run_in_groups(sandbox):
    images = [np.full((5000, 5000), i, np.uint8) for i in range(3)]
    assert 2 * images[0].nbytes < GROUP_BYTES < 3 * images[0].nbytes
    results = sandbox.run_all(code("a + 1"), [[image] for image in images])
    assert [(int(r.min()), int(r.max())) for r in results] == [(1, 1), (2, 2), (3, 3)]
    assert sandbox.run_all(code("a"), []) == []


@pytest.mark.parametrize(
    "inputs",
    [[], [PLANE, PLANE], [PLANE.astype(float)], [PLANE[:, :, None]], [PLANE[:0]], [PLANE > 3]],
    ids=["none", "two", "float", "three axes", "empty", "mask"],
)
def test_inputs_of_another_kind_are_an_error_of_the_caller(sandbox, inputs):
    with pytest.raises(ValueError, match="input"):
        sandbox.run(SAME, inputs)


def test_a_killed_process_is_replaced(sandbox):
    sandbox.start()
    os.kill(sandbox._zygote._process.pid, signal.SIGKILL)
    assert np.array_equal(sandbox.run(SAME, [PLANE]), PLANE)


def test_modules_are_loaded_when_the_first_operator_names_them(sandbox):
    made = read_code("from scipy.fft import dctn\ndef operator(p) -> Mask:\n    return dctn(p.astype(float)) > 0\n")
    assert sandbox.run(made, [PLANE]).any()
    assert "scipy.fft" in sandbox._zygote.modules


def test_an_interrupted_call_leaves_no_answer_to_the_next(sandbox):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        sandbox.start()
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            sandbox.run(code("[sum(range(1000)) for _ in range(10**9)]"), [PLANE])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert np.array_equal(sandbox.run(SAME, [PLANE]), PLANE)


def test_threads_get_their_own_results(sandbox):
    wrong: list[int] = []

    def call(i: int) -> None:
        image = np.full((40 + i, 30), i, np.uint8)
        for _ in range(5):
            if not np.array_equal(sandbox.run(code("a * 2"), [image]), image * 2):
                wrong.append(i)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_closing_ends_the_process_and_a_later_call_starts_another(sandbox):
    sandbox.start()
    first = sandbox._zygote._process.pid
    sandbox.close()
    assert not Path(f"/proc/{first}").exists()
    assert np.array_equal(sandbox.run(SAME, [PLANE]), PLANE)


PARENT = """
import os, sys, time
import numpy as np
from evoseg.core.kinds import Kind
from evoseg.sandbox.code import Code
from evoseg.sandbox.supervisor import Sandbox
sandbox = Sandbox()
sandbox.start()
print(sandbox._zygote._process.pid, flush=True)
"""


def start(program: str) -> "subprocess.Popen[str]":
    skip_without_landlock()
    return subprocess.Popen([sys.executable, "-c", PARENT + program], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_everything_ends_with_the_parent(state):
    loop = "Code('def operator(x):\\n  while 1: 0', (Kind.GRAY,), Kind.GRAY)"
    busy = f"sandbox.run({loop}, [np.ones((3000, 3000), np.uint8)])"
    with start("time.sleep(300)" if state == "idle" else busy) as parent:
        zygote = int(parent.stdout.readline())
        if state == "busy":
            children = Path(f"/proc/{zygote}/task/{zygote}/children")
            wait_until(lambda: children.read_text("ascii") != "")
        parent.kill()
    wait_until(lambda: not members(zygote))


def members(group: int) -> list[str]:
    """Return the processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(path.parent.name)
    return found


def wait_until(done) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_signals_that_the_caller_ignores_or_blocks_still_end_what_takes_too_long():
    program = """
import signal
from evoseg.sandbox.code import CodeError
sandbox.close()
for number in (signal.SIGPROF, signal.SIGXCPU):
    signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
try:
    sandbox.run_all(Code("while 1: 0", (Kind.GRAY,), Kind.GRAY), [[np.ones((9, 9), np.uint8)]], limit_ratio=0.1)
except CodeError as error:
    print(error.cause)
sandbox.close()
"""
    with start(program) as parent:
        assert parent.stdout.read().split()[1:] == ["time"]


def test_a_fork_of_the_caller_starts_a_process_of_its_own():
    program = """
same = Code("def operator(x): return x", (Kind.GRAY,), Kind.GRAY)
child = os.fork()
number = 1 if child else 2
image = np.full((50, 60), number, np.uint8)
right = all((sandbox.run(same, [image]) == number).all() for _ in range(20))
print(sandbox._zygote._process.pid if right else "wrong", flush=True)
sandbox.close()
if child:
    os.waitpid(child, 0)
"""
    with start(program) as parent:
        first, *others = parent.stdout.read().split()
    assert parent.returncode == 0
    assert "wrong" not in others and len(set(others)) == 2 and first in others


@pytest.mark.parametrize(
    ("output", "value"),
    [(Kind.MASK, b"\x02"), (Kind.LABELS, b"\xff\xff\xff\xff"), (Kind.LABELS, b"\xff\xff\xff\x7f")],
)
def test_forged_values_outside_a_kind_do_not_arrive(sandbox, output, value):
    source = (
        "import os\ndef operator(x):\n    for i in range(256):\n        try:\n"
        f"            os.write(i, b'D' + {value!r} * x.size)\n"
        "        except OSError:\n            pass\n    os._exit(0)\n"
    )
    with pytest.raises(CodeError, match=f"something else than {output}"):
        sandbox.run(Code(source, (Kind.GRAY,), output), [PLANE])
