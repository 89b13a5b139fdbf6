"""One drawn dataset, written in every layout that holds masks of objects."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from evoseg.datasets import check
from tests.datasets.drawn_outlines import OUTLINE_WRITERS
from tests.datasets.written import put

SHAPE = (48, 62)  # Non-square on purpose: swapped axes must fail.

Drawn = Mapping[str, tuple[NDArray[np.uint8], NDArray[np.int32]]]
"""Image and labels by stem."""


def draw(n: int) -> Drawn:
    """Return images of bright discs in noise, some of them overlapping, with their labels."""
    found = {}
    for i in range(n):
        rng = default_rng(100 + i)
        labels = np.zeros(SHAPE, np.int32)
        row, col = (int(v) for v in rng.integers(12, 28, 2))
        for number, (r, c) in enumerate(((row, col), (row, col + 9), (38, 50), (8, 52)), 1):
            disc = np.zeros(SHAPE, np.uint8)
            cv2.circle(disc, (c, r), 6, 1, -1)
            labels[(disc > 0) & (labels == 0)] = number
        image = np.where(labels > 0, 150, 60) + rng.normal(0, 60, SHAPE)
        found[f"case_{i:02d}"] = (np.clip(image, 0, 255).astype(np.uint8), labels)
    return found


def plain(root: Path, drawn: Drawn) -> None:
    for stem, (image, labels) in drawn.items():
        put(root / "images" / f"{stem}.png", image)
        put(root / "masks" / f"{stem}.tif", labels)


def cellpose(root: Path, drawn: Drawn) -> None:
    for stem, (image, labels) in drawn.items():
        put(root / f"{stem}.tif", image)
        put(root / f"{stem}_masks.png", labels.astype(np.uint16))


def cellpose_saved(root: Path, drawn: Drawn) -> None:
    for stem, (image, labels) in drawn.items():
        put(root / f"{stem}_img.png", image)
        np.save(root / f"{stem}_seg.npy", labels)


def stardist(root: Path, drawn: Drawn) -> None:
    for stem, (image, labels) in drawn.items():
        put(root / "train" / "images" / f"{stem}.tif", image)
        put(root / "train" / "masks" / f"{stem}.tif", labels.astype(np.int16))


def dsb(root: Path, drawn: Drawn) -> None:
    for stem, (image, labels) in drawn.items():
        put(root / stem / "images" / f"{stem}.png", image)
        for number in range(1, labels.max() + 1):
            put(root / stem / "masks" / f"{number:03d}.png", (labels == number) * np.uint8(255))


def nnunet(root: Path, drawn: Drawn) -> None:
    for stem, (image, labels) in drawn.items():
        put(root / "imagesTr" / f"{stem}_0000.png", image)
        put(root / "labelsTr" / f"{stem}.png", labels.astype(np.uint8))
    card = {
        "channel_names": {"0": "gray"},
        "labels": {"background": 0},
        "numTraining": len(drawn),
        "file_ending": ".png",
    }
    (root / "dataset.json").write_text(json.dumps(card))


def manifest(root: Path, drawn: Drawn) -> None:
    with (root / "manifest.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["image", "labels", "split", "group"])
        for stem, (image, labels) in drawn.items():
            put(root / "a" / "b" / f"{stem}.png", image)
            put(root / "else where" / f"truth of {stem}.tif", labels)
            lines.writerow([f"a/b/{stem}.png", f"else where\\truth of {stem}.tif", "", ""])


def coco_runs(root: Path, drawn: Drawn) -> None:
    coco(root, drawn, lambda inside: {"size": list(inside.shape), "counts": runs(inside)})


def coco_packed(root: Path, drawn: Drawn) -> None:
    coco(root, drawn, lambda inside: {"size": list(inside.shape), "counts": packed(runs(inside))})


def coco(root: Path, drawn: Drawn, outline: Callable[[NDArray[np.bool_]], Any]) -> None:
    """Write images/ and one JSON file, each object as `outline` has it."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (stem, (image, labels)) in enumerate(drawn.items()):
        put(root / "images" / f"{stem}.png", image)
        rows, cols = labels.shape
        images.append({"id": number, "file_name": f"{stem}.png", "width": cols, "height": rows})
        for value in range(1, labels.max() + 1):
            one = {"id": len(annotations), "image_id": number, "category_id": 1, "iscrowd": 0}
            annotations.append(one | {"segmentation": outline(labels == value)})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "disc"}]}
    (root / "annotations").mkdir()
    (root / "annotations" / "instances.json").write_text(json.dumps(document))


def runs(inside: NDArray[np.bool_]) -> list[int]:
    """Return run lengths down the columns, background first."""
    flat = np.concatenate([[False], inside.T.ravel()])
    edges = np.flatnonzero(np.diff(flat.astype(np.int8)))
    return [int(n) for n in np.diff([0, *edges, inside.size])]


def packed(counts: list[int]) -> str:
    """Return run lengths as text: five bits a letter, differences to the last but one."""
    text = ""
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            done = value == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if done else 32))
            if done:
                break
    return text


WRITERS = {
    "plain": plain,
    "Cellpose": cellpose,
    "Cellpose, saved arrays": cellpose_saved,
    "StarDist": stardist,
    "DSB2018": dsb,
    "nnU-Net": nnunet,
    "manifest": manifest,
    "COCO": coco_runs,
    "COCO, packed": coco_packed,
    **OUTLINE_WRITERS,
}
"""By the layout's name, and, after a comma, the form in it."""


RNG = default_rng(5)


def gray() -> NDArray[np.uint8]:
    """Draw an image of noise."""
    return RNG.integers(0, 256, SHAPE, np.uint8)


def disc(top: int = 5) -> NDArray[np.uint8]:
    """Draw a mask with a rectangle."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[top : top + 9, 11:19] = 255
    return mask


def faults(root: Path) -> str:
    """Return what the check of a folder finds wrong."""
    return "\n".join(check(root).problems)
