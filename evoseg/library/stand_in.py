"""Drawn stand-ins for images that evoseg may not distribute: made from the figures of a solved task alone."""

from collections.abc import Mapping
from itertools import pairwise
from statistics import NormalDist

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.library.descriptors import IMAGES, MASKS, SCALES, Descriptor
from evoseg.synthetic.scene import Plane, blob, blur, stroke, wander

LONG = 6.0
"""Elongation from which objects are drawn as lines rather than as blobs."""
MOST_OBJECTS = 200
_ROUND = 9 * np.pi / 16
"""Elongation of a disc: its area over the square of 4/3 of its radius, which is its thickness."""


def draw_stand_in(
    statistics: Mapping[str, Mapping[str, float]], side: int, rng: Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Draw an image with the brightness, contrast and grain of a task, and objects of its number, size and contrast.

    The figures do not tell hues: images with colour are tinted brown. Objects so thick that they would fill the picture
    are drawn smaller.

    Parameters
    ----------
    statistics : mapping of str to mapping of str to float
        As in `SolvedTask`. What was not measured, or makes no sense, is taken to be ordinary; without figures of masks,
        no object is drawn.
    side : int, px

    Returns
    -------
    uint8 array of shape (side, side, 3), and the objects as a bool array of shape (side, side) or None
    """
    images = {**_ordinary(IMAGES), **statistics.get("images", {})}
    masks = {**_ordinary(MASKS), **statistics.get("masks", {})}
    mask = _objects(masks, side, rng) if "masks" in statistics else np.zeros((side, side), np.bool_)
    fine, broad = _grain(images, side, rng)
    inside = blur(mask.astype(np.float32), 0.8)
    rough = min(max(masks["texture"], 0.3), 3.0)
    light = broad + fine * (1 + (rough - 1) * inside) + _step(masks) * inside
    light = (light - light.mean()) / max(float(light.std()), 1e-6)
    light = min(max(images["brightness"], 0.05), 0.95) + min(max(images["contrast"], 0.02), 0.3) * light
    tint = min(max(images["colour"], 0.0), 0.5) * np.array([0.5, 0.0, -0.5], np.float32)
    picture = np.clip(np.rint(255 * (light[:, :, None] + tint)), 0, 255).astype(np.uint8)
    return picture, mask if "masks" in statistics else None


def _ordinary(descriptor: Descriptor) -> dict[str, float]:
    """Return the median of each feature over the bundled tasks."""
    return {f.name: 2**f.centre if f.log else f.centre for f in descriptor.features}


def _step(masks: Mapping[str, float]) -> float:
    """Return by how many deviations of the background objects are brighter than it.

    `brightness` is 2 A - 1, where A is the probability that a pixel inside is brighter than one outside.
    """
    seen = max(masks["brightness"], masks["local_brightness"], key=abs)
    return 2**0.5 * NormalDist().inv_cdf((min(max(seen, -0.98), 0.98) + 1) / 2)


def _grain(images: Mapping[str, float], side: int, rng: Generator) -> tuple[Plane, Plane]:
    """Return noise finer than 4 px, and broader noise, with the shares of variance that were measured.

    Where images have one common direction, the noise is stretched from top to bottom.
    """
    names = ("band_1", "band_2", "band_4", "band_8", "band_16", "lighting")
    rows = round(side / (1 + 10 * min(max(images["direction"] - 0.3, 0.0), 0.7)))
    planes = []
    for name, (low, high) in zip(names, pairwise((0.0, *SCALES, None)), strict=True):
        drawn = rng.standard_normal((rows, side)).astype(np.float32)
        white = np.asarray(cv2.resize(drawn, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)
        band = (blur(white, low) if low else white) - (blur(white, high) if high else 0)
        planes.append(min(max(images[name], 0.0), 1.0) ** 0.5 * band / max(float(band.std()), 1e-6))
    return sum(planes[:3]), sum(planes[3:])


def _objects(masks: Mapping[str, float], side: int, rng: Generator) -> NDArray[np.bool_]:
    """Draw objects until they cover the measured share of the picture; at least one."""
    reduced = max(1.0, 3 * masks["thickness"] / side)
    thickness = max(masks["thickness"], 1.0) / reduced
    elongation = min(max(masks["elongation"], _ROUND), 1e4)
    canvas = np.zeros((side, side), np.uint8)
    for _ in range(MOST_OBJECTS):
        size = thickness * 2 ** float(np.clip(0.25 * masks["spread"] * rng.standard_normal(), -1, 1))
        place = _free_place(canvas, rng)
        if elongation < LONG:
            radius = size * (elongation / np.pi) ** 0.5
            bumps = 0.25 * min(max(1 - masks["solidity"], 0.0), 0.6)
            body = blob(rng, canvas.shape, place, radius, longer=min(elongation / _ROUND, 4.0), bumps=bumps)
            canvas[body.window][body.inside] = 1
        else:
            length = min(elongation * size, 1.5 * side)
            turn = 0.12 / length**0.5
            heading = rng.uniform(0, 2 * np.pi)
            start = (place[0] - length / 2 * np.sin(heading), place[1] - length / 2 * np.cos(heading))
            stroke(canvas, wander(rng, start, heading, length, turn=turn, widths=(size, size), jitter=0.1))
        if canvas.mean() >= 0.9 * min(masks["share"], 0.7):
            break
    return canvas > 0


def _free_place(canvas: NDArray[np.uint8], rng: Generator) -> tuple[float, float]:
    """Return a place in the picture, by preference far from what is drawn already."""
    away = cv2.distanceTransform(1 - canvas, cv2.DIST_L2, 3) if canvas.any() else np.ones(canvas.shape, np.float32)
    places = rng.uniform(0.15, 0.85, (8, 2)) * canvas.shape
    return max(((r, c) for r, c in places.tolist()), key=lambda place: float(away[int(place[0]), int(place[1])]))
