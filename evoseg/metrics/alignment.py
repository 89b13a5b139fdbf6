"""Find the transform between two planes of one scene, to fractions of a pixel, and tell how far off it is.

A shift is found by `shift_between`. Of a rotation or an affine map, a start is found in small planes, by correlation at
every shift for each of several angles. It is refined by the method of Gauss and Newton, in ever larger planes. What is
compared are correlation coefficients, of either sign: a plane and its negative look alike (as Evangelidis and Psarakis,
IEEE TPAMI 30(10), 2008, doi:10.1109/TPAMI.2008.113, do for one sign).

Guesses are arrays of shape (2, 3) as transforms are, but between places relative to the middles of the planes.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.transforms import MOST_DEGREES, RIGID, SHIFT, Floats, as_transform, move_points
from evoseg.metrics.shift_scores import correlate_shifts, shift_between

Plane = NDArray[np.float32]

_STEP_DEGREES = 5
_SMALLEST_PX = 40
"""Longest side of the planes in which the start is found; 5 degrees are less than two of their pixels."""
_STARTS = 6
_FEW_STARTS = 3
"""Guesses that are refined in the small planes: as rigid ones, then as what is looked for."""
_FADE = 0.12
"""Share of each side over which pixels count less: what lies outside of an image has changed its filtered border."""
_LEAST_OVERLAP = 0.2
_STEPS = 10
_STILL_PX = 0.01
_LONGEST_PX = 2.0
"""Steps end when they move no pixel by more than `_STILL_PX`, and move none by more than `_LONGEST_PX`."""
_GRID = 9


def transform_between(fixed: NDArray[Any], moving: NDArray[Any], kind: str) -> Floats:
    """Return the transform of a kind at which two planes are most alike.

    Parameters
    ----------
    fixed, moving : arrays of shape (M, N)
    kind : "shift", "rigid" or "affine"

    Returns
    -------
    float64 array of shape (2, 3)
        As in `evoseg.core.transforms`. The middle moves by at most half a side, and rotations are at most 45 degrees;
        affine maps are looked for near rotations. If a plane is flat, nothing moves.
    """
    if kind == SHIFT:
        return as_transform(shift_between(fixed, moving))
    factors = [1]
    while max(fixed.shape) > _SMALLEST_PX * factors[-1]:
        factors.append(2 * factors[-1])
    a, b = (_reduced(plane, factors[-1]) for plane in (fixed, moving))
    guess, shape = _start(a, b, kind), a.shape
    for factor in factors[-2::-1]:
        a, b = (_reduced(plane, factor) for plane in (fixed, moving))
        guess[:, 2] *= np.divide(a.shape, shape)
        guess, shape = _refined(a, b, guess, kind)[0], a.shape
    return _between_corners(guess, shape)


def grid_error(found: Floats, truth: Floats, shape: tuple[int, ...]) -> float:
    """Return the median distance, px, between where two transforms take the points of a grid over an image."""
    rows, cols = np.meshgrid(*(np.linspace(0, n - 1, _GRID) for n in shape[:2]), indexing="ij")
    grid = np.column_stack([rows.ravel(), cols.ravel()])
    return float(np.median(np.hypot(*(move_points(found, grid) - move_points(truth, grid)).T)))


def _reduced(plane: NDArray[Any], factor: int) -> Plane:
    """Return a plane with fewer pixels, smooth enough to be interpolated."""
    plane = plane.astype(np.float32)
    if factor == 1:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), 0.7), np.float32)
    size = (max(1, round(plane.shape[1] / factor)), max(1, round(plane.shape[0] / factor)))
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)


def _start(fixed: Plane, moving: Plane, kind: str) -> Floats:
    """Return the best guess in small planes."""
    guesses = []
    for angle in np.radians(np.arange(-MOST_DEGREES, MOST_DEGREES + 1, _STEP_DEGREES)):
        turned = _rotation(float(angle))
        likeness, shift = correlate_shifts(fixed, _seen(moving, turned))
        guesses.append((likeness, np.column_stack([turned[:, :2], turned[:, :2] @ shift])))
    guesses = [_refined(fixed, moving, guess, RIGID)[::-1] for _, guess in _best(guesses, _STARTS)]
    if kind != RIGID:
        guesses = [_refined(fixed, moving, guess, kind)[::-1] for _, guess in _best(guesses, _FEW_STARTS)]
    ((likeness, guess),) = _best(guesses, 1)
    return guess if likeness > 0 else np.eye(2, 3)


def _best(guesses: list[tuple[float, Floats]], n: int) -> list[tuple[float, Floats]]:
    return sorted(guesses, key=lambda one: -one[0])[:n]


def _rotation(angle: float) -> Floats:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])


def _refined(fixed: Plane, moving: Plane, guess: Floats, kind: str) -> tuple[Floats, float]:
    """Return a better guess, and the correlation there, weighted by the root of the overlap; 0 if it got lost."""
    down, right = (cv2.Sobel(moving, cv2.CV_32F, x, 1 - x, scale=1 / 8) for x in (0, 1))
    fade = np.outer(*(_ramp(n) for n in moving.shape))
    planes = [np.asarray(plane, np.float32) for plane in (moving, down, right, fade)]
    likeness = 0.0
    for _ in range(_STEPS):
        likeness, step = _compared(fixed, planes, guess, kind)
        if likeness == 0:
            break
        step *= min(1.0, _LONGEST_PX / max(float(np.abs(step).max()), 1e-9))
        guess = _moved(guess, step, max(fixed.shape) / 2)
        if np.abs(step).max() < _STILL_PX:
            break
    return guess, likeness


def _ramp(n: int) -> Floats:
    """Return weights that rise from the ends of a line to 1."""
    places = (np.arange(n) + 0.5) / n
    return np.asarray(np.minimum(np.minimum(places, 1 - places) / _FADE, 1))


def _compared(fixed: Plane, planes: list[Plane], guess: Floats, kind: str) -> tuple[float, Floats]:
    """Return how alike two planes are at a guess, and the step to a better one; zeros if that cannot be told.

    The moving plane is taken as a linear function of the fixed one, whose two coefficients are eliminated (Golub and
    Pereyra, SIAM J. Numer. Anal. 10(2), 1973, doi:10.1137/0710036, in the form of Kaufman).
    """
    seen, down, right, fade = (_seen(plane, guess) for plane in planes)
    inside = _seen(np.ones_like(planes[0]), guess, cv2.BORDER_CONSTANT) > 0.999
    overlap = float(inside.mean())
    nothing = 0.0, np.zeros(3 if kind == RIGID else 6)
    if overlap < _LEAST_OVERLAP:
        return nothing
    weights = np.sqrt(planes[3] * fade)[inside][:, None]
    known = weights * np.column_stack([np.ones(len(weights), np.float32), fixed[inside]])
    slopes = weights * _slopes(down[inside], right[inside], _places(fixed.shape, inside), guess, kind)
    values = weights[:, 0] * seen[inside]
    basis, _ = np.linalg.qr(known)
    level = basis[:, :1] * (basis[:, 0] @ values)
    spread = float(np.sum((values - level[:, 0]) ** 2))
    rest = values - basis @ (basis.T @ values)
    slopes = slopes - basis @ (basis.T @ slopes)
    normal = (slopes.T @ slopes).astype(np.float64)
    if spread <= 1e-9 * len(values) or not normal.any():
        return nothing
    # A little damping, as parameters may be hardly determined in small planes.
    normal += np.diag(1e-3 * np.diag(normal) + 1e-9 * np.trace(normal))
    step = -np.linalg.solve(normal, (slopes.T @ rest).astype(np.float64))
    return float(np.sqrt(max(0.0, 1 - float(rest @ rest) / spread) * overlap)), step


def _places(shape: tuple[int, ...], inside: NDArray[np.bool_]) -> Plane:
    """Return rows and columns of pixels from the middle, in halves of the longest side, shape (n, 2)."""
    middle, half = (np.array(shape) - 1) / 2, max(shape) / 2
    return np.asarray((np.argwhere(inside) - middle) / half, np.float32)


def _slopes(down: Plane, right: Plane, places: Plane, guess: Floats, kind: str) -> Plane:
    """Return by how much the values change with each parameter of a step, shape (n, 3) or (n, 6)."""
    across = np.column_stack([down, right])
    if kind == RIGID:
        turning = places @ (guess[:, :2] @ [[0, -1], [1, 0]]).T.astype(np.float32)
        return np.column_stack([across, (across * turning).sum(axis=1)])
    return np.column_stack([across, down[:, None] * places, right[:, None] * places])


def _moved(guess: Floats, step: Floats, half: float) -> Floats:
    """Return a guess after a step: the shift of the middle, then the angle or linear map, as shifts at the border."""
    linear = guess[:, :2]
    if len(step) == 3:
        linear = linear @ _rotation(float(step[2]) / half)[:, :2]
    else:
        linear = linear + step[2:].reshape(2, 2) / half
    return np.column_stack([linear, guess[:, 2] + step[:2]])


def _between_corners(guess: Floats, shape: tuple[int, ...]) -> Floats:
    """Return a guess as a transform: places are counted from the first pixel, not from the middle."""
    middle = (np.array(shape) - 1) / 2
    return np.column_stack([guess[:, :2], middle + guess[:, 2] - guess[:, :2] @ middle])


def _seen(plane: Plane, guess: Floats, border: int = cv2.BORDER_REFLECT_101) -> Plane:
    """Return a moving plane as it looks on the pixels of the fixed one, of the same shape."""
    transform = _between_corners(guess, plane.shape)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(plane, transform[::-1, [1, 0, 2]], plane.shape[::-1], flags=flags, borderMode=border)
    return np.asarray(seen, np.float32)
