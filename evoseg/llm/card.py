"""The data card: what images and masks say in figures, and what people have said of them, as data."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.base.kinds import Kind
from evoseg.data.dataset import Sample
from evoseg.evolve.classics import intakes
from evoseg.evolve.facts import Facts
from evoseg.pipeline import print_text

MOST_IMAGES = 6
MOST_PLANES = 12
MOST_CHARACTERS = 2000
RING_PX = 6
"""Width of the surroundings that objects are compared with, px."""
POINT_PX = 3
"""Radius of the discs that stand for points, px."""
MOST_POINTS = 500
"""Points of an image whose neighbours are looked for."""
WORDS = ("title", "modality", "domain", "foreground", "pixel_size", "notes")


def quoted(text: str) -> str:
    """Return a stranger's text as data: short, without control characters."""
    plain = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    return plain if len(plain) <= MOST_CHARACTERS else plain[:MOST_CHARACTERS] + "…"


def image_id(index: int) -> str:
    """Return what an image is called; file names are strangers' texts, and stay here."""
    return f"img_{index + 1:03d}"


def data_card(
    words: Mapping[str, str], samples: Sequence[Sample], facts: Facts, n_images: int, task: Mapping[str, str]
) -> dict[str, Any]:
    """Return the card as values that JSON knows.

    Parameters
    ----------
    words : mapping of str to str
        What the dataset's own card says.
    samples : sequence of Sample
        Some search images with masks or points.
    facts : Facts
        Of all search images.
    n_images : int
        How many search images there are.
    task : mapping of str to str
        Its "name", the "metric", and what a program "returns".
    """
    shapes = sorted({sample.image.shape[:2] for sample in samples})
    returned = task.get("returns")
    objects = _points(samples) if returned == Kind.POINTS else _objects(samples, numbered=returned == Kind.LABELS)
    return {
        "task": dict(task),
        "said_of_it": {key: quoted(words[key]) for key in WORDS if words.get(key)},
        "images": n_images,
        "height_width_px": [list(shape) for shape in shapes[:3]],
        "channels": 1 if len(facts.distinct) == 1 else facts.channels,
        "dtype": str(samples[0].image.dtype),
        "levels_1_50_99_percent": [[_short(q[p]) for p in (1, 50, 99)] for q in facts.quantiles[:8]],
        "objects": objects,
        "planes": _planes(samples, facts),
    }


def _points(samples: Sequence[Sample]) -> dict[str, Any]:
    """Say how many points there are, and how far it is from one to the next; medians over images, or over all."""
    found = [np.asarray(sample.points) for sample in samples]
    apart: list[float] = []
    for points in found:
        some = points[:: -(-len(points) // MOST_POINTS) or 1]
        distances = np.hypot(*(some[:, None] - points[None]).transpose(2, 0, 1))
        # The nearest of all is the point itself.
        apart += np.partition(distances, 1, axis=1)[:, 1].tolist() if len(points) > 1 else []
    return {"per_image": int(np.median([len(points) for points in found]))} | (
        {"distance_to_next_px": _short(float(np.median(apart)))} if apart else {}
    )


def _objects(samples: Sequence[Sample], *, numbered: bool) -> dict[str, Any]:
    """Say how large, thick, round and many the objects are; medians over all objects, or over images.

    Where objects are numbered, their areas and how many there are hold for each of those that touch.
    """
    shares, counts, areas, thicknesses, elongations, touching = [], [], [], [], [], []
    for sample in samples:
        mask = np.ascontiguousarray(sample.mask).astype(np.uint8)
        shares.append(float(mask.mean()))
        n, _, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        each = statistics[1:, cv2.CC_STAT_AREA]
        if numbered and sample.labels is not None:
            each = np.unique(sample.labels[sample.labels > 0], return_counts=True)[1]
        counts.append(len(each))
        if n == 1:
            continue
        areas += [int(a) for a in each]
        distance = cv2.distanceTransform(cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_REPLICATE), cv2.DIST_L2, 5)
        ridge = (distance >= cv2.dilate(distance, np.ones((3, 3), np.uint8))) & (distance > 0)
        thicknesses.append(2 * float(np.median(distance[ridge])))
        sides = statistics[1:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
        # Area over squared thickness: 0.8 for a disc, large for lines however they bend.
        elongations.append(float(statistics[1:, cv2.CC_STAT_AREA].sum() / (thicknesses[-1] ** 2 * (n - 1))))
        inner = (statistics[1:, cv2.CC_STAT_LEFT] > 0) & (statistics[1:, cv2.CC_STAT_TOP] > 0)
        right = statistics[1:, cv2.CC_STAT_LEFT] + sides[:, 0] < mask.shape[1]
        touching.append(float(1 - (inner & right).mean()))
    if not areas:
        return {"share_of_pixels": _short(float(np.mean(shares))), "per_image": 0}
    return {
        "share_of_pixels": _short(float(np.mean(shares))),
        "per_image": int(np.median(counts)),
        "area_px_10_50_90_percent": [int(np.percentile(areas, p)) for p in (10, 50, 90)],
        "thickness_px": _short(float(np.median(thicknesses))),
        "area_over_squared_thickness": _short(float(np.median(elongations))),
        "share_at_the_border": _short(float(np.median(touching))),
    }


def _planes(samples: Sequence[Sample], facts: Facts) -> list[dict[str, Any]]:
    """Say how far objects stand out in each plane, the best first.

    In standard deviations of the plane: against everything else, and against what surrounds the objects.
    """
    found: list[dict[str, Any]] = []
    for intake in intakes(facts):
        everywhere, around, coarse = [], [], []
        for sample in samples:
            plane = intake(sample.image).astype(np.float32)
            foreground = _foreground(sample)
            if not foreground.any() or foreground.all():
                continue
            everywhere.append(_difference(plane, foreground, ~foreground))
            size = 2 * RING_PX + 1
            near = cv2.dilate(foreground.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
            around.append(_difference(plane, foreground, near & ~foreground))
            coarse.append(float(cv2.GaussianBlur(plane, (0, 0), 20).std() / (plane.std() + 1e-6)))
        if everywhere:
            call = print_text(intake).rstrip().rpartition("return ")[2]
            found.append(
                {
                    "plane": call,
                    "objects_minus_rest": _short(float(np.mean(everywhere))),
                    "objects_minus_surroundings": _short(float(np.mean(around))),
                    "share_of_slow_variation": _short(float(np.mean(coarse))),
                }
            )
    best = sorted(found, key=lambda p: -max(abs(p["objects_minus_rest"]), abs(p["objects_minus_surroundings"])))
    return best[:MOST_PLANES]


def _foreground(sample: Sample) -> NDArray[np.bool_]:
    """Return where objects are: the mask, or small discs about the points."""
    if sample.mask is not None:
        return sample.mask
    discs = np.zeros(sample.image.shape[:2], np.uint8)
    for row, col in np.asarray(sample.points):
        cv2.circle(discs, (round(float(col)), round(float(row))), POINT_PX, 1, -1)
    return discs > 0


def _difference(plane: NDArray[np.float32], inside: NDArray[np.bool_], outside: NDArray[np.bool_]) -> float:
    if not outside.any():
        return 0.0
    return float((plane[inside].mean() - plane[outside].mean()) / (plane.std() + 1e-6))


def _short(number: float) -> float:
    return float(f"{number:.3g}")
