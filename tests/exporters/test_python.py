"""An exported file gives the same pixels as evoseg, without evoseg."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from evoseg.core.kinds import Kind
from evoseg.exporters import standalone
from evoseg.exporters.excerpts import Excerpts, ExportError
from evoseg.exporters.python import export_python
from evoseg.operators import registry
from evoseg.operators.network import add_network
from evoseg.operators.parameters import OneOf, Parameter, Range, Value
from evoseg.operators.registry import Operator, operators
from evoseg.pipeline import read_text
from evoseg.pipeline.value import IMAGE, Pipeline, Step
from evoseg.runs.network_folders import save_networks
from tests.operators.networks import deep_network

# Runs every file named in the plan on every image of it, in one process that must not see evoseg.
RUNNER = """
import builtins, dis, importlib.util, json, sys
from pathlib import Path
import numpy as np

def globals_used(code):
    yield from (i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL")
    for inner in code.co_consts:
        if hasattr(inner, "co_code"):
            yield from globals_used(inner)

images = [np.load(path) for path in json.loads(sys.argv[1])]
for path in map(Path, json.loads(sys.argv[2])):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for k, image in enumerate(images):
        np.save(path.with_suffix(f".{k}.npy"), module.pipeline(image))
    assert module.self_test(), path.name
    # Branches that these images do not reach must find their names too.
    for value in list(vars(module).values()):
        code = getattr(getattr(value, "__wrapped__", value), "__code__", None)
        if code and value.__module__ == path.stem:
            missing = {n for n in globals_used(code) if not hasattr(module, n) and not hasattr(builtins, n)}
            assert not missing, (path.name, missing)
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"evoseg", "skimage", "scipy"}, loaded
"""


def isolated(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with -I in a folder that holds nothing of ours."""
    command = [sys.executable, "-I", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=180, check=False)


def images() -> list[np.ndarray]:
    rng = np.random.default_rng(20260311)
    noise = cv2.GaussianBlur(rng.random((67, 93, 3), np.float32), (0, 0), 2.0)
    return [
        (noise * 255).astype(np.uint8),
        (noise[:, :, :1] * 4095).astype(np.uint16),
        noise,
        np.full((5, 7, 3), 90, np.uint8),
    ]


def sources() -> dict[Kind, list[Step]]:
    """Return for each kind the shortest program of default operators that makes it from an image."""
    found: dict[Kind, list[Step]] = {Kind.RAW: []}
    while True:
        fitting = [op for op in operators() if op.output not in found and all(kind in found for kind in op.inputs)]
        if not fitting:
            return found
        op = min(fitting, key=lambda op: (sum(len(found[kind]) for kind in op.inputs), op.name))
        found[op.output] = joined(op, found)


def joined(op: Operator, given: dict[Kind, list[Step]], values: tuple[Value, ...] | None = None) -> list[Step]:
    """Return a program that ends in `op`, with default parameters if none are given."""
    steps: list[Step] = []
    inputs = []
    for kind in op.inputs:
        start = len(steps)
        steps += [
            Step(s.operator, tuple(j if j == IMAGE else j + start for j in s.inputs), s.params) for s in given[kind]
        ]
        inputs.append(len(steps) - 1 if given[kind] else IMAGE)
    return [*steps, Step(op.name, tuple(inputs), values or tuple(p.default for p in op.parameters))]


def pipelines() -> dict[str, Pipeline]:
    given = sources()
    return {op.name: Pipeline(joined(op, given)) for op in operators()}


def variants() -> dict[str, Pipeline]:
    """Return every operator with each of its words in turn, and with the ends of its ranges."""
    given = sources()
    made = {}
    for op in operators():
        words = max([len(p.domain.values) for p in op.parameters if isinstance(p.domain, OneOf)], default=0)
        for k in range(max(2, words) if op.parameters else 0):
            values = tuple(varied(p, k) for p in op.parameters)
            made[f"{op.name}_{k}"] = Pipeline(joined(op, given, values))
    return made


