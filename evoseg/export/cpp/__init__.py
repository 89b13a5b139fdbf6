"""A pipeline as one C++ file that needs OpenCV's core and imgproc only."""

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from evoseg import __version__
from evoseg.base.kinds import Kind
from evoseg.export import vectors
from evoseg.export.blocks import Filters
from evoseg.export.excerpts import ExportError
from evoseg.operators.parameters import Value
from evoseg.pipeline.printer import names_of
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
// It needs C++17 and OpenCV (core and imgproc), and nothing of evoseg:
//
//     g++ -std=c++17 -O2 -c FILE.cpp $(pkg-config --cflags opencv4)
//
// `pipeline(image)` takes an 8-bit, 16-bit or float cv::Mat with colours in the order R, G, B and returns a CV_8U
// one{returned}. To check that a machine gives the same result as the one that wrote the file:
//
//     g++ -std=c++17 -O2 -DEVOSEG_SELF_TEST FILE.cpp $(pkg-config --cflags opencv4) -lopencv_imgproc -lopencv_core
//     ./a.out
//
// Digest of the pipeline: {digest}
// The filters are part of evoseg, licensed under the Apache License, Version 2.0:
// https://www.apache.org/licenses/LICENSE-2.0

"""

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

_SELF_TEST = """
#ifdef EVOSEG_SELF_TEST
{drawing}
int main() {{
    const struct {{ const char* depth; cv::Mat image; std::uint64_t expected; }} tests[] = {{
{expected}
    }};
    int failed = 0;
    for (const auto& test : tests) {{
        const bool same = fingerprint(pipeline(test.image)) == test.expected;
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


def export_cpp(pipeline: Pipeline) -> str:
    """Return a C++ file that gives the same results as the pipeline, with OpenCV's core and imgproc only.

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
            f"the pipeline gives a {pipeline.output} value; only {FILTERS.gives} are exported to C++. "
            "Files for Python (--to python) carry objects and points, too."
        )
    is_mask = pipeline.output is Kind.MASK
    header = _HEADER.format(
        what="Segment images" if is_mask else "Filter images",
        returned=", 1 on foreground and 0 elsewhere" if is_mask else "",
        version=__version__,
        digest=pipeline.digest,
    )
    expected = ",\n".join(
        f'        {{"{depth}", drawn_image({str(depth == "uint16").lower()}), {_hash(pipeline, depth)}ull}}'
        for depth in vectors.DEPTHS
    )
    test = _SELF_TEST.format(drawing=DRAWING, expected=expected)
    return header + INCLUDES + namespace([pipeline]) + "\n" + function(pipeline) + test


def namespace(pipelines: Iterable[Pipeline]) -> str:
    """Return the filters that some pipelines use, in a namespace.

    Raises
    ------
    ExportError
        Naming those that are not carried.
    """
    return f"namespace evoseg {{\n\n{FILTERS.text(pipelines)}\n\n}}\n"


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
    return hash_of(pipeline.for_images(None)(vectors.drawn_image(depth)))


def _literal(value: Value) -> str:
    if isinstance(value, tuple):
        return "{" + ", ".join(map(repr, value)) + "}"
    return f'"{value}"' if isinstance(value, str) else repr(value)
