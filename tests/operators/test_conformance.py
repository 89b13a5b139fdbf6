"""One suite over the whole registry: a new operator is tested the moment it is registered."""

import ast
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import pytest

import evoseg.operators
from evoseg.core.errors import PipelineError
from evoseg.core.kinds import Gray, Kind
from evoseg.operators import registry
from evoseg.operators.parameters import ContentDigest, Numbers, OneOf, Parameter, Range, Value, on_grid
from evoseg.operators.registry import WHOLE, Operator, get, operators
from evoseg.operators.strips import LARGE, in_strips
from evoseg.pipeline.explaining import operators_text
from evoseg.pipeline.jsonform import read_json, write_json
from evoseg.pipeline.textform import print_text, read_text

GOLDEN = Path(__file__).parent / "golden"
OPENCV = int(cv2.__version__.partition(".")[0])
MODULES = sorted(Path(evoseg.operators.__file__).parent.glob("*.py"))
SHAPES = [(1, 1), (2, 3), (4, 1), (1, 7), (5, 4), (31, 44)]
DTYPES = {Kind.GRAY: np.uint8, Kind.MASK: np.bool_, Kind.LABELS: np.int32, Kind.POINTS: np.float64}

every = pytest.mark.parametrize("op", operators(retired=True), ids=lambda op: op.name)


def check_every(check: Callable[[Operator], None]) -> None:
    """Run a quick check on every operator in one test, and report all operators that fail it together."""
    failures = []
    for op in operators(retired=True):
        try:
            check(op)
        except (AssertionError, PipelineError) as error:
            error.add_note(f"operator: {op.name}")
            failures.append(error)
    if failures:
        raise ExceptionGroup(f"{len(failures)} operators fail", failures)


