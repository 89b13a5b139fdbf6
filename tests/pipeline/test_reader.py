"""The reader takes every program, refuses everything else in words, and never spends much on either."""

import random
import sys
import warnings
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoseg.core.errors import PipelineError
from evoseg.pipeline import IMAGE, Pipeline, RevisionWarning, print_text, read_json, read_text, write_json
from evoseg.pipeline.textform import MAX_BYTES
from evoseg.pipeline.value import step
from tests.pipeline.programs import programs

HEAD = "def pipeline(image):\n"


def body(*lines: str) -> str:
    return HEAD + "".join(f"    {line}\n" for line in lines)


def test_the_returned_value_is_the_result_not_the_last_one_computed():
    text = body("a = plane(image)", "b = level(a)", "c = otsu(a)", "return b")
    assert read_text(text) == Pipeline([step("plane", IMAGE), step("level", 0)])


def test_calls_may_be_nested():
    flat = body("a = plane(image)", "b = gaussian(a, sigma=3)", "return add(b, a)")
    assert read_text(body("return add(gaussian(plane(image), sigma=3), plane(image))")) == read_text(flat)


def test_comments_docstrings_and_blank_lines_mean_nothing():
    plain = body("return level(plane(image))")
    told = '# a note\n\ndef pipeline(image):\n    """Find it."""\n\n    # here\n    return level(plane(image))  # so\n'
    assert read_text(told) == read_text(plain)


@pytest.mark.parametrize("change", [lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t, str.rstrip])
def test_texts_that_went_through_an_editor_are_read(change):
    text = print_text(Pipeline([step("plane", IMAGE), step("level", 0)]))
    assert read_text(change(text)) == read_text(text)


def test_an_older_revision_is_warned_of_when_read():
    with pytest.warns(RevisionWarning, match=r"written with plane@0; here it is plane@\d+"):
        read_text("# evoseg 1: plane@0 level@1\n" + body("return level(plane(image))"))
    twin = '{"evoseg": 1, "steps": [{"operator": "plane", "revision": 0, "inputs": [-1]}]}'
    with pytest.warns(RevisionWarning, match="written with plane@0"):
        read_json(twin)


