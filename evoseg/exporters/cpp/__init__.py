"""A pipeline as one C++ file that needs OpenCV's core and imgproc only, and its dnn if it asks a network."""

from collections.abc import Iterable
from textwrap import wrap
from typing import Any

from numpy.typing import NDArray

from evoseg import __version__
from evoseg.core.kinds import Kind
from evoseg.exporters import standalone
from evoseg.exporters.blocks import Filters
from evoseg.exporters.excerpts import ExportError
from evoseg.exporters.network_planes import facts_of, network_planes_of
from evoseg.operators.parameters import Value
from evoseg.pipeline.textform import names_of
from evoseg.pipeline.value import Pipeline

FILTERS = Filters(
    "cpp",
    "C++ files",
    "cpp/filters.cpp",
    r"\A(?:constexpr int|using|enum class|struct|[\w:<>]+) (\w+)",
    (Kind.MASK, Kind.GRAY),
)

_HEADER = """\
// {what}, by a pipeline that evoseg {version} wrote.
//
// It needs C++17 and OpenCV ({modules}), and nothing of evoseg:
//
//     g++ -std=c++17 -O2 -c FILE.cpp $(pkg-config --cflags opencv4)
//
// `pipeline(image)` takes an 8-bit, 16-bit or float cv::Mat with colours in the order R, G, B and returns a CV_8U
// one{returned}. To check that a machine gives the same result as the one that wrote the file:
//
//     g++ -std=c++17 -O2 -DEVOSEG_SELF_TEST FILE.cpp $(pkg-config --cflags opencv4) {libraries}
//     ./a.out
//
{networks}// Digest of the pipeline: {digest}
// The filters are part of evoseg, licensed under the Apache License, Version 2.0:
// https://www.apache.org/licenses/LICENSE-2.0

"""

_WIDTH = 112

INCLUDES = """\
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <vector>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

"""

_NETWORK_INCLUDES = """\
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <opencv2/dnn.hpp>
"""

_NETWORK_NOTE = """\
// The networks' files ({files}) are read from `evoseg::network_folder`, by default the folder
// in which the program runs.
//
"""

_SELF_TEST = """
#ifdef EVOSEG_SELF_TEST
{drawing}
int main() {{
    const struct {{ const char* depth; cv::Mat image; std::uint64_t expected; }} tests[] = {{
{expected}
    }};
    int failed = 0;
    for (const auto& test : tests) {{
        {same}
        std::printf("%s: %s\\n", test.depth, same ? "as expected" : "DIFFERS from what evoseg gave");
        failed += !same;
    }}
    return failed ? 1 : 0;
}}
#endif
"""

DRAWING = """\
// Discs, a thin line and grain on a slanted ground, by integers only.
cv::Mat drawn_image(bool deep) {
    cv::Mat shades(96, 131, CV_32S);
    for (int row = 0; row < 96; ++row)
        for (int col = 0; col < 131; ++col) {
            const auto disc = [&](int r, int c, int limit) {
                return (row - r) * (row - r) + (col - c) * (col - c) < limit;
            };
            int ground = 90 + row / 4 + col / 6;
            if (disc(30, 34, 300)) ground += 80;
            if (disc(62, 90, 420)) ground -= 70;
            if (disc(20, 100, 40)) ground += 60;
            if (std::abs(3 * row - col - 110) < 5) ground -= 50;
            const int grain = (row * 7919 + col * 104729 + row * col * 31) % 23;
            shades.at<int>(row, col) = std::min(std::max(ground + grain, 0), 255) | grain << 8;
        }
    cv::Mat image = deep ? cv::Mat(131, 96, CV_16U) : cv::Mat(96, 131, CV_8UC3);
    for (int row = 0; row < 96; ++row)
        for (int col = 0; col < 131; ++col) {
            const int shade = shades.at<int>(row, col) & 255, grain = shades.at<int>(row, col) >> 8;
            if (deep) image.at<ushort>(col, row) = ushort(shade * 200);
            else image.at<cv::Vec3b>(row, col) = {uchar(shade), uchar(shade / 2 + 2 * grain), uchar(235 - shade / 2)};
        }
    return image;
}

// FNV-1a, 64 bits (Fowler, Noll, Vo).
std::uint64_t fingerprint(const cv::Mat& result) {
    std::uint64_t hash = 14695981039346656037ull;
    for (int row = 0; row < result.rows; ++row)
        for (int col = 0; col < result.cols; ++col) hash = (hash ^ result.at<uchar>(row, col)) * 1099511628211ull;
    return hash;
}
"""


_SAME = "const bool same = fingerprint(pipeline(test.image)) == test.expected;"
_SAME_BUT_A_LEVEL = """\
bool same = true;
        for (const auto& stored : stored_planes) {{
            if (std::string(stored.depth) != test.depth) continue;
            const cv::Mat expected = from_hexadecimal(stored.digits, test.image.size());
            const cv::Mat found = evoseg::network(test.image, stored.weights, stored.output);
            same = same && cv::norm(found, expected, cv::NORM_INF) <= 1;
            evoseg::given_planes[std::string(stored.weights) + stored.output] = expected;
        }}
        // Filters are to make the same pixels of what the networks gave when this file was written.
        same = same && fingerprint(pipeline(test.image)) == test.expected;
        evoseg::given_planes.clear();"""
_STORED_PLANES = """\
// What the networks gave for the drawn images, two hexadecimal digits per pixel. They may differ by one level.
const struct {{ const char *depth, *weights, *output, *digits; }} stored_planes[] = {{
{planes}
}};

cv::Mat from_hexadecimal(const std::string& digits, cv::Size size) {{
    cv::Mat result(size, CV_8U);
    for (std::size_t i = 0; i < result.total(); ++i)
        result.data[i] = uchar(std::stoi(digits.substr(2 * i, 2), nullptr, 16));
    return result;
}}

"""