def scene(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Draw discs, a square with a hole, lines and specks on a ramp, with little noise."""
    rows, cols = shape
    rng = np.random.default_rng([20260311, seed])
    plane = np.broadcast_to(np.linspace(60, 120, cols), shape) + np.linspace(0, 20, rows)[:, None]
    plane = plane.astype(np.uint8)
    if min(shape) > 20:
        cv2.circle(plane, (12 + 2 * seed, 14), 8, 210, -1)
        cv2.circle(plane, (40, 30 - seed), 5, 180, -1)
        cv2.rectangle(plane, (44, 4), (56, 14), 230, -1)
        cv2.rectangle(plane, (48, 7), (52, 11), 70, -1)
        cv2.line(plane, (2, 44), (58, 24), 15, 2)
        cv2.line(plane, (27, 2), (31, 46), 250, 1)
        plane[40:42, 10:12] = 255
    return np.clip(plane + rng.integers(-6, 7, shape), 0, 255).astype(np.uint8)


def value(kind: Kind, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Return a scene of a kind."""
    plane = scene(shape, seed)
    if kind == Kind.RAW:
        return np.ascontiguousarray(np.dstack([plane, scene(shape, seed + 1)[::-1], scene(shape, seed + 2)[:, ::-1]]))
    return as_kind(np.ascontiguousarray(plane > 130), kind) if kind != Kind.GRAY else plane


def as_kind(mask: np.ndarray, kind: Kind) -> np.ndarray:
    return cv2.connectedComponents(mask.view(np.uint8), ltype=cv2.CV_32S)[1] if kind == Kind.LABELS else mask


def arguments(op: Operator, shape: tuple[int, int]) -> tuple[np.ndarray, ...]:
    return tuple(value(kind, shape, slot) for slot, kind in enumerate(op.inputs))


def constant(op: Operator, shape: tuple[int, int], level: int) -> tuple[np.ndarray, ...]:
    made = []
    for kind in op.inputs:
        full = np.full((*shape, 3) if kind == Kind.RAW else shape, level, np.uint8)
        made.append(full if kind in (Kind.RAW, Kind.GRAY) else as_kind(full > 128, kind))
    return tuple(made)


def defaults(op: Operator) -> tuple[Value, ...]:
    return tuple(p.default for p in op.parameters)


def ends(parameter: Parameter) -> list[Value]:
    domain = parameter.domain
    if isinstance(domain, OneOf):
        return list(domain.values)
    if isinstance(domain, Numbers):
        sizes = {domain.least, domain.most}
        return [(end,) * n for n in sorted(sizes) for end in (float(domain.low), float(domain.high))]
    if isinstance(domain, ContentDigest):
        return [parameter.default]
    assert isinstance(domain, Range)
    return [int(end) if parameter.integer else float(end) for end in (domain.low, domain.high)]


def choices(op: Operator) -> list[tuple[Value, ...]]:
    """Return the defaults, each end of each range on its own, and all lows and all highs together."""
    found = [defaults(op)]
    for at, parameter in enumerate(op.parameters):
        found += [(*found[0][:at], end, *found[0][at + 1 :]) for end in ends(parameter)]
    found.append(tuple(ends(p)[0] for p in op.parameters))
    found.append(tuple(ends(p)[-1] for p in op.parameters))
    return list(dict.fromkeys(found))


def check_output(op: Operator, output: object, shape: tuple[int, int]) -> None:
    assert type(output) is np.ndarray
    assert output.dtype == DTYPES[op.output]
    assert output.flags.c_contiguous
    if op.output == Kind.POINTS:
        assert output.shape == (len(output), 2)
        assert np.all((output >= 0) & (output <= np.array(shape) - 1))
        assert np.isfinite(output).all()
        return
    assert output.shape == shape
    if op.output == Kind.LABELS:
        assert np.array_equal(np.unique(np.append(output, 0)), np.arange(output.max() + 1)), "labels have gaps"
    if output.dtype == np.bool_:
        assert set(np.unique(output.view(np.uint8))) <= {0, 1}


@every
def test_it_is_total_and_leaves_its_input_alone(op: Operator) -> None:
    for shape in SHAPES:
        before = arguments(op, shape)
        given = tuple(array.copy() for array in before)
        for array in given:
            array.setflags(write=False)
        for values in choices(op):
            output = op.run(given, values)
            check_output(op, output, shape)
            for array, was in zip(given, before, strict=True):
                assert not np.shares_memory(output, array)
                np.testing.assert_array_equal(array, was)


@every
def test_it_takes_flat_images(op: Operator) -> None:
    for level in (0, 77, 255):
        for values in choices(op):
            check_output(op, op.run(constant(op, (17, 23), level), values), (17, 23))


@every
def test_it_repeats_itself_whatever_ran_between(op: Operator) -> None:
    given = arguments(op, (48, 61))
    first = op.run(given, defaults(op)).copy()
    for values in choices(op)[1:3]:
        op.run(arguments(op, (31, 44)), values)
    np.testing.assert_array_equal(op.run(given, defaults(op)), first)


def placed(array: np.ndarray, offset: int) -> np.ndarray:
    """Copy an array to so many bytes past a multiple of 64 in memory."""
    buffer = np.empty(array.nbytes + 128, np.uint8)
    start = -buffer.ctypes.data % 64 + offset
    copy = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@every
def test_where_in_memory_an_array_lies_changes_nothing(op: Operator) -> None:
    for shape in ((48, 61), (4000, 1)):
        given = arguments(op, shape)
        first = op.run(tuple(placed(array, 0) for array in given), defaults(op))
        for offset in (8, 16, 24, 40):
            between = np.empty(97 * offset)  # moves what the operator allocates for itself, too
            moved = tuple(placed(array, offset + (array.itemsize == 1)) for array in given)
            np.testing.assert_array_equal(op.run(moved, defaults(op)), first, err_msg=f"{offset} bytes on")
            del between


def magnitudes() -> bool:
    """Run an operator, then return whether OpenCV's magnitude, with IPP the least stable, is the same anywhere."""
    op = get("channel")
    op.run(arguments(op, (5, 4)), defaults(op))
    noise = np.random.default_rng(5).integers(0, 256, (100, 100), np.uint8)
    along, down = cv2.Sobel(noise, cv2.CV_32F, 1, 0), cv2.Sobel(noise, cv2.CV_32F, 0, 1)
    places = ((0, 0, 0), (16, 32, 48), (48, 16, 32), (32, 48, 0), (16, 0, 16))
    found = [cv2.magnitude(placed(along, a), placed(down, b), placed(along, c)) for a, b, c in places]
    return all(np.array_equal(found[0], other) for other in found)


def test_the_arithmetic_of_every_thread_that_runs_operators_is_reproducible() -> None:
    with ThreadPoolExecutor(1) as pool:  # a new thread begins with OpenCV's own settings
        assert pool.submit(magnitudes).result()
    assert magnitudes()


@every
def test_transposed_memory_gives_the_same_pixels(op: Operator) -> None:
    given = arguments(op, (48, 61))
    strided = tuple(np.repeat(array, 2, axis=1)[:, ::2] for array in given)
    np.testing.assert_array_equal(op.run(strided, defaults(op)), op.run(given, defaults(op)))


@every
def test_nothing_beyond_its_reach_changes_the_result(op: Operator) -> None:
    shape = (61, 397)  # long enough for large reaches, and divisible by nothing
    rng = np.random.default_rng(7)
    base = tuple(
        np.ascontiguousarray(np.hstack([a] * (397 // a.shape[1] + 1))[:, :397]) for a in arguments(op, (61, 99))
    )
    for values in choices(op):
        reach = op.reach(values)
        if reach == WHOLE or reach >= 380:
            continue
        expected = op.run(base, values)
        for col in (0, 396, int(rng.integers(100, 300))):
            changed = tuple(array.copy() for array in base)
            for array in changed:
                patch = array[20:23, col]
                array[20:23, col] = ~patch if array.dtype == np.bool_ else 255 - patch
            far = np.abs(np.arange(shape[1]) - col) > reach
            np.testing.assert_array_equal(op.run(changed, values)[:, far], expected[:, far], err_msg=f"{values}")


@every
def test_strips_of_a_large_image_give_the_same_pixels(op: Operator) -> None:
    for values in choices(op):
        reach = op.reach(values)
        if reach == WHOLE:
            continue
        height = max(7, reach // 2)
        arrays = tuple(tall(array, 5 * height + 73) for array in arguments(op, (48, 61)))
        filtered = partial(op.function, **op.named(values))
        np.testing.assert_array_equal(
            in_strips(filtered, arrays, reach, height), filtered(*arrays), err_msg=f"{op.named(values)}"
        )


def tall(array: np.ndarray, rows: int) -> np.ndarray:
    """Repeat an image downwards, with noise that does not repeat."""
    long = np.ascontiguousarray(np.concatenate([array] * (rows // len(array) + 1))[:rows])
    noise = np.random.default_rng(11).random(long.shape)
    return long ^ (noise > 0.99) if long.dtype == np.bool_ else np.where(noise > 0.8, long // 2 + 60, long)


@pytest.mark.parametrize("name", ["oriented", "guided", "window_flat", "mix", "sauvola", "median"])
def test_a_large_image_is_filtered_as_a_whole_would_be(name: str) -> None:
    op = get(name)
    arrays = tuple(tall(array, 1500) for array in arguments(op, (300, 700)))
    assert arrays[0].shape[0] * arrays[0].shape[1] > LARGE
    np.testing.assert_array_equal(op.run(arrays, defaults(op)), op.function(*arrays, **op.named(defaults(op))))


@pytest.mark.parametrize("op", [op for op in operators() if op.commutative], ids=lambda op: op.name)
def test_it_is_commutative_if_it_says_so(op: Operator) -> None:
    inputs = arguments(op, (48, 61))
    for values in choices(op):
        expected = op.run(inputs, values)
        for order in permutations(inputs):
            np.testing.assert_array_equal(op.run(order, values), expected)


def test_every_docstring_tells_of_every_input_and_parameter() -> None:
    check_every(check_docstring)


def check_docstring(op: Operator) -> None:
    text = op.function.__doc__
    assert op.summary.endswith(".")
    assert len(op.summary) < 121
    for section in ("Parameters\n", "Returns\n"):
        assert section in text
    described = text.partition("Parameters\n")[2].partition("Returns\n")[0]
    names = {n.strip() for line in described.splitlines() if " : " in line for n in line.split(" : ")[0].split(",")}
    assert {p.name for p in op.parameters} <= names
    assert len(names) == len(op.inputs) + len(op.parameters)


def test_every_cost_and_reach_is_sound() -> None:
    check_every(check_cost_and_reach)


def check_cost_and_reach(op: Operator) -> None:
    for values in choices(op):
        assert 0 < op.cost(values) < 60
        assert op.reach(values) >= 0 or op.reach(values) == WHOLE


def test_defaults_and_both_ends_of_every_range_are_on_the_grid() -> None:
    """Otherwise a value could be rounded out of its range, and a printed text could not be read."""
    check_every(check_ranges)


def check_ranges(op: Operator) -> None:
    for parameter in op.parameters:
        assert parameter.check(parameter.default) == parameter.default
        for end in ends(parameter):
            assert parameter.check(end) == end
        if isinstance(parameter.domain, Range | Numbers):
            low, high = parameter.domain.low, parameter.domain.high
            assert (on_grid(low), on_grid(high)) == (low, high)
        if isinstance(parameter.domain, Range):
            with pytest.raises(PipelineError):
                parameter.check(parameter.domain.high + 1)


def drawn(op: Operator, output: np.ndarray) -> np.ndarray:
    """Return a result as an 8-bit picture: labels by their numbers, points by their places to a tenth of a pixel."""
    if op.output == Kind.MASK:
        return output.view(np.uint8) * 255
    if op.output == Kind.POINTS:
        picture = np.zeros((480, 610), np.uint8)
        row, col = np.rint(10 * output).astype(int).T
        picture[row, col] = 255
        return picture
    return output.astype(np.uint8) if op.output == Kind.LABELS else output


def _is_older_rounding(op: Operator, picture: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether OpenCV 4, whose interpolation rounds differently, explains a difference."""
    return OPENCV < 5 and op.output is Kind.GRAY and bool(cv2.absdiff(picture, expected).max() <= 2)


@every
def test_it_matches_its_golden_image(op: Operator, update_golden: bool, tmp_path: Path) -> None:
    output = op.run(arguments(op, (48, 61)), defaults(op))
    picture = drawn(op, output)
    path = GOLDEN / f"{op.name}.png"
    if update_golden:
        cv2.imwrite(str(path), picture)
    assert path.exists(), f"{path.name} is missing; look at the result, then run with --update-golden"
    expected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if not np.array_equal(picture, expected) and not _is_older_rounding(op, picture, expected):
        for name, array in (
            ("expected", expected),
            ("actual", picture),
            ("difference", cv2.absdiff(picture, expected)),
        ):
            cv2.imwrite(str(tmp_path / f"{name}.png"), array)
        pytest.fail(f"{op.name} changed at {np.sum(picture != expected)} pixels; see {tmp_path}")


def test_no_golden_image_is_left_over_or_empty() -> None:
    assert {p.stem for p in GOLDEN.glob("*.png")} == {op.name for op in operators(retired=True)}
    dull = {p.stem for p in GOLDEN.glob("*.png") if np.ptp(cv2.imread(str(p), cv2.IMREAD_GRAYSCALE)) == 0}
    assert dull == set()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("op", [op for op in operators() if op.inputs == (Kind.RAW,)], ids=lambda op: op.name)
def test_intake_takes_every_image(op: Operator, dtype: type, channels: int) -> None:
    top = {np.uint8: 255, np.uint16: 65535, np.float32: 1.0}[dtype]
    rng = np.random.default_rng(3)
    for shape in ((1, 1), (2, 3), (31, 44)):
        image = (rng.random((*shape, channels)) * top).astype(dtype)
        if dtype is np.float32 and shape == (31, 44):
            image[0, :6] = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, -1.0])[:, None]
        before = image.copy()
        for values in choices(op):
            check_output(op, op.run((image,), values), shape)
        np.testing.assert_array_equal(image, before)


def test_names_in_modules_are_unique_and_imports_few() -> None:
    """An exported program is a file of copied functions and constants, so names must not meet in it."""
    allowed = {
        "base64",
        "cv2",
        "functools",
        "hashlib",
        "math",
        "numpy",
        "numpy.typing",
        "threading",
        "typing",
        "collections.abc",
    }
    named: Counter[str] = Counter()
    for path in MODULES:
        if path.stem in ("__init__", "registry", "parameters", "docstrings", "strips", "network_file"):
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                named[node.name] += 1
            elif isinstance(node, ast.Assign):
                named.update(target.id for target in node.targets if isinstance(target, ast.Name))
            elif isinstance(node, ast.AnnAssign):
                named.update([ast.unparse(node.target)])
            elif isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= allowed, path.name
            elif isinstance(node, ast.ImportFrom):
                assert node.module is not None
                assert node.module in allowed or node.module.startswith("evoseg."), path.name
                assert all(alias.asname is None for alias in node.names), path.name
            else:
                assert isinstance(node, ast.Expr), f"{path.name} runs code when imported"
    assert [name for name, count in named.items() if count > 1] == []


@pytest.fixture
def old_and_new():
    """Register an operator that had another name, and one that is retired; both go again."""

    @registry.operator(revision=1, cost=0.1, reach=0, aliases=("brightness_flip",))
    def flip_brightness(plane: Gray) -> Gray:
        """Swap bright and dark."""
        return 255 - plane

    @registry.operator(revision=1, cost=0.1, reach=0, retired=True)
    def halve_brightness(plane: Gray) -> Gray:
        """Halve every level."""
        return plane // 2

    yield
    registry.unregister("flip_brightness")
    registry.unregister("halve_brightness")


def test_a_pipeline_with_an_earlier_name_reads_and_is_printed_with_the_present_one(old_and_new):
    text = "def pipeline(image):\n    return brightness_flip(channel(image))\n"
    pipeline = read_text(text)
    assert "flip_brightness(" in print_text(pipeline) and "brightness_flip" not in print_text(pipeline)
    assert read_json(write_json(pipeline).replace("flip_brightness", "brightness_flip")) == pipeline
    with pytest.raises(TypeError, match="registered twice"):
        registry.operator(revision=1, cost=0.1, reach=0)(named("brightness_flip"))


def named(name: str):
    def function(plane: Gray) -> Gray:
        """Do nothing."""
        return plane

    function.__name__ = name
    return function


def test_a_retired_operator_is_read_run_and_exported_but_not_proposed(old_and_new):
    assert "halve_brightness" not in {op.name for op in registry.operators()}
    assert "halve_brightness" in {op.name for op in registry.operators(retired=True)}
    pipeline = read_text("def pipeline(image):\n    return halve_brightness(channel(image))\n")
    assert pipeline(np.full((3, 4, 1), 8, np.uint8)).tolist() == [[4] * 4] * 3
    assert "retired" in operators_text([registry.get("halve_brightness")])


def test_a_docstring_is_completed_by_the_signature(old_and_new):
    assert registry.get("flip_brightness").function.__doc__ == (
        "Swap bright and dark.\n\nParameters\n----------\nplane : uint8 array of shape (M, N)\n\n"
        "Returns\n-------\nuint8 array of shape (M, N)"
    )
    assert "radius : int, px\n    Of a disk; above 3 px" in registry.get("erode").function.__doc__