def test_present_revisions_are_not_warned_of():
    pipeline = Pipeline([step("plane", IMAGE), step("level", 0)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_text(print_text(pipeline))
        read_json(write_json(pipeline))
        read_text("# evoseg 1: an_operator_of_tomorrow@3\n" + body("return plane(image)"))


def test_a_text_of_another_form_says_so_before_anything_else():
    with pytest.raises(PipelineError, match="line 1: the text has format version 2; this version of evoseg reads 1"):
        read_text("# evoseg 2: plane@1\nlet pipeline = image |> plane\n")


MACROS = """
def smooth(x):
    return median(gaussian(x, sigma=3.0), radius=2)

def edge(x):
    return difference(x, smooth(x))

def pipeline(image):
    return level(edge(plane(image)))
"""


def test_macros_expand_to_plain_steps():
    smooth = "median(gaussian(a, sigma=3.0), radius=2)"
    assert read_text(MACROS) == read_text(body("a = plane(image)", f"return level(difference(a, {smooth}))"))


def test_macros_may_be_defined_in_any_order_and_take_several_values():
    text = HEAD + "    return level(two(plane(image), invert(plane(image))))\ndef two(x, y):\n    return add(x, y)\n"
    assert [s.operator for s in read_text(text).steps] == ["plane", "invert", "add", "level"]


def test_a_macro_may_ignore_a_value():
    text = "def first(x, y):\n    return x\n" + body("return level(first(plane(image), otsu(plane(image))))")
    assert read_text(text) == read_text(body("return level(plane(image))"))


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (body("a = plane(image)", "b = gausian(a)", "return level(b)"), 3, ["gausian", "did you mean gaussian"]),
        (body("a = plane(image)", "return level(aa)"), 3, ["aa", "did you mean a?"]),
        (body("return gaussian(plane(image), sgima=2)"), 2, ["sgima", "sigma"]),
        (body("return plane(image, channel='hematoxilin')"), 2, ["hematoxilin", "did you mean hematoxylin"]),
        (body("return gaussian(plane(image), sigma=0.0001)"), 2, ["sigma", "0.0001", "within"]),
        (body("a = plane(image)", "b = 3", "return a"), 3, ["only names and calls"]),
        (body("a = gaussian(image)", "return level(a)"), 2, ["gaussian", "gray", "the image", "raw"]),
        (body("a = plane(image)", "b = fill_holes(a)", "return b"), 3, ["fill_holes", "mask", "plane", "gray"]),
        (body("a = plane(image)", "return add(a)"), 3, ["add takes 2 inputs, not 1"]),
        (body("a = plane(image)", "a = level(a)", "return a"), 3, ["'a' is already used"]),
        (body("image = plane(image)", "return image"), 2, ["'image' is already used"]),
        (body("return gaussian(plane(image), operator=3)"), 2, ["operator", "sigma"]),
        (body("return gaussian(plane(image), 3)"), 2, ["only names and calls"]),
        (body("return gaussian(plane(image), sigma=True)"), 2, ["number"]),
        (body("return gaussian(plane(image), sigma=None)"), 2, ["number"]),
        (body("return gaussian(plane(image), sigma=1j)"), 2, ["number"]),
        (body("return gaussian(plane(image), sigma=-'x')"), 2, ["sign"]),
        (body("return gaussian(plane(image), sigma=- -3)"), 2, ["sign"]),
        (body("return gaussian(plane(image), sigma=1e400)"), 2, ["too large"]),
        (body("return gaussian(plane(image), sigma=image)"), 2, ["value"]),
        (body("return mix(image, weights=((1, 2), 3))"), 2, ["tuple"]),
        (body("return mix(image, weights=('a', 3))"), 2, ["tuple"]),
        (body("return plane(image, **{})"), 2, ["name=value"]),
        (body("return plane(*image)"), 2, ["only names and calls"]),
        (body("return image.T"), 2, ["only names and calls"]),
        (body("return plane(image)(image)"), 2, ["only names and calls"]),
        (body("return"), 2, ["return"]),
        (body("a = plane(image)"), 2, ["pipeline must end with 'return ...'."]),
        (body("import os", "return plane(image)"), 2, ["each statement"]),
        (body("a = b = plane(image)", "return a"), 2, ["each statement"]),
        (body("a, b = plane(image)", "return a"), 2, ["each statement"]),
        (body("a: int = plane(image)", "return a"), 2, ["each statement"]),
        (body("if image:", "    return plane(image)"), 2, ["return"]),
        ("import os\n" + body("return plane(image)"), 1, ["only function definitions"]),
        ("x = 1\n" + body("return plane(image)"), 1, ["only function definitions"]),
        ("class A: pass\n" + body("return plane(image)"), 1, ["only function definitions"]),
        ("async " + body("return plane(image)"), 1, ["only function definitions"]),
        ("@print\n" + body("return plane(image)"), 2, ["plain arguments"]),
        ("def pipeline(image=1):\n    return plane(image)", 1, ["plain arguments"]),
        ("def pipeline(*image):\n    return plane(image)", 1, ["plain arguments"]),
        ("def pipeline(image) -> int:\n    return plane(image)", 1, ["plain arguments"]),
        ("def pipeline(image: int):\n    return plane(image)", 1, ["without annotation"]),
        ("def pipeline():\n    return plane(image)", 1, ["at least one argument"]),
        ("def pipeline(a, b):\n    return plane(a)", 1, ["one argument"]),
        ("def two(x, x):\n    return x\n" + body("return plane(image)"), 1, ["two", "same name"]),
        ("def gaussian(x):\n    return x\n" + body("return plane(image)"), 1, ["gaussian", "already defined"]),
        (body("return plane(image)") * 2, 3, ["pipeline", "already defined"]),
        ("def a(x):\n    return b(x)\ndef b(x):\n    return a(x)\n" + body("return a(image)"), 4, ["a calls itself"]),
        (body("return pipeline(image)"), 2, ["pipeline calls itself"]),
        ("def a(x):\n    return x\n" + body("return a(image, image)"), 4, ["a takes 1 value", "not 2"]),
        ("def a(x):\n    return x\n" + body("return a(image, k=1)"), 4, ["a is a macro"]),
        (body("return plane(image"), 2, ["never closed"]),
    ],
)
def test_every_error_names_the_line_and_the_word(text, line, words):
    with pytest.raises(PipelineError) as caught:
        read_text(text)
    message = str(caught.value)
    assert message.startswith(f"line {line}: "), message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "no 'def pipeline"), ("def other(x):\n    return x\n", "no 'def pipeline"), (body("return image"), "itself")],
)
def test_a_text_without_a_program_says_what_is_missing(text, words):
    with pytest.raises(PipelineError, match=words):
        read_text(text)


