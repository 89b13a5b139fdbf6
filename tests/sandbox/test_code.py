"""What an operator declares is read from its source, and each fault is one sentence with its line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoseg.core.kinds import Kind
from evoseg.operators.parameters import Parameter, Range
from evoseg.sandbox.code import CodeError, lint, read_code

HONEST = sorted((Path(__file__).parent / "honest").glob("*.py"))
HEAD = "def operator(plane) -> Gray:\n"


def test_the_signature_is_the_schema():
    code = read_code(
        '"""Of the module."""\n'
        "import numpy as np\n"
        "from scipy import ndimage\n"
        "from scipy.signal import wiener as w\n"
        "def operator(image: Raw, plane, seen: Mask, /, *, r: Annotated[int, Range(1, 15, unit='px', odd=True)] = 3,\n"
        "             k: Annotated[float, Range(-0.5, 2, log=False)] = 1) -> Labels:\n"
        '    """Say what it does.\n\n    And more.\n    """\n'
        "    return w(plane)\n"
    )
    assert code.inputs == (Kind.RAW, Kind.GRAY, Kind.MASK) and code.output is Kind.LABELS
    assert code.input_names == ("image", "plane", "seen")
    assert code.parameters == (
        Parameter("r", Range(1, 15, unit="px", odd=True), 3, True, False),
        Parameter("k", Range(-0.5, 2), 1.0, False, False),
    )
    assert code.modules == ("numpy", "scipy.ndimage", "scipy.signal")
    assert code.summary == "Say what it does."


def test_the_digest_stands_for_the_source():
    one, same, other = (read_code(f"{HEAD}    return plane{end}") for end in ("\n", "\r\n", " + 1\n"))
    assert one.digest == same.digest != other.digest and len(one.digest) == 32


@pytest.mark.parametrize("file", HONEST, ids=lambda file: file.stem)
def test_honest_operators_have_no_faults(file):
    assert lint(file.read_text("utf-8")) == []


def test_the_example_of_the_guide_has_no_faults():
    page = (Path(__file__).resolve().parents[2] / "docs" / "sandbox.md").read_text("utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert lint(example) == []


@pytest.mark.parametrize(
    "body",
    [
        "_, k = 1, 2",
        "input = plane * 2",
        "hash = {}",
        "def open(x): return x\n    y = open(plane)",
        "type = 3\n    compile = lambda: 0\n    compile()",
        "z = sum(x for x in (y for y in [1]))\n    def g():\n        yield 1",
        "print('debugging')",
        "import cv2 as load\n    load.blur(plane, (3, 3))",
        "class Node:\n        pass",
        "with np.errstate(all='ignore'): pass",
        "rng = np.random.default_rng(0)",
        "rng = np.random.default_rng(seed=0)",
    ],
)
def test_unusual_but_honest_code_has_no_faults(body):
    assert lint(f"import numpy as np\n{HEAD}    {body}\n    return plane\n") == []


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("import os\n" + HEAD + "    return plane", 1, "os cannot be imported. An operator may import math, numpy"),
        (
            "from scipy.io import wavfile\n" + HEAD + "    return plane",
            1,
            "scipy.io cannot be imported. Name one of scipy.fft",
        ),
        ("import scipy\n" + HEAD + "    return plane", 1, "scipy cannot be imported. Name one of"),
        ("from . import x\n" + HEAD + "    return plane", 1, ". cannot be imported"),
        (HEAD + "    return open('x')", 2, "open is not for operators"),
        (HEAD + "    return id(plane)", 2, "id gives other numbers"),
        (HEAD + "    return plane.__class__", 2, "__class__ is not for operators"),
        (HEAD + "    global x\n    return x", 2, "global keeps a value"),
        ("import numpy as n\n" + HEAD + "    return n.load('x')", 3, "numpy.load needs a file"),
        ("from numpy import load as l\n" + HEAD + "    return l('x')", 3, "numpy.load needs a file"),
        ("import cv2\n" + HEAD + "    cv2.imwrite('x', plane)", 3, "cv2.imwrite needs a file or a window"),
        ("import numpy\n" + HEAD + "    return numpy.random.default_rng()", 3, "without a seed"),
        ("import numpy as np\n" + HEAD + "    return np.datetime64('now')", 3, "another value in every run"),
        ("def operate(plane): return plane", 1, "exactly one function must be called operator"),
        (HEAD + "    return plane\n" + HEAD + "    return plane", 1, "exactly one function"),
        ("async " + HEAD + "    return plane", 1, "cannot be a generator or a coroutine"),
        (HEAD + "    yield plane", 1, "cannot be a generator"),
        ("def operator(plane):\n    return plane", 1, "must say that it returns Gray, Mask or Labels"),
        ("def operator(plane) -> Raw:\n    return plane", 1, "must say that it returns"),
        ("def operator(plane, r=3) -> Gray:\n    return plane", 1, "r has a default, so it must stand after `*`"),
        ("def operator(*planes) -> Gray:\n    return plane", 1, "planes may be any number of things"),
        ("def operator() -> Gray:\n    return 1", 1, "takes 0 inputs"),
        ("def operator(plane: np.ndarray) -> Gray:\n    return plane", 1, "plane must be a Gray, Mask, Labels or Raw"),
        ("def operator(plane, *, r: int = 3) -> Gray:\n    return plane", 1, "r needs a type with a range"),
        ("def operator(plane, *, r: Annotated[int, Range(1, 3)]) -> Gray:\n    0", 1, "a whole number as its default"),
        ("def operator(plane, *, r: Annotated[int, Range(1, 3)] = 2.5) -> Gray:\n    0", 1, "a whole number"),
        ("def operator(plane, *, r: Annotated[int, Range(1, 3)] = True) -> Gray:\n    0", 1, "a whole number"),
        ("def operator(plane, *, r: Annotated[int, Range(1, 3)] = 4) -> Gray:\n    0", 1, "must lie within 1 to 3"),
        ("def operator(plane, *, r: Annotated[int, Range(3, 1)] = 2) -> Gray:\n    0", 1, "the smaller one first"),
        ("def operator(plane, *, r: Annotated[str, Range(1, 3)] = 2) -> Gray:\n    0", 1, "must be an int or a float"),
        ("def operator(plane, *, r: Annotated[int, Range(1, 3, unit='m')] = 2) -> Gray:\n    0", 1, "may say unit"),
        ("def operator(plane, *, r: Annotated[float, Range(1, 3, odd=True)] = 2) -> Gray:\n    0", 1, "odd only if"),
        ("def operator(plane, *, r: Annotated[int, Range(0, 3, log=True)] = 2) -> Gray:\n    0", 1, "log=True only if"),
        ("def operator(plane, *, r: Annotated[int, Range(1, 3)] = --2) -> Gray:\n    0", 1, "a whole number as its"),
        ("def operator(plane, *, r: Annotated[int, Range(1.2, 1.9)] = 1) -> Gray:\n    0", 1, "more than one whole"),
        ("def operator(plane, *, r: Annotated[float, Range(123.4, 123.44)] = 123.4) -> Gray:\n    0", 1, "of 3 digits"),
        ("def operator(plane, *, code: Annotated[int, Range(1, 3)] = 2) -> Gray:\n    0", 1, "cannot be called code"),
        ("x = (\n" + HEAD, 1, "not Python"),
        (HEAD + "    return '\u202e'", 2, "cannot be seen"),
        (HEAD + "    return plane\0", 2, "cannot be seen"),
        (HEAD + "    return plane" + " + 1" * 5000, 1, "at most 16384 are read"),
    ],
)
def test_a_fault_is_one_sentence_with_its_line(source, line, words):
    found = [sentence for sentence in lint(source) if words in sentence]
    assert len(found) == 1 and found[0].startswith(f"Line {line}: ")
    with pytest.raises(CodeError) as caught:
        read_code(source)
    assert found[0] in str(caught.value) and caught.value.cause == "source"


def test_all_faults_are_found_at_once_in_the_order_of_their_lines():
    sentences = lint("import os\nimport sys\ndef operator(plane, r=1):\n    return open(r)\n")
    assert [sentence[:7] for sentence in sentences] == ["Line 1:", "Line 2:", "Line 3:", "Line 3:", "Line 4:"]


def test_of_very_many_faults_the_first_few_are_told():
    sentences = lint("import os\n" * 1000 + HEAD + "    return plane\n")
    assert sentences[9].startswith("Line 10: ") and sentences[10:] == ["And 990 more."]


NUMBER = st.floats(-2e9, 2e9) | st.floats(-1, 1) | st.integers(-(10**9), 10**9)


@given(NUMBER, NUMBER, st.floats(0, 1), st.booleans())
def test_values_of_a_range_that_is_read_are_read_again_as_they_are_written(low, high, at, whole):
    """A pipeline's text holds them, and journals hold texts."""
    middle = low + at * (high - low)
    default = round(middle) if whole else float(middle)
    note = f"Annotated[{'int' if whole else 'float'}, Range({low!r}, {high!r})] = {default!r}"
    source = f"def operator(plane, *, r: {note}) -> Gray:\n    return plane\n"
    if lint(source):
        return
    (parameter,) = read_code(source).parameters
    for value in (parameter.default, low, high, middle, parameter.domain.low, parameter.domain.high):
        drawn = parameter.nearest(value)
        assert parameter.check(drawn) == drawn


def test_sources_that_are_made_to_take_long_are_read_at_once():
    program = f"""
import resource
from evoseg.sandbox.code import lint
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
head = {HEAD.replace("plane)", "plane, *, r: Annotated[int, Range(1, 3)] = DEFAULT)")!r}
long = ("-" * 500 + "2", "plane" + ".a" * 2500, "f(" * 150 + ")" * 150, "plane" + "[0]" * 2500, "not " * 2000 + "0")
for text in long:
    for default, returned in ((text, "plane"), ("2", text)):
        lint(head.replace("DEFAULT", default) + "    return " + returned)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@given(st.text() | st.text(alphabet="()[]{}-+:=\\\"'# \ndefoperator0,*@_lambda"))
def test_any_text_is_read_or_refused(source):
    if lint(source):
        with pytest.raises(CodeError):
            read_code(source)


@pytest.mark.parametrize(
    "source", ["(" * 8000, "-" * 16000 + "1", "x" + "[0" * 5000, "lambda:" * 2000 + "0", "9" * 9000]
)
def test_text_that_is_nested_without_end_is_refused(source):
    assert len(lint(source)) == 1
