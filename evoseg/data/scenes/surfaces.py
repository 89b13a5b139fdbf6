"""Scenes of materials: cracks in stone, scratches on metal, pores, grain boundaries."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.data.scenes.scene import Plane, Scene, Shape, blur, camera, count, fractal, lamp, smooth
from evoseg.data.scenes.shapes import blob, stroke, wander


def cracks(rng: Generator, shape: Shape, *, noise: float = 1.0, empty: float = 0.1) -> Scene:
    """Draw branching dark cracks on rough stone, with stains and pits that are none.

    Returns
    -------
    Scene of one uint8 channel
    """
    n = count(rng, shape, 12, empty)
    speckle = blur(rng.standard_normal(shape).astype(np.float32), 0.8) * 1.8
    stone = 0.58 + 0.03 * fractal(rng, shape, 30, octaves=5, roughness=0.75) + 0.05 * speckle
    for _ in range(int(rng.integers(2, 5))):
        stain = blob(rng, shape, _place(rng, shape), rng.uniform(12, 40), longer=rng.uniform(1, 2), bumps=0.15)
        stone[stain.window] -= rng.uniform(0.02, 0.08) * np.clip(1.3 - 1.3 * stain.rho**2, 0, 1)
    for _ in range(int(0.0012 * shape[0] * shape[1])):
        pit = blob(rng, shape, _place(rng, shape), rng.uniform(0.8, 1.8))
        stone[pit.window] += rng.uniform(-0.25, 0.16) * np.clip(1.2 - pit.rho, 0, 1)
    canvas = np.zeros(shape, np.uint8)
    for _ in range(n):
        start, heading, width = _middle(rng, shape), rng.uniform(0, 2 * np.pi), rng.uniform(1.8, 3.8)
        for way in (heading, heading + np.pi + rng.uniform(-0.3, 0.3)):
            _crack(rng, canvas, start, way, rng.uniform(0.3, 0.9) * max(shape), width, 2)
    depth = rng.uniform(0.22, 0.32) * np.clip(1 + 0.25 * smooth(rng, shape, 12), 0.6, 1.3)
    stone = stone - depth * blur(canvas.astype(np.float32), 0.6)
    # Crumbled rims catch the light.
    stone += 0.03 * (blur(canvas.astype(np.float32), 2.5) - blur(canvas.astype(np.float32), 1.2)).clip(0)
    return Scene(camera(rng, stone * lamp(rng, shape, 0.35, 0.2), noise, read=0.01), canvas > 0)


def _crack(rng: Generator, canvas: NDArray[np.uint8], start: tuple[float, float], heading: float,
           length: float, width: float, branches: int) -> None:  # fmt: skip
    """Draw a crack that thins out, and its branches, in place."""
    path = wander(rng, start, heading, length, turn=0.010, widths=(width, max(0.3 * width, 1.0)), jitter=0.45)
    uneven = np.convolve(rng.standard_normal(len(path.widths) + 6), np.ones(7) / 7**0.5, mode="valid")
    path.widths[:] *= np.clip(1 + 0.3 * uneven, 0.5, 1.7)
    stroke(canvas, path)
    for _ in range(int(rng.integers(0, branches + 1))):
        at = int(rng.uniform(0.15, 0.8) * len(path.points))
        place = (float(path.points[at, 0]), float(path.points[at, 1]))
        step = path.points[min(at + 8, len(path.points) - 1)] - path.points[max(at - 8, 0)]
        side = float(np.arctan2(step[0], step[1])) + rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
        _crack(rng, canvas, place, side, length * rng.uniform(0.2, 0.5), max(0.65 * width, 1.0), branches - 1)


def scratches(rng: Generator, shape: Shape, *, noise: float = 1.0, empty: float = 0.2) -> Scene:
    """Draw scratches, bright or dark, across the grain of brushed metal under a lamp's streak.

    Returns
    -------
    Scene of one uint8 channel
    """
    n = count(rng, shape, 60, empty)
    grain = rng.uniform(-0.25, 0.25)
    metal = 0.50 + _brushed(rng, shape, grain)
    light = lamp(rng, shape, 0.3, 0.25)
    light = light + 0.28 * np.exp(-0.5 * ((_across(shape, rng.uniform(0.9, 2.2)) - rng.uniform(-0.4, 0.4)) / 0.22) ** 2)
    mask = np.zeros(shape, bool)
    for _ in range(n):
        canvas = np.zeros(shape, np.uint8)
        heading = grain + rng.choice([-1, 1]) * rng.uniform(0.35, 1.57)
        length = rng.uniform(0.15, 0.6) * max(shape)
        width = rng.uniform(1.0, 2.8)
        stroke(canvas, wander(rng, _place(rng, shape), heading, length, turn=0.003, widths=(width, 1.0)))
        cut = rng.choice([-1, 1], p=[0.3, 0.7]) * rng.uniform(0.13, 0.30)
        metal += cut * blur(canvas.astype(np.float32), 0.6)
        # A burr on one side, of the other sign.
        metal -= 0.25 * cut * np.roll(blur(canvas.astype(np.float32), 0.8), 2, axis=0) * (canvas == 0)
        mask |= canvas > 0
    if n and not mask.any():
        return scratches(rng, shape, noise=noise, empty=0.0)
    return Scene(camera(rng, metal * light, noise, read=0.01), mask)


def _brushed(rng: Generator, shape: Shape, angle: float) -> Plane:
    """Return fine streaks along `angle` (radian)."""
    side = int(1.5 * max(shape)) + 8
    raw = rng.standard_normal((side, side)).astype(np.float32)
    fine = cv2.GaussianBlur(raw, (0, 0), sigmaX=24, sigmaY=0.5) * 6
    coarse = cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), sigmaX=70, sigmaY=2.5) * 22
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), -np.degrees(angle), 1)
    streaks = cv2.warpAffine(fine + 0.7 * coarse, turn, (side, side), flags=cv2.INTER_LINEAR)
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    patch = streaks[top : top + shape[0], left : left + shape[1]]
    return np.asarray(0.045 * patch / max(float(patch.std()), 1e-6), np.float32)


def _across(shape: Shape, angle: float) -> Plane:
    rows = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    cols = np.linspace(-1, 1, shape[1], dtype=np.float32)[None]
    return np.asarray(np.cos(angle) * cols + np.sin(angle) * rows, np.float32)


def pores(rng: Generator, shape: Shape, *, noise: float = 1.0, empty: float = 0.05) -> Scene:
    """Draw dark pores with bright rims in a polished section, as a scanning electron microscope shows them.

    Returns
    -------
    Scene of one uint8 channel
    """
    n = count(rng, shape, 420, empty)
    matrix = 0.56 + 0.03 * fractal(rng, shape, 40) + 0.03 * _phases(rng, shape)
    mask = np.zeros(shape, bool)
    inner = np.zeros(shape, np.float32)
    for _ in range(n):
        size = float(np.clip(rng.lognormal(1.35, 0.55), 1.8, 20))
        pore = blob(rng, shape, _place(rng, shape), size, longer=rng.uniform(1, 1.9), bumps=0.10)
        inner[pore.window] = np.maximum(inner[pore.window], np.clip(1.15 - 0.5 * pore.rho**2, 0, 1) * pore.inside)
        mask[pore.window] |= pore.inside
    rim = np.clip(blur(mask.astype(np.float32), 1.8) - mask, 0, 1)
    solid = blur(mask.astype(np.float32), 0.7)
    light = matrix + 0.35 * rim - (0.40 * inner + 0.05) * solid
    return Scene(camera(rng, light * lamp(rng, shape, 0.15, 0.05), noise, well=500, read=0.02), mask)


def _phases(rng: Generator, shape: Shape) -> Plane:
    """Return grains of slightly unlike brightness."""
    cells = _cells(rng, shape, 28)
    levels = rng.standard_normal(int(cells.max()) + 1).astype(np.float32)
    return np.asarray(levels[cells], np.float32)


def grains(rng: Generator, shape: Shape, *, noise: float = 1.0, empty: float = 0.0) -> Scene:
    """Draw the dark boundaries between the grains of an etched metal; within a grain there are scratches and pits.

    Returns
    -------
    Scene of one uint8 channel; the mask is the boundaries
    """
    n = count(rng, shape, 1, empty)
    cells = _cells(rng, shape, rng.uniform(26, 38)) if n else np.zeros(shape, np.intp)
    edges = np.zeros(shape, np.uint8)
    edges[:-1] |= cells[:-1] != cells[1:]
    edges[:, :-1] |= cells[:, :-1] != cells[:, 1:]
    edges = np.asarray(cv2.dilate(edges, np.ones((2, 2), np.uint8)), np.uint8)
    levels = rng.uniform(-1, 1, int(cells.max()) + 1).astype(np.float32)
    metal = 0.66 + 0.07 * levels[cells] + 0.015 * fractal(rng, shape, 8, octaves=3)
    for _ in range(int(0.0006 * shape[0] * shape[1])):
        pit = blob(rng, shape, _place(rng, shape), rng.uniform(0.8, 1.7))
        metal[pit.window] -= rng.uniform(0.05, 0.3) * np.clip(1.2 - pit.rho, 0, 1)
    metal = metal + _brushed(rng, shape, rng.uniform(0, np.pi)) * 0.25
    depth = np.clip(0.30 + 0.08 * smooth(rng, shape, 20), 0.14, 0.5)
    metal = metal - depth * blur(edges.astype(np.float32), 0.7)
    return Scene(camera(rng, metal * lamp(rng, shape, 0.2, 0.25), noise), edges > 0)


def _cells(rng: Generator, shape: Shape, apart: float) -> NDArray[np.intp]:
    """Return the number of the nearest seed for each pixel; seeds lie about `apart` px from each other."""
    margin = int(apart)
    rows, cols = shape[0] + 2 * margin, shape[1] + 2 * margin
    seeds = np.full((rows, cols), 255, np.uint8)
    for row in np.arange(apart / 2, rows, apart):
        for col in np.arange(apart / 2, cols, apart):
            at = np.rint(np.array([row, col]) + rng.uniform(-0.48, 0.48, 2) * apart).astype(int)
            seeds[at[0] % rows, at[1] % cols] = 0
    bend = np.stack([smooth(rng, (rows, cols), 14), smooth(rng, (rows, cols), 14)]) * 1.6
    cells = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)[1]
    row, col = np.mgrid[:rows, :cols].astype(np.float32)
    bent = cv2.remap(
        cells.astype(np.float32), col + bend[1], row + bend[0], cv2.INTER_NEAREST, None, cv2.BORDER_REPLICATE
    )
    return np.asarray(bent[margin : margin + shape[0], margin : margin + shape[1]], np.intp)


def _place(rng: Generator, shape: Shape) -> tuple[float, float]:
    return float(rng.uniform(0, shape[0])), float(rng.uniform(0, shape[1]))


def _middle(rng: Generator, shape: Shape) -> tuple[float, float]:
    """Return a place in the middle half, so that a crack from there is seen whatever its heading."""
    return float(rng.uniform(0.25, 0.75) * shape[0]), float(rng.uniform(0.25, 0.75) * shape[1])