def chain(n: int, line: str) -> str:
    """Return macros m0 ... mn, each made from the one before it."""
    macros = ["def m0(x):\n    return x\n"]
    macros += [f"def m{i}(x):\n    return {line.format(previous=f'm{i - 1}')}\n" for i in range(1, n + 1)]
    return "".join(macros) + body(f"return level(m{n}(plane(image)))")


def nested(depth: int, levels: int) -> str:
    """Return macros whose calls, taken together, are nested deeper than any stack."""
    call = "gaussian(" * depth + "{previous}(x)" + ")" * depth
    return chain(levels, call)


NASTY = {
    "brackets": "(" * 30_000,
    "closed brackets": body("return " + "(" * 150 + "image" + ")" * 150),
    "unary minus": body("return gaussian(plane(image), sigma=" + "-" * 60_000 + "1)"),
    "not": body("return " + "not " * 15_000 + "image"),
    "sum": body("return " + "+".join("1" * 30_000)),
    "attributes": body("return image" + ".a" * 30_000),
    "elif": "if a: pass\n" + "elif a: pass\n" * 4_900,
    "hex": body("return gaussian(plane(image), sigma=0x" + "f" * 65_000 + ")"),
    "huge hex": body("return gaussian(plane(image), sigma=0x" + "f" * 10_000_000 + ")"),
    "decimal": body("return gaussian(plane(image), sigma=" + "9" * 60_000 + ")"),
    "infinite": body("return gaussian(plane(image), sigma=1e400)"),
    "infinite in a tuple": body("return mix(image, weights=(1e400, -1e400))"),
    "surrogate": "\ud800",
    "surrogate in a word": body("return plane(image, channel='\ud800')"),
    "escaped surrogate": body("return plane(image, channel='\\ud800')"),
    "null": body("return plane(image)") + "\0",
    "tuple": body("return mix(image, weights=(" + "1," * 32_000 + "))"),
    "nested tuple": body("return mix(image, weights=" + "(" * 100 + "1" + ",)" * 100 + ")"),
    "long name": body("return " + "a" * 65_000 + "(image)"),
    "long word": body("return plane(image, channel='" + "a" * 65_000 + "')"),
    "long parameter": body("return plane(image, " + "a" * 65_000 + "=1)"),
    "alike names": body(*(f"{'ab' * 150}{i} = plane(image)" for i in range(190)), "return " + "ba" * 150),
    "statements": HEAD + "    a = b\n" * 6_000,
    "macros": "def m(x):\n    return x\n" * 2_400,
    "parameters": body("return plane(image, " + ", ".join(f"a{i}=1" for i in range(7_000)) + ")"),
    "arguments": body("return plane(" + "image, " * 9_000 + ")"),
    "header": "# evoseg " + "1" * 60_000 + ":\n" + body("return plane(image)"),
    "revisions": "# evoseg 1:" + " nothing@1" * 6_000 + "\n" + body("return image"),
    "doubling macros": chain(180, "{previous}({previous}(x))"),
    "doubling steps": chain(60, "add({previous}(x), {previous}(x))"),
    "two names": "def m(x, y):\n    return y\n" * 2 + body("return m(image, image)"),
    "deep macros": nested(90, 12),
    "deep calls": body("return " + "gaussian(" * 190 + "image" + ")" * 190),
    "f-string": body("return plane(image, channel=f'{__import__(\"os\")}')"),
    "bytes": body("return plane(image, channel=b'G')"),
    "lambda": body("return (lambda: image)()"),
    "star": body("return plane(*[image])"),
    "walrus": body("return plane(a := image)"),
    "tabs": HEAD + "\tx = plane(image)\n        return x\n",
    "control characters": body("return plane(image, channel='\x1b[31m')"),
    "not python": "PK\x03\x04\x14\x00\x08",
    "megabyte": body("return plane(image)  # " + "x" * 2**20),
}