def varied(parameter: Parameter, k: int) -> Value:
    domain = parameter.domain
    if isinstance(domain, OneOf):
        return domain.values[k % len(domain.values)]
    if isinstance(domain, Range):
        return parameter.nearest(domain.high if k % 2 else domain.low)
    return parameter.default


@pytest.mark.parametrize(
    "programs",
    [pytest.param(pipelines, id="defaults"), pytest.param(variants, id="ends of ranges", marks=pytest.mark.e2e)],
)
def test_every_default_operator_gives_the_same_pixels_without_evoseg(programs, tmp_path):
    made = programs()
    assert len(made) > 50
    pictures = images()
    inputs = []
    for k, picture in enumerate(pictures):
        inputs.append(str(tmp_path / f"image{k}.npy"))
        np.save(inputs[-1], picture)
    files = []
    for name, pipeline in made.items():
        files.append(tmp_path / f"{name}.py")
        files[-1].write_text(export_python(pipeline), "utf-8")
    done = isolated("-c", RUNNER, json.dumps(inputs), json.dumps([str(f) for f in files]), cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    for file, pipeline in zip(files, made.values(), strict=True):
        for k, picture in enumerate(pictures):
            result = np.load(file.with_suffix(f".{k}.npy"))
            expected = pipeline(picture)
            assert result.dtype == expected.dtype, file.stem
            assert np.array_equal(result, expected), f"{file.stem} on image {k}"


def test_operators_of_all_families_fit_into_one_file(tmp_path):
    # Helpers of the same name in two modules must not overwrite each other.
    planes = [p.steps for p in pipelines().values() if p.output is Kind.GRAY]
    steps: list[Step] = []
    ends = []
    for chain in planes:
        start = len(steps)
        steps += [Step(s.operator, tuple(j if j == IMAGE else j + start for j in s.inputs), s.params) for s in chain]
        ends.append(len(steps) - 1)
    mix = next(op for op in operators() if op.inputs == (Kind.GRAY, Kind.GRAY) and op.output is Kind.GRAY)
    values = tuple(p.default for p in mix.parameters)
    last = ends[0]
    for end in ends[1:]:
        steps.append(Step(mix.name, (last, end), values))
        last = len(steps) - 1
    file = tmp_path / "all.py"
    file.write_text(export_python(Pipeline(steps)), "utf-8")
    done = isolated(file, "--self-test", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def masking() -> Pipeline:
    return next(p for p in pipelines().values() if p.output is Kind.MASK)


def test_the_file_is_readable_and_says_where_it_comes_from():
    pipeline = masking()
    text = export_python(pipeline)
    ast.parse(text)
    assert pipeline.digest in text
    assert "Apache License" in text
    assert "Annotated" not in text
    assert "@operator" not in text
    assert max(map(len, text.splitlines())) <= 120
    assert {n.split()[1].split(".")[0] for n in text.splitlines() if n.startswith(("import ", "from "))} <= {
        *sys.stdlib_module_names,
        "numpy",
        "cv2",
    }


def test_the_export_is_the_same_every_time():
    assert export_python(masking()) == export_python(masking())


def test_the_command_line_of_the_file_writes_masks_and_overwrites_nothing(tmp_path):
    pipeline = masking()
    (tmp_path / "file.py").write_text(export_python(pipeline), "utf-8")
    picture = images()[0]
    cv2.imwrite(str(tmp_path / "a.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    done = isolated("file.py", "a.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = cv2.imread(str(tmp_path / "a_mask.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(written, pipeline(picture) * np.uint8(255))
    again = isolated("file.py", "a.png", cwd=tmp_path)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_the_command_line_of_the_file_explains_itself_and_its_errors(tmp_path):
    (tmp_path / "file.py").write_text(export_python(masking()), "utf-8")
    (tmp_path / "b.png").write_text("not an image")
    assert "--self-test" in isolated("file.py", cwd=tmp_path).stdout
    assert "not an image" in isolated("file.py", "b.png", cwd=tmp_path).stderr


def test_a_changed_file_fails_its_self_test(tmp_path):
    text = export_python(masking())
    changed = text.replace(
        "def self_test", "@checked\ndef pipeline(image):\n    return np.zeros((2, 2), bool)\n\n\ndef self_test"
    )
    (tmp_path / "file.py").write_text(changed, "utf-8")
    done = isolated("file.py", "--self-test", cwd=tmp_path)
    assert done.returncode == 1
    assert "self-test FAILED" in done.stdout


def test_what_cannot_be_copied_is_refused_rather_than_left_out():
    with pytest.raises(ExportError, match="cannot be copied"):
        Excerpts({}).add(registry.__name__, "Operator")


@pytest.mark.parametrize(("depth", "shape"), [("uint8", (96, 131, 3)), ("uint16", (131, 96, 1))])
def test_the_drawn_images_are_varied_and_not_square(depth, shape):
    image = standalone.drawn_image(depth)
    assert (image.dtype, image.shape) == (np.dtype(depth), shape)
    assert len(np.unique(image)) > 150


def asking_pipeline() -> Pipeline:
    """Return a program that asks a network for two planes of an image at half its resolution."""
    weights = add_network(deep_network(channels=3, reduction=2, n_planes=2))
    return read_text(
        "def pipeline(image):\n"
        f'    foreground = network(image, weights="{weights}")\n'
        f'    distance = network(image, weights="{weights}", output="distance")\n'
        "    return threshold(maximum(gaussian(foreground), distance), level=120)\n"
    )


@pytest.mark.parametrize("beside", [False, True])
def test_a_file_that_asks_a_network_gives_the_same_planes_without_evoseg(beside, tmp_path):
    mask = asking_pipeline()
    made = [mask, *(mask.until(i) for i, s in enumerate(mask.steps) if s.operator == "network")]
    files = [tmp_path / f"find{i}.py" for i in range(len(made))]
    for file, pipeline in zip(files, made, strict=True):
        file.write_text(export_python(pipeline, networks_beside=beside), "utf-8")
    if beside:
        save_networks(mask, tmp_path)
    inputs = []
    for k, picture in enumerate(images()):
        inputs.append(str(tmp_path / f"image{k}.npy"))
        np.save(inputs[-1], picture)
    done = isolated("-c", RUNNER, json.dumps(inputs), json.dumps([str(f) for f in files]), cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    for file, pipeline in zip(files, made, strict=True):
        for k, picture in enumerate(images()):
            found, expected = np.load(file.with_suffix(f".{k}.npy")), pipeline(picture)
            # The same functions and the same OpenCV: equal, not only within one level.
            assert np.array_equal(found, expected), f"{file.stem} on image {k}"


def test_the_code_of_a_file_comes_before_its_networks():
    text = export_python(asking_pipeline())
    assert text.index("def pipeline(image)") < text.index("def main(") < text.index("\nNETWORK_FILES = {")
    assert max(map(len, text.splitlines())) <= 120
    ast.parse(text)
    assert "zlib" not in export_python(read_text("def pipeline(image):\n    return threshold(channel(image))\n"))


def test_a_file_with_another_network_fails_its_self_test(tmp_path):
    pipeline, file = asking_pipeline(), tmp_path / "find.py"
    file.write_text(export_python(pipeline).replace("alpha=255", "alpha=245"), "utf-8")
    done = isolated(file, "--self-test", cwd=tmp_path)
    assert done.returncode == 1 and "uint8, uint16" in done.stdout
    file.write_text(export_python(pipeline, networks_beside=True), "utf-8")
    name = f"{pipeline.networks[0]}.onnx"
    assert f"{name}: cannot be read" in isolated(file, "--self-test", cwd=tmp_path).stderr
    (tmp_path / name).write_bytes(b"something else")
    assert "the network is damaged" in isolated(file, "--self-test", cwd=tmp_path).stderr
