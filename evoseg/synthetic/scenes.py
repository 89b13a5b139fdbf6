"""Scenes with exact masks by name, and datasets of them: microscopy, networks of lines, surfaces."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.core.disk import expand
from evoseg.core.errors import DatasetError, SettingsError, unknown
from evoseg.core.streams import stream
from evoseg.datasets.io.files import write_image, write_mask
from evoseg.synthetic.scene import (
    Draw,
    Patch,
    Plane,
    Scene,
    Shape,
    blob,
    blur,
    camera,
    count,
    fractal,
    grid,
    lamp,
    smooth,
    stroke,
    wander,
)

_HEMATOXYLIN = np.array([0.65, 0.70, 0.29], np.float32)
"""Optical density per unit of stain in R, G, B: Ruifrok and Johnston, Anal. Quant. Cytol. Histol. 23(4), 2001."""

_EOSIN = np.array([0.14, 0.86, 0.46], np.float32)
"""As seen in scanned slides, which are pinker than the pure dye of that paper."""


def nuclei(rng: Generator, shape: Shape, *, noise: float = 1.0, empty: float = 0.0) -> Scene:
    """Draw cell nuclei in fluorescence: bright on dark, many touching, each of its own brightness.

    Returns
    -------
    Scene of one uint8 channel
    """
    light = np.zeros(shape, np.float32)
    mask = np.zeros(shape, bool)
    size = rng.uniform(8, 12)
    for centre in _clustered(rng, shape, count(rng, shape, 700, empty), 1.9 * size):
        patch = blob(rng, shape, centre, size * rng.uniform(0.75, 1.25), longer=rng.uniform(1.0, 1.7))
        dome = rng.uniform(0.25, 0.85) * (1 - 0.45 * np.minimum(patch.rho, 1) ** 3)
        new = patch.inside & ~mask[patch.window]
        # A nucleus that lies against another is seen to lie apart: their rims are dim.
        light[patch.window][new] = dome[new]
        mask[patch.window] |= patch.inside
    light *= np.clip(1 + 0.16 * fractal(rng, shape, 5, octaves=2), 0.6, 1.5)
    haze = 0.16 * blur(light, 14) + 0.035 * np.clip(1 + 0.3 * smooth(rng, shape, 60), 0.2, 2)
    seen = (blur(light, 0.9) * (1 - haze) + haze + 0.02) * lamp(rng, shape, 0.2, 0.35)
    return Scene(camera(rng, seen, noise, well=600, read=0.012), mask)


def _clustered(rng: Generator, shape: Shape, n: int, apart: float) -> list[tuple[float, float]]:
    """Return n places, about half of them beside an earlier one, none on top of another."""
    places: list[tuple[float, float]] = []
    for _ in range(n):
        for _attempt in range(20):
            if places and rng.random() < 0.55:
                near = places[int(rng.integers(len(places)))]
                angle = rng.uniform(0, 2 * np.pi)
                place = (near[0] + apart * np.sin(angle), near[1] + apart * np.cos(angle))
            else:
                place = (rng.uniform(0, shape[0]), rng.uniform(0, shape[1]))
            inside = 0 <= place[0] < shape[0] and 0 <= place[1] < shape[1]
            if inside and all(np.hypot(place[0] - r, place[1] - c) > 0.8 * apart for r, c in places):
                places.append(place)
                break
    return places or [(shape[0] / 2, shape[1] / 2)] * (n > 0)


def tissue(rng: Generator, shape: Shape, *, noise: float = 1.0, empty: float = 0.0) -> Scene:
    """Draw stained tissue (hematoxylin and eosin): purple nuclei in pink, fibrous ground, glands with white lumen.

    Returns
    -------
    Scene of three uint8 channels, R G B
    """
    mask = np.zeros(shape, bool)
    n = count(rng, shape, 1300, empty)
    fibres = blur(0.6 * fractal(rng, shape, 7, octaves=3, roughness=0.8) + _wavy(rng, shape), 0.7)
    eosin = np.clip(0.22 + 0.035 * fibres + 0.025 * smooth(rng, shape, 70), 0.05, None)
    eosin *= 1 - 0.8 * np.clip(4 * smooth(rng, shape, 18) - 5.6, 0, 1)
    hematoxylin = np.clip(0.05 + 0.015 * fractal(rng, shape, 24), 0.01, None)
    places: list[tuple[float, float, float | None]] = []
    for _ in range(int(rng.integers(1, 4))):
        places += _gland(rng, shape, eosin)
    places += [(rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), None) for _ in range(n)]
    dense = np.zeros(shape, np.float32)
    for row, col, angle in places if n else ():
        patch = _tissue_nucleus(rng, shape, (row, col), angle)
        if patch.inside.sum() and (patch.inside & mask[patch.window]).sum() > 0.25 * patch.inside.sum():
            continue
        depth = rng.uniform(0.45, 0.95) * (0.75 + 0.35 * np.minimum(patch.rho, 1) ** 4)
        dense[patch.window][patch.inside] = depth[patch.inside]
        mask[patch.window] |= patch.inside
    dense *= np.clip(1 + 0.28 * fractal(rng, shape, 3.2, octaves=2), 0.45, 1.6)
    eosin = eosin * (1 - 0.55 * mask)
    density = (blur(hematoxylin + dense, 0.7)[..., None] * _HEMATOXYLIN) + (blur(eosin, 0.7)[..., None] * _EOSIN)
    light = 0.95 * np.power(np.float32(10), -density) * lamp(rng, shape, 0.06, 0.10)[..., None]
    return Scene(camera(rng, light.astype(np.float32), noise, well=3000, read=0.008), mask)


def _wavy(rng: Generator, shape: Shape) -> Plane:
    """Return bands that follow a slowly turning direction, like collagen."""
    row, col = grid(shape)
    half = max(shape) / 2
    angle = rng.uniform(0, np.pi)
    across = (np.cos(angle) * row + np.sin(angle) * col) * half + 10 * smooth(rng, shape, 50)
    return np.asarray(
        np.sin(across * 2 * np.pi / rng.uniform(5, 8)) * np.clip(smooth(rng, shape, 40), 0, 1), np.float32
    )


def _gland(rng: Generator, shape: Shape, eosin: Plane) -> list[tuple[float, float, float | None]]:
    """Draw a gland's lumen and its paler cells into `eosin`; return where its nuclei stand, and how they lean."""
    centre = (rng.uniform(0, shape[0]), rng.uniform(0, shape[1]))
    radius = rng.uniform(22, 40)
    outer = blob(rng, shape, centre, radius, longer=rng.uniform(1, 1.5), bumps=0.07)
    eosin[outer.window][outer.inside] *= 0.75
    lumen = outer.rho < 0.42
    eosin[outer.window][lumen] = 0.02
    ring = np.argwhere((outer.rho > 0.74) & (outer.rho < 0.80))
    places: list[tuple[float, float, float | None]] = []
    for r, c in ring[rng.permutation(len(ring))]:
        row, col = float(r + outer.window[0].start), float(c + outer.window[1].start)
        if all(np.hypot(row - p[0], col - p[1]) > 7.5 for p in places):
            places.append((row, col, float(np.arctan2(row - centre[0], col - centre[1]))))
    return places