def export_cpp(pipeline: Pipeline) -> str:
    """Return a C++ file that gives the same results as the pipeline, with OpenCV's core and imgproc only.

    A pipeline that asks networks needs OpenCV's dnn, too, and their files.

    Parameters
    ----------
    pipeline : Pipeline
        Run twice here, on drawn images of 96 x 131 pixels, for the test vector that the file carries.

    Raises
    ------
    ExportError
        Naming the operators that C++ files do not carry, if there are any.
    """
    if pipeline.output not in FILTERS.outputs:
        raise ExportError(
            f"the pipeline returns a {pipeline.output} value; only {FILTERS.gives} are exported to C++. "
            "Files for Python (--to python) support objects and points, too."
        )
    is_mask = pipeline.output is Kind.MASK
    header = _HEADER.format(
        what="Segment images" if is_mask else "Filter images",
        returned=", 1 on foreground and 0 elsewhere" if is_mask else "",
        version=__version__,
        digest=pipeline.digest,
        modules="core, imgproc and dnn" if pipeline.networks else "core and imgproc",
        libraries=f"{'-lopencv_dnn ' if pipeline.networks else ''}-lopencv_imgproc -lopencv_core",
        networks=_network_note(pipeline),
    )
    expected = ",\n".join(
        f'        {{"{depth}", drawn_image({str(depth == "uint16").lower()}), {_hash(pipeline, depth)}ull}}'
        for depth in standalone.DEPTHS
    )
    drawing = DRAWING + ("\n" + _stored_planes(pipeline).rstrip("\n") + "\n" if pipeline.networks else "")
    same = _SAME_BUT_A_LEVEL.format() if pipeline.networks else _SAME
    test = _SELF_TEST.format(drawing=drawing, expected=expected, same=same)
    return header + includes([pipeline]) + namespace([pipeline]) + "\n" + function(pipeline) + test


def _network_note(pipeline: Pipeline) -> str:
    files = ", ".join(f"{weights}.onnx" for weights in pipeline.networks)
    return _NETWORK_NOTE.format(files=files) if files else ""


def _stored_planes(pipeline: Pipeline) -> str:
    """Return what networks gave for the drawn images."""
    planes = []
    for asked in network_planes_of(pipeline):
        for depth, plane in asked.drawn.items():
            digits = "\n".join(f'     "{line}"' for line in wrap(plane.tobytes().hex(), _WIDTH))
            planes.append(f'    {{"{depth}", "{asked.weights}", "{asked.output}",\n{digits}}}')
    return _STORED_PLANES.format(planes=",\n".join(planes))


def includes(pipelines: Iterable[Pipeline]) -> str:
    """Return the headers that some pipelines need."""
    return (_NETWORK_INCLUDES if any(pipeline.networks for pipeline in pipelines) else "") + INCLUDES


def namespace(pipelines: Iterable[Pipeline]) -> str:
    """Return the filters that some pipelines use, in a namespace.

    Raises
    ------
    ExportError
        Naming those that are not carried.
    """
    pipelines = list(pipelines)
    return f"namespace evoseg {{\n\n{FILTERS.text(pipelines)}\n{_network_table(pipelines)}\n}}\n"


def _network_table(pipelines: Iterable[Pipeline]) -> str:
    """Return what is known of the networks that some pipelines ask, as a function."""
    facts = {weights: known for pipeline in pipelines for weights, known in facts_of(pipeline).items()}
    if not facts:
        return ""
    rows = []
    for weights, (known, reach) in facts.items():
        outputs = ", ".join(f'"{output}"' for output in known.outputs)
        brightness = ", ".join(f"{{{mean!r}, {deviation!r}}}" for mean, deviation in known.brightness)
        rows.append(f'        {{"{weights}", {{{known.channels}, {known.reduction}, {reach}, {{{outputs}}},')
        rows.append(f"         {{{brightness}}}}}}},")
    return "\n".join(["", "NetworkTable network_table() {", "    return {", *rows, "    };", "}", ""])


def function(pipeline: Pipeline, name: str = "pipeline") -> str:
    """Return a pipeline as a function that calls the filters."""
    names = names_of(pipeline)
    lines = [
        f"cv::Mat {name}(const cv::Mat& image) {{",
        "    cv::ipp::setUseIPP(false);  // its results depend on where in memory an image lies",
    ]
    for i, s in enumerate(pipeline.steps):
        arguments = ", ".join([*(names[j] for j in s.inputs), *map(_literal, s.params)])
        call = f"evoseg::{s.operator}({arguments})"
        last = i == len(pipeline.steps) - 1
        lines.append(f"    return {call};" if last else f"    const cv::Mat {names[i]} = {call};")
    return "\n".join([*lines, "}"]) + "\n"


def hash_of(result: NDArray[Any]) -> int:
    """Return FNV-1a of a mask's or plane's bytes, as the C++ file computes it."""
    value = 14695981039346656037
    for byte in result.tobytes():
        value = (value ^ byte) * 1099511628211 % 2**64
    return value


def _hash(pipeline: Pipeline, depth: str) -> int:
    return hash_of(pipeline.for_images(None)(standalone.drawn_image(depth)))


def _literal(value: Value) -> str:
    if isinstance(value, tuple):
        return "{" + ", ".join(map(repr, value)) + "}"
    return f'"{value}"' if isinstance(value, str) else repr(value)
