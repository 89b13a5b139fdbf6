"""Scenes of lines that branch or cross: retinal vessels, fibres."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.data.scenes.scene import Scene, Shape, blur, camera, count, fractal, grid, lamp, smooth
from evoseg.data.scenes.shapes import stroke, wander


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
