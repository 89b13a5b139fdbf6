"""Scenes under a microscope: touching nuclei, stained tissue, faint spots."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.data.scenes.scene import Plane, Scene, Shape, blur, camera, count, fractal, grid, lamp, smooth
from evoseg.data.scenes.shapes import Patch, blob

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
