"""ImageJ macros: what they carry and refuse; with ImageJ, that their masks are those of the pipelines."""

import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

import evoseg
from evoseg.core.kinds import Kind
from evoseg.datasets.io.files import write_image
from evoseg.evolve.proposers.random_programs import select_usable
from evoseg.exporters import imagej, standalone
from evoseg.exporters.excerpts import ExportError
from evoseg.exporters.targets import exported
from evoseg.metrics.mask_scores import confusion, iou
from evoseg.operators.registry import operators
from evoseg.pipeline import read_text
from tests.exporters.test_cpp import on_drawing
from tests.inference.test_object_files import BRIGHT, same_objects, scene, truth
from tests.operators.test_conformance import choices

SIMPLE = "def pipeline(image):\n    return remove_small(threshold(flatten(channel(image))), area=30)\n"
JAR = Path("/usr/share/java/ij.jar")
NOT_CARRIED = {
    *("bilateral", "clahe", "window_flat"),
    *("gabor", "oriented", "line_open", "line_close", "line_tophat", "line_close_mask", "dilate_by", "erode_by"),
    *("canny", "coherence", "entropy", "lbp", "lookup", "triangle"),
    *("component_mean", "convex_hull", "distance", "keep_elongated", "keep_round", "keep_solid"),
}