def _tissue_nucleus(rng: Generator, shape: Shape, centre: tuple[float, float], angle: float | None) -> Patch:
    if angle is not None:
        return blob(rng, shape, centre, rng.uniform(4.2, 5.4), longer=1.6, angle=angle)
    if rng.random() < 0.45:
        return blob(rng, shape, centre, rng.uniform(3.2, 4.6), longer=rng.uniform(2.2, 3.6))
    return blob(rng, shape, centre, rng.uniform(3.4, 6.0), longer=rng.uniform(1.0, 1.4))


def spots(rng: Generator, shape: Shape, *, noise: float = 1.0, empty: float = 0.05) -> Scene:
    """Draw faint spots of a few tens of counts on a ramp of tens of thousands.

    Stretching such an image to 8 bits makes steps of more than 100 counts and loses every spot.

    Returns
    -------
    Scene of one uint16 channel
    """
    row, col = grid(shape)
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * row + np.sin(angle) * col
    ramp = 24000 + rng.uniform(9000, 14000) * slope.astype(np.float64) / np.abs(slope).max() + 1500 * (row**2 - col**2)
    mask = np.zeros(shape, bool)
    counts = np.zeros(shape, np.float64)
    for _ in range(count(rng, shape, 400, empty)):
        centre = (rng.uniform(2, shape[0] - 2), rng.uniform(2, shape[1] - 2))
        sigma = rng.uniform(1.5, 2.2)
        patch = blob(rng, shape, centre, 4 * sigma, longer=1.0, bumps=0.0)
        profile = np.exp(-0.5 * (4 * patch.rho) ** 2)
        counts[patch.window] += rng.uniform(35, 75) * profile * patch.inside
        mask[patch.window] |= profile > 0.4
    noisy = ramp + counts + noise * _grain(rng, shape)
    return Scene(np.clip(np.rint(noisy), 0, 65535).astype(np.uint16)[..., None], mask)


