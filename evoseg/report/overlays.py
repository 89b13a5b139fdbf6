"""Images made for eyes, with the outlines of answer and truth drawn over them."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
"""uint8 array of shape (M, N, 3)."""

# A blue and an orange that stay apart under every common colour blindness, after Okabe and Ito.
TRUTH = (40, 170, 255)
ANSWER = (255, 145, 0)
BOTH = (255, 255, 255)

# Lines keep a dark rim, without which white and orange vanish on paper and blue vanishes on fluorescence.
_RIM = 0.55
_SHIFT = 4


def for_eyes(image: NDArray[Any]) -> Rgb:
    """Return an 8-bit colour picture of any image.

    8-bit values stay as they are; others are mapped from their 0.5 to 99.5 percentiles, one window for the three
    channels of a colour image and one per channel otherwise. One channel is shown grey, two as magenta and green, of
    more than three the first three.

    Parameters
    ----------
    image : array of shape (M, N) or (M, N, C)
        uint8, uint16 or float; values that are not finite are shown black.
    """
    stack = image[:, :, None] if image.ndim == 2 else image[:, :, :3]
    channels = stack.shape[2]
    if stack.dtype != np.uint8:
        groups = [stack] if channels == 3 else [stack[:, :, k : k + 1] for k in range(channels)]
        stack = np.concatenate([_windowed(group) for group in groups], axis=2)
    if channels < 3:
        stack = stack[:, :, [0, channels - 1, 0]]
    return np.ascontiguousarray(stack)


def overlay(image: NDArray[Any], answer: NDArray[Any], truth: NDArray[Any] | None = None) -> Rgb:
    """Draw the outline of the answer, and of the truth if there is one, over the image at its own size.

    Parameters
    ----------
    image : array of shape (M, N) or (M, N, C)
    answer, truth : array of shape (M, N)
        A mask, or labels with 0 as background; touching objects keep separate outlines.

    Returns
    -------
    uint8 array of shape (M, N, 3)
        The answer is orange, the truth blue, and white where both outlines agree.
    """
    width_px = max(1, round(max(answer.shape) / 700))
    return drawn(for_eyes(image), answer, truth, answer.shape, width_px)


def drawn(picture: Rgb, answer: NDArray[Any], truth: NDArray[Any] | None, shape: tuple[int, ...], width_px: int) -> Rgb:
    """Return `picture` scaled to `shape` with outlines that are `width_px` wide whatever the scale."""
    for mask in (answer, truth):
        if mask is not None and mask.shape != picture.shape[:2]:
            raise ValueError(f"a mask of shape {mask.shape} does not belong to an image of shape {picture.shape}")
    canvas = scaled(picture, shape).astype(np.float32)
    a = _lines(answer, shape, width_px)
    t = np.zeros_like(a) if truth is None else _lines(truth, shape, width_px)
    both = np.minimum(a, t)
    ink = np.maximum(a, t)
    rim = cv2.dilate(ink, np.ones((3, 3), np.uint8))
    canvas *= (1 - _RIM * rim)[:, :, None]
    canvas *= (1 - ink)[:, :, None]
    for weight, colour in ((t - both, TRUTH), (a - both, ANSWER), (both, BOTH)):
        canvas += weight[:, :, None] * np.array(colour, np.float32)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def rings(points: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Return labels of shape (M, N) whose outlines are circles about points (row, col)."""
    labels = np.zeros(shape[:2], np.int32)
    radius = max(3, round(min(shape[:2]) / 90))
    for number, (row, col) in enumerate(points, 1):
        cv2.circle(labels, (round(float(col)), round(float(row))), radius, number, -1)
    return labels


def drawable(value: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return what outlines can be drawn of: masks and labels as they are, points (float64) as circles."""
    return rings(value, shape) if value.dtype == np.float64 else value


def scaled(picture: Rgb, shape: tuple[int, ...]) -> Rgb:
    """Return `picture` at another size: averaged when smaller, with hard pixels when much larger."""
    if picture.shape[:2] == tuple(shape[:2]):
        return picture
    factor = shape[0] / picture.shape[0]
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST if factor >= 3 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (shape[1], shape[0]), interpolation=how), np.uint8)


def _windowed(group: NDArray[Any]) -> Rgb:
    values = group.astype(np.float32)
    finite = np.isfinite(values)
    values = np.where(finite, values, -np.inf)
    step = max(1, int((values.size / 1e6) ** 0.5))
    sample = values[::step, ::step]
    sample = sample[np.isfinite(sample)]
    low, high = np.percentile(sample, (0.5, 99.5)) if sample.size else (0.0, 1.0)
    # A flat image is shown dark grey rather than divided by zero.
    gain = 255 / (high - low) if high > low else 0.0
    shown = np.clip((np.maximum(values, low) - low) * gain, 0, 255) if gain else np.full_like(values, 64)
    return np.where(finite, np.rint(shown), 0).astype(np.uint8)


def _lines(mask: NDArray[Any], shape: tuple[int, ...], width_px: int) -> NDArray[np.float32]:
    """Return the outlines as coverage from 0 to 1 at `shape`; objects below one pixel there stay visible.

    Contours are found at the mask's own size or above and their coordinates scaled, because a scaled-down mask loses
    its thin parts. Small masks are enlarged first, so that lines run along pixel edges and not through centres.
    """
    # Drawn at twice the size and averaged: widths of whole pixels are either too faint or too heavy.
    canvas = np.zeros((2 * shape[0], 2 * shape[1]), np.uint8)
    times = max(1, -(-canvas.shape[0] // mask.shape[0]))
    fine = mask.repeat(times, axis=0).repeat(times, axis=1)
    factor = np.array([canvas.shape[1] / fine.shape[1], canvas.shape[0] / fine.shape[0]])
    for contour in _contours(fine):
        points = ((contour + 0.5) * factor - 0.5) * (1 << _SHIFT)
        line = np.rint(points).astype(np.int32)
        cv2.polylines(canvas, [line], True, (255,), 2 * width_px + 1, cv2.LINE_AA, _SHIFT)
    coverage = cv2.resize(canvas, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(coverage, np.float32) / np.float32(255)


def _contours(mask: NDArray[Any]) -> list[NDArray[Any]]:
    """Return closed contours, (n, 1, 2) as (column, row), of a mask or of each object of a label image."""
    if mask.max(initial=0) <= 1:
        return list(cv2.findContours((mask > 0).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0])
    found: list[NDArray[Any]] = []
    numbers = mask.astype(np.int32)
    order = np.argsort(numbers, axis=None, kind="stable")
    values, starts = np.unique(numbers.ravel()[order], return_index=True)
    for value, pixels in zip(values, np.split(order, starts[1:]), strict=True):
        if value <= 0:
            continue
        row, column = np.divmod(pixels, mask.shape[1])
        corner = np.array([column.min(), row.min()])
        window = np.zeros((row.max() - corner[1] + 1, column.max() - corner[0] + 1), np.uint8)
        window[row - corner[1], column - corner[0]] = 1
        found.extend(c + corner for c in cv2.findContours(window, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0])
    return found
