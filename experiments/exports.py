#!/usr/bin/env python3
"""Whether exported files give the masks of their pipelines: 20 evolved ones, on drawn and on real images.

    python experiments/exports.py DATASETS --out rows.jsonl [--evaluations 200] [--images 4]
    python experiments/exports.py --table rows.jsonl

Two searches per dataset may use every operator, one or two only what ImageJ macros carry. Of each search the longest
finalist is exported as a user would, to Python, C++ and ImageJ (where carried), and the files are run: on the two drawn
images that every export is tested with, and on images of the dataset. One row per pipeline is written as soon as it is
known; rows that are there are kept. It needs a C++ compiler, OpenCV, ImageJ and Xvfb.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from study import add_row, rows_in  # beside this file

from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import split
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.context import SearchSettings
from evoseg.evolve.evaluation.evaluator import evenly_spaced
from evoseg.evolve.solve import solve
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.exporters import imagej, standalone
from evoseg.exporters.cpp import export_cpp
from evoseg.exporters.excerpts import ExportError
from evoseg.exporters.python import export_python
from evoseg.metrics.mask_scores import confusion, iou
from evoseg.operators.registry import operators
from evoseg.pipeline import Pipeline, print_text

DATASETS = ("dsb2018_fluo", "dsb2018_histology", "magnetic_tile_crack", "neu_patches", "usiigaci_phase", "wbc_nuclei")
SEARCHES = (
    *((name, seed, "python") for name in DATASETS for seed in (0, 1)),
    *((name, 2, "imagej") for name in DATASETS),
    *((name, 3, "imagej") for name in DATASETS[:2]),
)
JAR = "/usr/share/java/ij.jar"
CPP_MAIN = """
int main(int count, char** given) {
    for (int i = 1; i + 5 < count; i += 6) {
        const int type = CV_MAKETYPE(std::stoi(given[i + 3]), std::stoi(given[i + 2]));
        cv::Mat image(std::stoi(given[i]), std::stoi(given[i + 1]), type);
        std::FILE* in = std::fopen(given[i + 4], "rb");
        if (std::fread(image.data, image.elemSize(), image.total(), in) != image.total()) return 1;
        std::fclose(in);
        const cv::Mat mask = pipeline(image).clone();
        std::FILE* out = std::fopen(given[i + 5], "wb");
        std::fwrite(mask.data, 1, mask.total(), out);
        std::fclose(out);
    }
}
"""

Image = NDArray[Any]
Mask = NDArray[np.bool_]


def evolved(dataset: Dataset, seed: int, target: str, evaluations: int) -> Pipeline:
    """Search, and return the longest evolved finalist, the hardest to carry; no test image takes part."""
    budget = Budget(evaluations=evaluations)
    without = {op.name for op in operators() if target == "imagej" and not imagej.FILTERS.carry(op)}
    settings = SearchSettings(budget, seed=seed, workers=0, without=frozenset(without))
    splits = replace(split(dataset), test=())
    with tempfile.TemporaryDirectory() as packs:
        found = solve(dataset, splits, BinaryTask("iou"), settings, Path(packs), Clock(budget))
    programs = [f.scored.pipeline for f in found.finalists if f.role == "evolved"]
    return max(programs, key=lambda program: len(program.steps))


def from_python(pipeline: Pipeline, images: Sequence[Image], folder: Path) -> list[Mask]:
    """Return the masks of the exported Python file."""
    names: dict[str, Any] = {"__name__": "exported"}
    exec(compile(export_python(pipeline), "exported.py", "exec"), names)
    return [names["pipeline"](image) for image in images]


def from_cpp(pipeline: Pipeline, images: Sequence[Image], folder: Path) -> list[Mask]:
    """Return the masks of the exported C++ file, compiled."""
    source, program = folder / "find.cpp", folder / "find"
    source.write_text(export_cpp(pipeline) + CPP_MAIN)
    command = ["g++", "-std=c++17", "-O1", "-I/usr/include/opencv4", str(source), "-o", str(program)]
    subprocess.run([*command, "-lopencv_imgproc", "-lopencv_core"], check=True)
    given = []
    for i, image in enumerate(images):
        (folder / f"{i}.in").write_bytes(np.ascontiguousarray(image).tobytes())
        depth = {"uint8": cv2.CV_8U, "uint16": cv2.CV_16U, "float32": cv2.CV_32F}[image.dtype.name]
        given += [*map(str, (*image.shape, depth)), str(folder / f"{i}.in"), str(folder / f"{i}.out")]
    subprocess.run([str(program), *given], check=True)
    return [
        np.frombuffer((folder / f"{i}.out").read_bytes(), np.bool_).reshape(image.shape[:2])
        for i, image in enumerate(images)
    ]


def from_imagej(pipeline: Pipeline, files: Sequence[Path], folder: Path) -> tuple[list[Mask], list[float]]:
    """Return the masks of the exported macro for some files, and the IoUs that its own test says."""
    macro = folder / "find.ijm"
    macro.write_text(imagej.export_imagej(pipeline))
    command = ["timeout", "300", "xvfb-run", "-a", "java", "-jar", JAR, "-batch", str(macro)]
    said = subprocess.run([*command, "--self-test"], capture_output=True, text=True, check=True).stdout
    masks = []
    for file in files:
        # A link, because the mask is written beside the image.
        link = folder / file.name
        link.symlink_to(file.resolve())
        subprocess.run([*command, str(link)], capture_output=True, check=True)
        masks.append(cv2.imread(str(folder / f"{file.stem}_mask.png"), cv2.IMREAD_UNCHANGED) > 0)
    return masks, [float(value) for value in re.findall(r"IoU (\d\S*)", said)]


def row(folder: Path, seed: int, target: str, evaluations: int, n_images: int) -> dict[str, Any]:
    """Search on one dataset, export what was found, and compare."""
    began = time.monotonic()
    dataset = Dataset(folder)
    pipeline = evolved(dataset, seed, target, evaluations)
    stems = [dataset.labelled[i] for i in evenly_spaced(len(dataset.labelled), n_images)]
    real = [dataset.load(stem).image for stem in stems]
    images = [*map(standalone.drawn_image, standalone.DEPTHS), *real]
    expected = [pipeline(image) for image in images]
    found: dict[str, Any] = {"dataset": folder.name, "seed": seed, "for": target, "evaluations": evaluations}
    found |= {"pipeline": print_text(pipeline), "steps": len(pipeline.steps), "images": len(images)}
    found["foreground"] = [float(mask.mean()) for mask in expected]
    with tempfile.TemporaryDirectory() as scratch:
        for name, run in (("python", from_python), ("cpp", from_cpp)):
            masks = run(pipeline, images, Path(scratch))
            found[name] = sum(map(np.array_equal, masks, expected))
        try:
            files = [next((folder / "images").glob(f"{stem}.*")) for stem in stems]
            masks, said = from_imagej(pipeline, files, Path(scratch))
            pairs = zip(masks, expected[len(said) :], strict=True)
            found["imagej"] = [*said, *(float(iou(confusion(mask, truth))) for mask, truth in pairs)]
        except ExportError as error:
            found["refused"] = re.findall(r"'(\w+)'", str(error))
    return found | {"seconds": round(time.monotonic() - began, 1)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as a Markdown table, with what they say together below it."""
    lines = ["| dataset | seed | search for | steps | images | Python same | C++ same | ImageJ, lowest IoU |"]
    lines.append("| --- | --: | --- | --: | --: | --: | --: | --- |")
    for r in rows:
        cells = [r["dataset"], r["seed"], r["for"], r["steps"], r["images"], r["python"], r["cpp"]]
        cells.append(f"{min(r['imagej']):.4f}" if "imagej" in r else f"refused: {', '.join(r['refused'])}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    carried = [value for r in rows for value in r.get("imagej", ())]
    total = sum(r["images"] for r in rows)
    lines.append("")
    lines.append(
        f"{len(rows)} pipelines, {total} masks: Python {sum(r['python'] for r in rows)} and C++ "
        f"{sum(r['cpp'] for r in rows)} the same pixel for pixel; ImageJ {len(carried)} carried, "
        f"{sum(value == 1 for value in carried)} the same, lowest IoU {min(carried):.4f}."
    )
    return "\n".join(lines)


def main() -> int:
    """Fill in the rows that are missing, or print those that are there."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("root", type=Path, nargs="?", help="the folder that holds the datasets")
    ask.add_argument("--out", type=Path)
    ask.add_argument("--table", type=Path)
    ask.add_argument("--evaluations", type=int, default=200)
    ask.add_argument("--images", type=int, default=4)
    asked = ask.parse_args()
    path = asked.table or asked.out
    if path is None or (asked.root is None and not asked.table):
        ask.error("give the folder of datasets and --out, or --table")
    rows = rows_in(path)
    if asked.table:
        print(table(rows))
        return 0
    there = {(r["dataset"], r["seed"], r["for"]) for r in rows}
    for name, seed, target in SEARCHES:
        if (name, seed, target) not in there:
            found = row(asked.root / name, seed, target, asked.evaluations, asked.images)
            add_row(path, found)
            print({key: value for key, value in found.items() if key != "pipeline"}, file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
