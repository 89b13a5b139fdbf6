"""Transforms between two images of one scene: a shift, a rotation as well, or any linear map and a shift.

A transform is a float64 array of shape (2, 3), [[yy, yx, dy], [xy, xx, dx]]: what is at (row, col) in the fixed image
is at (yy row + yx col + dy, xy row + xx col + dx) in the moving one.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHIFT, RIGID, AFFINE = "shift", "rigid", "affine"
TRANSFORMS = (SHIFT, RIGID, AFFINE)
"""The kinds of transforms, from the narrowest to the widest."""
NEEDED_POINTS = {SHIFT: 1, RIGID: 2, AFFINE: 3}
"""Points without which a transform of a kind is not determined."""
MOST_DEGREES = 45
LEAST_SCALE, MOST_SCALE = 0.8, 1.25
"""Largest rotation, and the factors of stretching, that are looked for."""
_ALIKE = 1e-3


def as_transform(shift: NDArray[Any]) -> Floats:
    """Return the transform, (2, 3), of a shift (dy, dx); a transform is returned as it is."""
    return np.column_stack([np.eye(2), shift]) if np.ndim(shift) == 1 else np.asarray(shift, np.float64)


def move_points(transform: Floats, points: NDArray[Any]) -> Floats:
    """Return where points (row, col) of the fixed image, shape (n, 2), are in the moving one."""
    return np.asarray(points @ transform[:, :2].T + transform[:, 2], np.float64)


def is_rigid(transform: Floats) -> bool:
    """Return whether a transform is a rotation and a shift, to the digits that a table has."""
    linear = transform[:, :2]
    return bool(np.abs(linear.T @ linear - np.eye(2)).max() < _ALIKE and np.linalg.det(linear) > 0)


def fit_transform(fixed: Floats, moving: Floats, kind: str) -> Floats | None:
    """Return the transform of a kind that takes points of the fixed image nearest to those of the moving one.

    The sum of squared distances is least; for rotations, see Umeyama, IEEE TPAMI 13(4), 1991. doi:10.1109/34.88573

    Parameters
    ----------
    fixed, moving : float64 arrays of shape (n, 2), (row, col)
    kind : str
        One of `TRANSFORMS`.

    Returns
    -------
    float64 array of shape (2, 3), or None if the points do not determine it
    """
    middles = fixed.mean(axis=0), moving.mean(axis=0)
    a, b = fixed - middles[0], moving - middles[1]
    # Points in a line leave an affine transform open, points in one place a rotation as well.
    spread = np.linalg.svd(a, compute_uv=False)
    if int(np.sum(spread > 1e-6 * max(1.0, spread[0]))) < NEEDED_POINTS[kind] - 1:
        return None
    linear = np.eye(2)
    if kind == AFFINE:
        linear = np.linalg.lstsq(a, b, rcond=None)[0].T
    elif kind == RIGID:
        left, _, right = np.linalg.svd(b.T @ a)
        linear = left @ np.diag([1.0, np.sign(np.linalg.det(left @ right))]) @ right
    return np.column_stack([linear, middles[1] - linear @ middles[0]])


def resample(moving: NDArray[Any], transform: Floats) -> NDArray[Any]:
    """Return the moving image on the grid of pixels of the fixed one, by linear interpolation; 0 outside of it.

    Parameters
    ----------
    moving : uint8, uint16 or float32 array of shape (M, N) or (M, N, C)
    transform : float64 array of shape (2, 3)
    """
    planes = moving if moving.ndim == 3 else moving[:, :, None]
    # OpenCV takes (x, y) where evoseg has (row, col), and few channels at once.
    matrix, size = transform[::-1, [1, 0, 2]], planes.shape[1::-1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = [cv2.warpAffine(plane, matrix, size, flags=flags) for plane in np.moveaxis(planes, 2, 0)]
    return np.stack(seen, axis=2).reshape(moving.shape)