def _grain(rng: Generator, shape: Shape) -> NDArray[np.float64]:
    """Return what is left of shot and read noise when many frames are averaged: about 7 counts, some px wide."""
    fine = rng.standard_normal(shape)
    return 6.0 * fine + 3.0 * smooth(rng, shape, 6)


def vessels(rng: Generator, shape: Shape, *, noise: float = 1.0, empty: float = 0.0) -> Scene:
    """Draw the retina: vessels branch from a bright disc, thinning; black outside the camera's round field.

    Returns
    -------
    Scene of three uint8 channels, R G B
    """
    n = count(rng, shape, 1, empty)
    half, half_of_longer = min(shape) / 2, max(shape) / 2
    row, col = grid(shape)
    row, col = row * np.float32(half_of_longer / half), col * np.float32(half_of_longer / half)
    field = np.hypot(row, col) < 0.96
    side = rng.choice([-1, 1])
    disc = (rng.uniform(-0.08, 0.08), side * rng.uniform(0.45, 0.55))
    from_disc = np.hypot(row - disc[0], col - disc[1])
    from_macula = np.hypot(row - disc[0] - 0.05, col - disc[1] + side * 0.62)
    canvas = np.zeros(shape, np.uint8)
    start = (shape[0] / 2 + disc[0] * half, shape[1] / 2 + disc[1] * half)
    for i in range(8 if n else 0):
        heading, curl, width = _trunk(rng, i, side)
        _branch(rng, canvas, start, heading, half * rng.uniform(1.1, 1.5), max(width * half, 1.0), 3, curl)
    mask = (canvas > 0) & field
    ground = (
        0.60 + 0.014 * fractal(rng, shape, 0.25 * half + 2, octaves=5) - 0.10 * np.exp(-((from_macula / 0.22) ** 2))
    )
    ground = ground - 0.12 * np.hypot(row, col) ** 2
    glow = 0.30 / (1 + np.exp((from_disc - 0.14) / 0.018))
    dark = blur(canvas.astype(np.float32), max(0.006 * half, 0.6)) * np.clip(
        0.95 + 0.1 * smooth(rng, shape, 20), 0.6, 1.2
    )
    red = ground * 1.18 + 0.6 * glow - 0.10 * dark
    green = ground * 0.62 + 0.9 * glow - 0.145 * dark
    blue = ground * 0.30 + 0.5 * glow - 0.04 * dark
    light = np.stack([red, green, blue], axis=-1) * lamp(rng, shape, 0.2, 0.1)[..., None]
    light = light * blur(field.astype(np.float32), 0.9)[..., None] + 0.01
    return Scene(camera(rng, light.astype(np.float32), noise, well=2500, read=0.008), mask)


