"""Scenes and arrays that operators are tried on, and what they are held against."""

import cv2
import numpy as np
from hypothesis.extra import numpy as hnp

planes = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))
some_masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


def grid(*rows: str) -> np.ndarray:
    """Return a mask from rows of # and dots."""
    return np.array([[c == "#" for c in row] for row in rows])


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.sum(a & b) / (np.sum(a) + np.sum(b))


def crack(seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Draw a dark line, 3 px wide, under a strong lighting ramp with noise; return the plane and the line."""
    line = np.zeros((61, 83), np.uint8)
    cv2.polylines(line, [np.array([[3, 50], [30, 30], [55, 36], [80, 8]])], False, 1, 3)
    lit = np.linspace(70, 220, 83) - 35.0 * line + np.random.default_rng(seed).normal(0, 3, line.shape)
    return np.clip(lit, 0, 255).astype(np.uint8), line > 0


def disc(shape: tuple[int, int], centre: tuple[int, int], radius: int, inside: int, outside: int) -> np.ndarray:
    row, col = np.ogrid[: shape[0], : shape[1]]
    return np.where((row - centre[0]) ** 2 + (col - centre[1]) ** 2 <= radius**2, inside, outside).astype(np.uint8)


def thinned(mask: np.ndarray) -> np.ndarray:
    """Thin by the rules of Zhang and Suen (1984) as they are written there, pixel by pixel."""
    grid = np.pad(mask, 1).astype(int)
    changed = True
    while changed:
        changed = False
        for second in (False, True):
            gone = []
            for i, j in np.argwhere(grid):
                p2, p3, p4 = grid[i - 1, j], grid[i - 1, j + 1], grid[i, j + 1]
                p5, p6, p7 = grid[i + 1, j + 1], grid[i + 1, j], grid[i + 1, j - 1]
                p8, p9 = grid[i, j - 1], grid[i - 1, j - 1]
                around = [p2, p3, p4, p5, p6, p7, p8, p9]
                rises = sum(u == 0 and v == 1 for u, v in zip(around, around[1:] + around[:1], strict=True))
                clear = p2 * p4 * p8 == 0 == p2 * p6 * p8 if second else p2 * p4 * p6 == 0 == p4 * p6 * p8
                if 2 <= sum(around) <= 6 and rises == 1 and clear:
                    gone.append((i, j))
            for place in gone:
                grid[place] = 0
                changed = True
    return grid[1:-1, 1:-1] > 0
