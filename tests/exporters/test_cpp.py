"""The C++ form: what it carries and refuses; with a compiler and OpenCV, that it gives the same pixels."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from evoseg.core.kinds import Kind
from evoseg.evolve.proposers.random_programs import select_usable
from evoseg.exporters import cpp, standalone
from evoseg.exporters.excerpts import ExportError
from evoseg.exporters.targets import exported
from evoseg.operators.network import cut_tiles
from evoseg.operators.registry import Operator, operators
from evoseg.pipeline import Pipeline, Step, read_text
from evoseg.runs.exports import write_export
from tests.exporters.test_python import asking_pipeline
from tests.operators.networks import deep_network
from tests.operators.test_conformance import choices

SIMPLE = "def pipeline(image):\n    return remove_small(threshold(flatten(channel(image))), area=30)\n"


def on_drawing(op: Operator, values: tuple) -> Pipeline:
    """Return a program that applies an operator to planes and masks of the drawn image."""
    if op.inputs[0] is Kind.RAW:
        return Pipeline([Step(op.name, (-1,), values)])
    steps = [Step("channel", (-1,), (0,)), Step("channel", (-1,), (2,)), Step("sharpen", (0,), (2.0, 1.0))]
    steps.append(Step("flatten", (1,), (20.0,)))
    inputs = []
    for slot, kind in enumerate(op.inputs):
        if kind is Kind.MASK:
            steps.append(Step("threshold", (slot % 2,), ((150, 110, 128)[slot % 3], "bright")))
        inputs.append(len(steps) - 1 if kind is Kind.MASK else slot % 4)
    return Pipeline([*steps, Step(op.name, tuple(inputs), values)])


def carried(op: Operator) -> bool:
    return cpp.FILTERS.carry(op) and not op.ready_made


def built(source: str, folder: Path, *options: str, modules: tuple[str, ...] = ("imgproc", "core")) -> Path:
    """Compile a file; skip the test where there is no compiler or a module of OpenCV is missing."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    places = map(Path, ("/usr/include/opencv4", "/usr/local/include/opencv4"))
    headers = [f"opencv2/{module}.hpp" for module in modules]
    include = next((p for p in places if all((p / header).is_file() for header in headers)), None)
    if compiler is None or include is None:
        packages = " ".join(f"libopencv-{module}-dev" for module in modules)
        pytest.skip(f"needs a C++ compiler and OpenCV; on Debian: apt-get install g++ {packages}")
    file = folder / "program.cpp"
    file.write_text(source)
    command = [compiler, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{include}", *options, str(file)]
    command += ["-o", str(folder / "program"), *(f"-lopencv_{module}" for module in modules)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    return folder / "program"


def test_it_carries_every_default_operator_of_masks_and_refuses_the_rest_by_name():
    assert {op.name for op in select_usable(operators(retired=True), Kind.MASK) if not cpp.FILTERS.carry(op)} == set()
    pipeline = read_text("def pipeline(image):\n    return centroids(threshold(channel(image)))\n")
    with pytest.raises(ExportError, match=r"'centroids': not supported.*--to python.*--target cpp"):
        cpp.namespace([pipeline])
    with pytest.raises(ExportError, match=r"only masks and planes are exported to C\+\+.*--to python"):
        exported(pipeline, "cpp")


def test_a_file_holds_the_filters_that_it_needs_and_no_others():
    source = exported(read_text(SIMPLE), "cpp")
    assert "evoseg::remove_small(threshold_1, 30)" in source
    assert "cv::Mat smooth(" in source
    assert "gabor" not in source


def test_fingerprints_are_fnv_1a():
    # Of "a" and "foobar", from the algorithm's authors.
    assert cpp.hash_of(np.frombuffer(b"a", np.uint8)) == 0xAF63DC4C8601EC8C
    assert cpp.hash_of(np.frombuffer(b"foobar", np.uint8)) == 0x85944171F73967E8


@pytest.mark.cpp
def test_an_exported_file_passes_its_own_test(tmp_path):
    program = built(exported(read_text(SIMPLE), "cpp"), tmp_path, "-DEVOSEG_SELF_TEST")
    done = subprocess.run([program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "uint8: as expected\nuint16: as expected\n")


@pytest.mark.cpp
def test_a_file_that_gives_something_else_fails_its_own_test(tmp_path):
    source = exported(read_text(SIMPLE), "cpp").replace("(threshold_1, 30)", "(threshold_1, 3000)")
    done = subprocess.run([built(source, tmp_path, "-DEVOSEG_SELF_TEST")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "DIFFERS" in done.stdout


@pytest.mark.cpp
def test_every_operator_gives_the_same_pixels_at_both_ends_of_its_ranges(tmp_path):
    made = [(op, v, on_drawing(op, v)) for op in operators() if carried(op) for v in choices(op)]
    functions = [cpp.function(pipeline, f"pipeline_{i}") for i, (_, _, pipeline) in enumerate(made)]
    calls = "".join(f"    for (const auto& image : images) put(pipeline_{i}(image));\n" for i in range(len(made)))
    main = (
        "void put(const cv::Mat& m) { for (int r = 0; r < m.rows; ++r) std::fwrite(m.ptr(r), 1, m.cols, stdout); }\n"
        f"int main() {{\n    const cv::Mat images[] = {{drawn_image(false), drawn_image(true)}};\n{calls}}}\n"
    )
    # fingerprint() is not called here.
    source = cpp.INCLUDES + cpp.namespace(p for *_, p in made) + cpp.DRAWING + "\n".join(functions) + main
    found = subprocess.run([built(source, tmp_path, "-Wno-unused-function")], capture_output=True, check=True).stdout
    size, place, apart = 96 * 131, 0, {}
    for op, values, pipeline in made:
        for depth in standalone.DEPTHS:
            expected = pipeline(standalone.drawn_image(depth)).view(np.uint8)
            actual = np.frombuffer(found, np.uint8, size, place).reshape(expected.shape)
            place += size
            difference = np.abs(actual.astype(int) - expected)
            # Versions of OpenCV round float filters differently, now and then.
            allowed = 1 if op.output is Kind.GRAY else 0
            if difference.max() > allowed or (difference > 0).mean() > 0.001:
                apart[op.name] = (values, depth, int(difference.max()), float((difference > 0).mean()))
    assert place == len(found)
    assert apart == {}


def test_only_files_that_ask_networks_need_opencvs_dnn():
    assert "dnn" not in exported(read_text(SIMPLE), "cpp")
    source = exported(asking_pipeline(), "cpp")
    assert "#include <opencv2/dnn.hpp>" in source and "-lopencv_dnn" in source
    assert f"({asking_pipeline().networks[0]}.onnx)" in source


@pytest.mark.cpp
def test_a_file_that_asks_a_network_passes_its_own_test_and_fails_it_with_another_network(tmp_path):
    pipeline = asking_pipeline()
    write_export(pipeline, "cpp", tmp_path / "find.cpp")
    source, modules = (tmp_path / "find.cpp").read_text(), ("dnn", "imgproc", "core")
    program = built(source, tmp_path, "-DEVOSEG_SELF_TEST", modules=modules)
    done = subprocess.run([program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "uint8: as expected\nuint16: as expected\n"), done.stderr
    other = deep_network(seed=1, channels=3, reduction=2, n_planes=2)
    (tmp_path / f"{pipeline.networks[0]}.onnx").write_bytes(other)
    done = subprocess.run([program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "DIFFERS" in done.stdout


@pytest.mark.cpp
def test_tiles_of_a_network_are_those_of_python(tmp_path):
    asked = [
        (length, most, margin, 16) for length in (1, 400, 2049, 9999) for most in (300, 1448) for margin in (64, 224)
    ]
    calls = "".join(
        f"    for (const auto& t : evoseg::cut_tiles({length}, {most}, {margin}, {block}))\n"
        '        std::printf("%d %d %d %d\\n", t[0], t[1], t[2], t[3]);\n'
        for length, most, margin, block in asked
    )
    source = cpp.includes([asking_pipeline()]) + cpp.namespace([asking_pipeline()]) + f"int main() {{\n{calls}}}\n"
    program = built(source, tmp_path, "-Wno-unused-function", modules=("dnn", "imgproc", "core"))
    found = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    expected = [tile for one in asked for tile in cut_tiles(*one)]
    assert [tuple(map(int, line.split())) for line in found.splitlines()] == expected