def _trunk(rng: Generator, i: int, side: int) -> tuple[float, float, float]:
    """Return heading, curl (radian) and width (half sides of the image) of the i-th trunk.

    Four make the arcades around the macula, an artery and a vein above and below; four go the other way.
    """
    towards = np.pi if side > 0 else 0.0
    sign = 1 if i % 2 else -1
    if i < 4:
        spread = 1.5 if i < 2 else 1.05
        return (
            float(towards + sign * (spread + rng.uniform(-0.15, 0.15))),
            -sign * rng.uniform(0.7, 1.3),
            0.040 - 0.006 * i,
        )
    spread = 2.2 if i < 6 else 2.8
    return float(towards + sign * (spread + rng.uniform(-0.2, 0.2))), sign * rng.uniform(-0.2, 0.5), 0.022


def _branch(rng: Generator, canvas: NDArray[np.uint8], start: tuple[float, float], heading: float, length: float,
            width: float, levels: int, curl: float) -> None:  # fmt: skip
    """Draw a vessel and, along it, thinner ones; in place."""
    widths = (width, max(0.4 * width, 1.0))
    path = wander(rng, start, heading, length, turn=0.6 / max(length, 12), widths=widths, jitter=0.12, curl=curl)
    stroke(canvas, path)
    if not levels:
        return
    side = rng.choice([-1, 1])
    for at in np.sort(rng.uniform(0.12, 0.95, int(rng.integers(2, 5)))):
        i = min(int(at * len(path.points)), len(path.points) - 1)
        step = path.points[min(i + 3, len(path.points) - 1)] - path.points[max(i - 3, 0)]
        side = -side
        turned = float(np.arctan2(step[0], step[1])) + side * rng.uniform(0.35, 0.8)
        place = (float(path.points[i, 0]), float(path.points[i, 1]))
        thinner = max(rng.uniform(0.5, 0.7) * path.widths[i], 1.0)
        _branch(
            rng,
            canvas,
            place,
            turned,
            length * rng.uniform(0.3, 0.55),
            thinner,
            levels - 1,
            -side * rng.uniform(0, 0.6),
        )


def fibres(rng: Generator, shape: Shape, *, noise: float = 1.0, empty: float = 0.05) -> Scene:
    """Draw bright, bent fibres that cross on a dark, uneven ground; some lie deeper and look dim and soft.

    Returns
    -------
    Scene of one uint8 channel
    """
    n = count(rng, shape, 320, empty)
    light = 0.16 + 0.03 * fractal(rng, shape, 50)
    mask = np.zeros(shape, bool)
    preferred = rng.uniform(0, np.pi)
    for _ in range(n):
        canvas = np.zeros(shape, np.uint8)
        width = rng.uniform(2.2, 5.0)
        length = rng.uniform(0.3, 0.9) * max(shape)
        start = (rng.uniform(-0.1, 1.0) * shape[0], rng.uniform(-0.1, 1.0) * shape[1])
        stroke(
            canvas,
            wander(rng, start, preferred + 0.55 * rng.standard_normal(), length, turn=0.006, widths=(width, width)),
        )
        depth = rng.uniform(0, 1)
        body = blur(canvas.astype(np.float32), 0.8 + 0.9 * depth)
        core = blur(canvas.astype(np.float32), 0.35 * width + 0.5)
        light = np.maximum(light, 0.16 + (0.62 - 0.34 * depth) * body * (0.35 + 0.65 * core))
        mask |= canvas > 0
    if n and not mask.any():
        return fibres(rng, shape, noise=noise, empty=0.0)
    light = light + 0.10 * blur(mask.astype(np.float32), 12)
    return Scene(camera(rng, light * lamp(rng, shape, 0.25, 0.3), noise, well=900, read=0.012), mask)