@pytest.mark.parametrize("name", NASTY)
def test_nasty_texts_end_in_one_short_error_and_soon(name):
    start = process_time()
    with pytest.raises(PipelineError) as caught:
        read_text(NASTY[name])
    # Of processor time, so that other work on the machine does not count; the promise is 0.5 s.
    assert process_time() - start < 2.0
    assert len(str(caught.value)) < 1000
    str(caught.value).encode()


def test_the_largest_text_is_read_in_bounded_time():
    kernels = [step("kernel", i, weights=tuple(0.00123 * (i + k) for k in range(121))) for i in range(20)]
    text = print_text(Pipeline([step("plane", IMAGE), *kernels, *(step("gabor", i) for i in range(20, 199))]))
    text += "#" * (MAX_BYTES - len(text))
    start = process_time()
    assert len(read_text(text)) == 200
    assert process_time() - start < 2.0


def test_one_byte_more_than_allowed_is_refused_before_parsing():
    text = body("return plane(image)")
    read_text(text + "#" * (MAX_BYTES - len(text)))
    with pytest.raises(PipelineError, match="65537 bytes"):
        read_text(text + "#" * (MAX_BYTES - len(text) + 1))
    with pytest.raises(PipelineError, match="bytes"):
        read_text(text + "#" + "é" * (MAX_BYTES // 2))


def test_bytes_and_not_characters_are_counted_in_the_json_twin_too():
    with pytest.raises(PipelineError, match="bytes"):
        read_json('"' + "é" * (MAX_BYTES // 2) + '"')


def test_reading_works_near_the_end_of_the_stack():
    text = nested(20, 6)

    def down(n: int) -> str:
        if n:
            return down(n - 1)
        try:
            read_text(text)
        except PipelineError as error:
            return str(error)
        return "read"

    depth = len(list(_frames()))
    said = {down(sys.getrecursionlimit() - depth - room) for room in (120, 200, 300)}
    assert all(words == "read" or "nested" in words for words in said), said


def _frames():
    frame = sys._getframe()
    while frame:
        yield frame
        frame = frame.f_back


def only_our_error(read, text) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RevisionWarning)
            read(text)
    except PipelineError:
        pass


@settings(max_examples=100)
@given(st.text())
def test_any_text_is_read_or_refused(text):
    only_our_error(read_text, text)
    only_our_error(read_text, body(f"return {text}"))
    only_our_error(read_text, body(f"return plane(image, channel={text})"))
    only_our_error(read_json, text)


WORDS = [
    *"()[],=-+:;\n\\'\"#@~.\t\0\ud800é",
    *("*", "**", "..", "0x", "1e400", "1_0", "nan", "None", "True", "(1,)", "('a',)", "    "),
    *("lambda", "yield", "await", "def", "return", "in", "if"),
    *("image", "gaussian", "pipeline", "sigma", "operator"),
]


@settings(max_examples=100)
@given(programs(5), st.randoms(use_true_random=False))
def test_any_damaged_program_is_read_or_refused(pipeline, rng):
    only_our_error(read_text, damaged(print_text(pipeline), rng))
    only_our_error(read_json, damaged(write_json(pipeline), rng))


def damaged(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 4)):
        i, j = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        j = min(j, i + 30)
        text = rng.choice(
            [
                text[:i] + rng.choice(WORDS) + text[i:],
                text[:i] + text[j:],
                text[:j] + text[i:j] + text[j:],
                text[:i] + rng.choice(WORDS) + text[j:],
                text[:i] + text[i:j][::-1] + text[j:],
            ]
        )
    return text


@settings(max_examples=100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS[-14:]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["operator", "inputs", "params", "steps", "evoseg", "sigma"]), inner)
        ),
        max_leaves=8,
    )
)
def test_any_json_document_is_read_or_refused(document):
    import json

    only_our_error(read_json, json.dumps(document))
    only_our_error(read_json, json.dumps({"evoseg": 1, "steps": document}))
    only_our_error(read_json, json.dumps({"evoseg": 1, "steps": [document]}))
    plane = {"operator": "plane", "inputs": [-1]}
    gaussian = {"operator": "gaussian", "inputs": [0], "params": {"sigma": document}}
    only_our_error(read_json, json.dumps({"evoseg": 1, "steps": [plane, gaussian]}))