def said_by_imagej(macro: Path, *arguments: str) -> str:
    """Run a macro behind a virtual screen; skip the test where there is no ImageJ. An error opens a window: no end."""
    if not JAR.is_file() or shutil.which("xvfb-run") is None:
        pytest.skip("needs ImageJ and Xvfb; on Debian: apt-get install imagej xvfb xauth")
    command = ["timeout", "500", "xvfb-run", "-a", "java", "-jar", str(JAR), "-batch", str(macro), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_carries_what_it_says_and_refuses_the_rest_by_name():
    usable = select_usable(operators(retired=True), Kind.MASK)
    assert {op.name for op in usable if not imagej.FILTERS.carry(op)} == NOT_CARRIED
    pipeline = read_text("def pipeline(image):\n    return convex_hull(threshold(clahe(channel(image))))\n")
    with pytest.raises(ExportError, match=r"'clahe', 'convex_hull': not supported.*--to python.*--target imagej"):
        exported(pipeline, "imagej")
    asking = read_text("def pipeline(image):\n    return threshold(network(image))\n")
    with pytest.raises(ExportError, match=r"'network': not supported by ImageJ.*the filters alone \(RUN#readable\)"):
        exported(asking, "imagej")
    with pytest.raises(ExportError, match="returns a gray value; only masks.*--to python"):
        exported(read_text("def pipeline(image):\n    return channel(image)\n"), "imagej")


def test_the_page_lists_what_macros_do_not_support():
    page = (Path(__file__).resolve().parents[2] / "docs/export.md").read_text("utf-8")
    listed = page.partition("do not support")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == NOT_CARRIED


def test_a_macro_holds_the_filters_that_it_needs_and_no_others():
    source = exported(read_text(SIMPLE), "imagej")
    assert "remove_small_1 = evoseg_remove_small(threshold_1, 30);" in source
    assert "function smooth(" in source
    assert "evoseg_sobel" not in source


def test_numbers_are_written_as_imagej_reads_them():
    text = "def pipeline(image):\n    return threshold(mix(image, weights=(0.5,), offset=0.00001))\n"
    # newArray(0.5) would be an array of that length, and exponents are not read.
    assert "evoseg_mix(image, Array.concat(newArray(0), 0.5), 0.00001)" in imagej.function(read_text(text))


@pytest.mark.imagej
def test_an_exported_macro_passes_its_own_test(tmp_path):
    macro = tmp_path / "find.ijm"
    macro.write_text(exported(read_text(SIMPLE), "imagej"))
    said = said_by_imagej(macro, "--self-test")
    assert re.findall(r"(\w+): as expected, IoU (\S+)", said) == [("uint8", "1.0000"), ("uint16", "1.0000")]
    macro.write_text(macro.read_text().replace("(threshold_1, 30)", "(threshold_1, 3000)"))
    assert "DIFFERS" in said_by_imagej(macro, "--self-test")


@pytest.mark.imagej
def test_a_macro_segments_a_file_and_overwrites_nothing(tmp_path):
    macro, image = tmp_path / "find.ijm", standalone.drawn_image("uint16")
    macro.write_text(exported(read_text(SIMPLE), "imagej"))
    cv2.imwrite(str(tmp_path / "cells.day1.tif"), image)
    said = said_by_imagej(macro, str(tmp_path / "cells.day1.tif"))
    assert str(tmp_path / "cells.day1_mask.png") in said
    found = cv2.imread(str(tmp_path / "cells.day1_mask.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(found, 255 * read_text(SIMPLE)(image).view(np.uint8))
    assert "exists already" in said_by_imagej(macro, str(tmp_path / "cells.day1.tif"))


@pytest.mark.imagej
def test_a_macro_takes_floats_several_channels_and_images_with_a_scale(tmp_path):
    row, col = np.indices((31, 44))
    planes = np.stack([300 * row + 40 * col, 900 * col + row, 1200 * row], axis=2).astype(np.uint16)
    floats = ((row * col % 50) / np.float32(40)).astype(np.float32)[:, :, None]
    floats[3, 5:9] = np.nan
    several = read_text("def pipeline(image):\n    return threshold(window(image, index=1, high=30000.0), level=99)\n")
    single = read_text("def pipeline(image):\n    return threshold(channel(image))\n")
    sizes = read_text(
        "def pipeline(image):\n    return level(component_area(level(channel(image), level=140)), level=40)\n"
    )
    macro = tmp_path / "kinds.ijm"
    macro.write_text(f"""{imagej.PREPARED}
        newImage("several", "16-bit composite-mode", 44, 31, 3, 1, 1);
        for (y = 0; y < 31; y++) {{
            for (x = 0; x < 44; x++) {{
                setSlice(1); setPixel(x, y, 300 * y + 40 * x);
                setSlice(2); setPixel(x, y, 900 * x + y);
                setSlice(3); setPixel(x, y, 1200 * y);
            }}
        }}
        selectImage(several(getImageID())); saveAs("PNG", "{tmp_path}/several.png");
        newImage("single", "32-bit black", 44, 31, 1);
        for (y = 0; y < 31; y++) {{
            for (x = 0; x < 44; x++) setPixel(x, y, (x * y % 50) / 40);
        }}
        for (x = 5; x < 9; x++) setPixel(x, 3, NaN);
        run("Set Scale...", "distance=4 known=1 unit=um");
        image = getImageID();
        selectImage(single(image)); saveAs("PNG", "{tmp_path}/single.png");
        selectImage(sizes(image)); saveAs("PNG", "{tmp_path}/sizes.png");
        {"".join(imagej.function(p, name) for p, name in ((several, "several"), (single, "single"), (sizes, "sizes")))}
        {imagej.FILTERS.text([several, single, sizes])}""")
    said_by_imagej(macro)
    for name, pipeline, image in (("several", several, planes), ("single", single, floats), ("sizes", sizes, floats)):
        found = cv2.imread(str(tmp_path / f"{name}.png"), cv2.IMREAD_UNCHANGED) > 0
        assert found.any() and not found.all()
        assert np.array_equal(found, pipeline(image)), name


@pytest.mark.imagej
def test_every_operator_gives_the_same_masks_at_both_ends_of_its_ranges(tmp_path):
    made = [(op, v, on_drawing(op, v)) for op in operators() if imagej.FILTERS.carry(op) for v in choices(op)]
    macro = tmp_path / "all.ijm"
    lines = [
        imagej.PREPARED,
        f'function put(image, name) {{ selectImage(image); saveAs("PNG", "{tmp_path}/" + name); close(); }}',
        *(f"{depth} = drawn_image({int(depth == 'uint16')});" for depth in standalone.DEPTHS),
        *(f'put(pipeline_{i}({depth}), "{i}_{depth}.png");' for i in range(len(made)) for depth in standalone.DEPTHS),
        'print("images left: " + nImages);',
        *(imagej.function(pipeline, f"pipeline_{i}") for i, (*_, pipeline) in enumerate(made)),
        imagej.FILTERS.text(pipeline for *_, pipeline in made),
        imagej.DRAWING,
    ]
    macro.write_text("\n".join(lines))
    assert "images left: 2" in said_by_imagej(macro)
    apart = {}
    for i, (op, values, pipeline) in enumerate(made):
        for depth in standalone.DEPTHS:
            expected = pipeline(standalone.drawn_image(depth))
            actual = cv2.imread(str(tmp_path / f"{i}_{depth}.png"), cv2.IMREAD_UNCHANGED)
            assert actual.shape == expected.shape
            if op.output is Kind.MASK:
                agrees = set(np.unique(actual)) <= {0, 255} and iou(confusion(actual > 0, expected)) >= imagej.LEAST_IOU
            else:
                # One number in 40 may be rounded the other way.
                difference = np.abs(actual.astype(int) - expected)
                agrees = difference.max() <= 1 and (difference > 0).mean() <= 0.025
            if not agrees:
                apart[op.name] = (values, depth)
    assert apart == {}


FILL = """
names = split(getArgument(), "|");
setBatchMode(true);
newImage("labels", "16-bit black", 120, 90, 1);
roiManager("Open", names[0]);
for (i = 0; i < roiManager("count"); i++) {
    roiManager("select", i);
    setColor(i + 1);
    fill();
}
run("Select None");
saveAs("Tiff", names[1]);
print("filled");
"""


@pytest.mark.imagej
@pytest.mark.filterwarnings("ignore:the pipeline does not say")
def test_the_roi_manager_opens_the_regions_that_apply_writes(tmp_path):
    write_image(tmp_path / "a.png", scene())
    evoseg.apply(read_text(BRIGHT), tmp_path / "a.png", tmp_path / "out", formats="rois")
    (tmp_path / "fill.ijm").write_text(FILL)
    said = said_by_imagej(tmp_path / "fill.ijm", f"{tmp_path}/out/rois/a.zip|{tmp_path}/labels.tif")
    assert "filled" in said
    assert same_objects(tifffile.imread(tmp_path / "labels.tif").astype(int), truth(0))
