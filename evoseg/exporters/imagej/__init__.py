"""A pipeline as one macro for ImageJ 1.x."""

from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg import __version__
from evoseg.core.kinds import Kind
from evoseg.exporters import standalone
from evoseg.exporters.blocks import Filters
from evoseg.exporters.excerpts import ExportError
from evoseg.operators.parameters import Value
from evoseg.pipeline.textform import names_of
from evoseg.pipeline.value import Pipeline

FILTERS = Filters("imagej", "ImageJ macros", "imagej/filters.ijm", r"^function (\w+)", (Kind.MASK,), "evoseg_")

LEAST_IOU = 0.98
"""What a macro's mask and evoseg's have in common at least, as intersection over union."""

_HEADER = """\
// Segment images, by a pipeline that evoseg {version} wrote.
//
// It needs ImageJ 1.53 or later, or Fiji, and nothing of evoseg. Open an image, then choose Plugins > Macros > Run...:
// the mask comes up as a new image, 255 on foreground and 0 elsewhere. From a command line, on machines without a
// screen behind xvfb-run -a:
//
//     java -jar ij.jar -batch FILE.ijm IMAGE          write IMAGE_mask.png; nothing is overwritten
//     java -jar ij.jar -batch FILE.ijm --self-test    compare with what evoseg gave for two drawn images
//
// Digest of the pipeline: {digest}
// The filters are part of evoseg, licensed under the Apache License, Version 2.0:
// https://www.apache.org/licenses/LICENSE-2.0

"""

PREPARED = """\
setBatchMode(true);
setOption("BlackBackground", true);
setOption("ScaleConversions", true);
"""

_MAIN = f"""\
saveSettings();
{PREPARED}argument = getArgument();
if (argument == "--self-test") {{
    self_test();
}} else if (argument != "") {{
    target = argument;
    if (lastIndexOf(target, ".") > lastIndexOf(target, "/")) target = substring(target, 0, lastIndexOf(target, "."));
    target = target + "_mask.png";
    if (File.exists(target)) exit(target + ": exists already; move it away first.");
    open(argument);
    checked(getImageID());
    selectImage(pipeline(getImageID()));
    saveAs("PNG", target);
    print(target);
}} else {{
    if (nImages == 0) exit("Open an image first, then run this macro.");
    title = File.getNameWithoutExtension(getTitle());
    checked(getImageID());
    selectImage(pipeline(getImageID()));
    rename(title + "_mask");
    setBatchMode("show");
}}
restoreSettings();

function checked(image) {{
    getDimensions(width, height, channels, slices, frames);
    if (slices * frames > 1) exit(getTitle() + ": holds several images; save them one by one.");
}}

"""

DRAWING = """\
// Discs, a thin line and grain on a slanted ground, by whole numbers only: in colour, or 16 bit and transposed.
function drawn_image(deep) {
    if (deep) newImage("drawn", "16-bit black", 96, 131, 1);
    else newImage("drawn", "RGB black", 131, 96, 1);
    for (row = 0; row < 96; row++) {
        for (col = 0; col < 131; col++) {
            shade = 90 + floor(row / 4) + floor(col / 6);
            if ((row - 30) * (row - 30) + (col - 34) * (col - 34) < 300) shade += 80;
            if ((row - 62) * (row - 62) + (col - 90) * (col - 90) < 420) shade -= 70;
            if ((row - 20) * (row - 20) + (col - 100) * (col - 100) < 40) shade += 60;
            if (abs(3 * row - col - 110) < 5) shade -= 50;
            grain = (row * 7919 + col * 104729 + row * col * 31) % 23;
            shade = minOf(maxOf(shade + grain, 0), 255);
            half = floor(shade / 2);
            if (deep) setPixel(row, col, 200 * shade);
            else setPixel(col, row, (shade << 16) + ((half + 2 * grain) << 8) + 235 - half);
        }
    }
    return getImageID();
}

"""

_SELF_TEST = """\
// Masks of the drawn images as lengths of runs, row by row, background first.
function self_test() {{
{checks}
}}

function check(depth, mask, runs) {{
    selectImage(mask);
    lengths = split(runs, " ");
    place = 0;
    both = 0;
    either = 0;
    for (i = 0; i < lengths.length; i++) {{
        for (end = place + parseInt(lengths[i]); place < end; place++) {{
            found = getPixel(place % getWidth(), floor(place / getWidth())) > 0;
            both += found && i % 2 == 1;
            either += found || i % 2 == 1;
        }}
    }}
    iou = 1;
    if (either > 0) iou = both / either;
    if (iou >= {least}) print(depth + ": as expected, IoU " + d2s(iou, 4));
    else print(depth + ": DIFFERS from what evoseg gave, IoU " + d2s(iou, 4));
}}

"""


def export_imagej(pipeline: Pipeline) -> str:
    """Return an ImageJ macro that gives nearly the same masks as the pipeline.

    Parameters
    ----------
    pipeline : Pipeline
        Run twice here, on drawn images of 96 x 131 pixels, for the test vector that the file carries.

    Raises
    ------
    ExportError
        Naming the operators that macros do not carry, if there are any; or if the result is no mask.
    """
    if pipeline.output not in FILTERS.outputs:
        raise ExportError(
            f"the pipeline returns a {pipeline.output} value; only {FILTERS.gives} are exported to ImageJ macros. "
            "Files for Python (--to python) support planes, objects and points, too."
        )
    filters = FILTERS.text([pipeline])
    checks = "\n".join(
        f'    check("{depth}", pipeline(drawn_image({str(depth == "uint16").lower()})),\n'
        f'        "{_runs(pipeline.for_images(None)(standalone.drawn_image(depth)))}");'
        for depth in standalone.DEPTHS
    )
    header = _HEADER.format(version=__version__, digest=pipeline.digest)
    test = _SELF_TEST.format(checks=checks, least=LEAST_IOU)
    return f"{header}{function(pipeline)}\n{_MAIN}{filters}\n\n{DRAWING}{test}".rstrip() + "\n"


def function(pipeline: Pipeline, name: str = "pipeline") -> str:
    """Return a pipeline as a macro function that calls the filters and closes what they made on the way."""
    names = names_of(pipeline)
    lines = [f"function {name}(image) {{"]
    for i, s in enumerate(pipeline.steps):
        arguments = ", ".join([*(names[j] for j in s.inputs), *map(_literal, s.params)])
        lines.append(f"    {names[i]} = {FILTERS.prefix}{s.operator}({arguments});")
    *made, result = (names[i] for i in range(len(pipeline.steps)))
    lines += [f"    discard({image});" for image in made]
    return "\n".join([*lines, f"    return {result};", "}"]) + "\n"


def _literal(value: Value) -> str:
    if isinstance(value, tuple):
        # newArray(5) would be an array of five zeros.
        numbers = ", ".join(map(_literal, value))
        return f"newArray({numbers})" if len(value) > 1 else f"Array.concat(newArray(0), {numbers})"
    if isinstance(value, str):
        return f'"{value}"'
    return np.format_float_positional(value, trim="-")


def _runs(mask: NDArray[Any]) -> str:
    lengths = [sum(1 for _ in run) for _, run in groupby(mask.ravel().tolist())]
    return " ".join(map(str, [0, *lengths] if mask.flat[0] else lengths))