PLANE = '{"operator": "plane", "inputs": [-1]}'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"evoseg": 1, "evoseg": 1, "steps": []}', "stands twice"),
        ('{"evoseg": 1, "steps": [{"operator": "plane", "inputs": [-1], "inputs": [-1]}]}', "stands twice"),
        ('{"evoseg": 1, "steps": [{"operator": "mix", "inputs": [-1], "params": {"offset": NaN}}]}', "NaN"),
        ('{"evoseg": 1, "steps": [{"operator": "mix", "inputs": [-1], "params": {"offset": -Infinity}}]}', "Infinity"),
        ('{"evoseg": 1, "steps": [{"operator": "mix", "inputs": [-1], "params": {"offset": 1e999}}]}', "number"),
        (
            '{"evoseg": 1, "steps": [{"operator": "mix", "inputs": [-1], "params": {"offset": ' + "9" * 4000 + "}}]}",
            "large",
        ),
        ('{"evoseg": 2, "steps": []}', "starts with"),
        ('{"evoseg": true, "steps": []}', "starts with"),
        ('{"evoseg": 1, "steps": []}', "at least one step"),
        ('{"evoseg": 1}', "'steps' must be a list"),
        ('{"evoseg": 1, "steps": [], "step": 1}', "unknown key 'step'; did you mean steps"),
        ('{"evoseg": 1, "steps": [' + PLANE + ', {"operator": "gausian", "inputs": [0]}]}', "step 1: .*gaussian"),
        ('{"evoseg": 1, "steps": [{"operator": "plane", "inputs": [-1], "parms": {}}]}', "step 0: .*'parms'.*params"),
        ('{"evoseg": 1, "steps": [{"operator": "plane", "inputs": [-1], "params": {"operator": 1}}]}', "no parameter"),
        ('{"evoseg": 1, "steps": [{"operator": "plane", "inputs": [true]}]}', "step 0"),
        ('{"evoseg": 1, "steps": [{"operator": "plane", "inputs": [-2]}]}', "not an earlier step"),
        ('{"evoseg": 1, "steps": [{"operator": "plane", "inputs": [-1], "revision": "1"}]}', "revision"),
        ("[" * 30_000, "not a pipeline in JSON"),
        ("", "not a pipeline in JSON"),
        ('"\\ud800"', "starts with"),
    ],
)
def test_json_that_breaks_a_rule_is_refused_in_words(text, words):
    with pytest.raises(PipelineError, match=words) as caught:
        read_json(text)
    assert len(str(caught.value)) < 500