def cracks(rng: Generator, shape: Shape, *, noise: float = 1.0, empty: float = 0.1) -> Scene:
    """Draw branching dark cracks on rough stone, with stains and pits that are not cracks.

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


SCENES: dict[str, Draw] = {
    draw.__name__: draw for draw in (nuclei, tissue, cracks, scratches, vessels, pores, grains, fibres, spots)
}
"""Functions that draw a scene, by name."""

_WORDS = {
    "nuclei": ("Drawn nuclei in fluorescence", "fluorescence microscopy", "scientific", "cell nuclei"),
    "tissue": ("Drawn stained tissue", "brightfield histology (H&E)", "medical", "cell nuclei"),
    "cracks": ("Drawn cracks in stone", "photo", "industrial", "cracks"),
    "scratches": ("Drawn scratches on brushed metal", "machine-vision photo", "industrial", "scratches"),
    "vessels": ("Drawn retinal vessels", "colour fundus photo", "medical", "blood vessels"),
    "pores": ("Drawn pores in a polished section", "SEM", "scientific", "pores"),
    "grains": (
        "Drawn grain boundaries of etched metal",
        "reflected-light microscopy",
        "scientific",
        "grain boundaries",
    ),
    "fibres": ("Drawn fibres", "fluorescence microscopy", "scientific", "fibres"),
    "spots": ("Drawn faint spots on a ramp", "fluorescence microscopy, 16 bits", "scientific", "spots"),
}


def draw_dataset(name: str, folder: str | Path, n: int, shape: Shape, seed: int, n_labelled: int | None = None) -> Path:
    """Generate a dataset: images/, masks/ and dataset.yaml.

    Parameters
    ----------
    name : str
        One of `SCENES`.
    folder : path
        Made if missing; must be empty.
    n : int
        Number of images.
    shape : (M, N), px
    seed : int
        Image i depends on name, seed and i alone.
    n_labelled : int, optional
        How many get a mask, from the first on; all if left out. The first image always holds objects.

    Returns
    -------
    Path of the folder

    Raises
    ------
    SettingsError
        For an unknown scene, or impossible numbers.
    DatasetError
        If the folder holds files already.
    """
    if name not in SCENES:
        raise SettingsError(unknown("scene", name, SCENES))
    labelled = n if n_labelled is None else n_labelled
    if n < 1 or not 0 < labelled <= n:
        raise SettingsError(f"{n} images with {labelled} masks are impossible; take n >= 1 and 1 to n masks.")
    root = make_folders(folder, n, ("images", "masks"))
    for i in range(n):
        rng = stream(seed, "scene", name, i)
        scene = SCENES[name](rng, shape, empty=0.0) if i == 0 else SCENES[name](rng, shape)
        stem = f"{name}_{i:03d}"
        ending = "png" if scene.image.dtype.name == "uint8" else "tif"
        write_image(root / "images" / f"{stem}.{ending}", scene.image)
        if i < labelled:
            write_mask(root / "masks" / f"{stem}.png", scene.mask)
    title, modality, domain, foreground = _WORDS[name]
    words = {"domain": domain, "foreground": foreground, "family": f"drawn-{name}"}
    write_card(root, title, modality, "binary", seed, **words)
    return root


def make_folders(folder: str | Path, n: int, parts: tuple[str, ...]) -> Path:
    """Make the folders of a dataset of n images, in a folder that is empty."""
    if n < 1:
        raise SettingsError(f"{n} images cannot be drawn; take 1 or more.")
    root = expand(folder)
    if root.is_dir() and any(root.iterdir()):
        raise DatasetError(f"{root}: already contains files, which are not overwritten. Choose another folder.")
    for part in parts:
        (root / part).mkdir(parents=True, exist_ok=True)
    return root


def write_card(root: Path, title: str, modality: str, task: str, seed: int, **others: Any) -> None:
    """Write dataset.yaml; `others` are further entries."""
    card = {"title": title, "modality": modality, "domain": "scientific", "task": task} | others
    card |= {"source": f"drawn by evoseg, seed {seed}", "license": "CC0 1.0"}
    (root / "dataset.yaml").write_text(yaml.safe_dump(card, sort_keys=False, allow_unicode=True), encoding="utf-8")
