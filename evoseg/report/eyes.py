"""An image as panels side by side, for whoever can only look: windows, outlines, errors, a scale."""

import base64
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.report.overlays import ANSWER, TRUTH, Rgb, drawn, for_eyes, scaled

SIDE_PX = 384
"""Longer side of a panel."""
_GAP_PX = 6
_BAR_PX = 22
_LENGTHS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000)


def panels(image: NDArray[Any], truth: NDArray[Any] | None, answer: NDArray[Any] | None) -> Rgb:
    """Return the image by percentiles, by logarithms if it has more than 8 bits, with outlines, and its errors.

    Parameters
    ----------
    image : array of shape (M, N, C)
    truth, answer : array of shape (M, N), or None
        Masks or labels.
        Outlines are blue for the truth, orange for the answer, white for both. The last panel, there if both are,
        has missed pixels in blue and wrongly marked ones in orange.

    Returns
    -------
    uint8 array of shape (P, Q, 3)
        Below the panels, a bar with its length in pixels of the image.
    """
    factor = min(1.0, SIDE_PX / max(image.shape[:2]))
    shape = (max(1, round(image.shape[0] * factor)), max(1, round(image.shape[1] * factor)))
    plain = for_eyes(image)
    shown = [scaled(plain, shape)]
    if image.dtype != np.uint8:
        finite = np.where(np.isfinite(image), image, 0).astype(np.float32)
        shown.append(scaled(for_eyes(np.log1p(finite - finite.min())), shape))
    if truth is not None:
        nothing = np.zeros_like(truth)
        shown.append(drawn(plain, nothing if answer is None else answer, truth, shape, 1))
    if truth is not None and answer is not None:
        shown.append(scaled(_errors(truth > 0, answer > 0), shape))
    gap = np.full((shape[0], _GAP_PX, 3), 255, np.uint8)
    row = np.concatenate([part for panel in shown for part in (gap, panel)][1:], axis=1)
    return np.concatenate([row, _bar(row.shape[1], shape[1], factor)], axis=0)


def data_url(picture: Rgb) -> str:
    """Return a picture as a PNG in a data URL."""
    _, data = cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]))
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"


def _errors(truth: NDArray[Any], answer: NDArray[Any]) -> Rgb:
    picture = np.zeros((*truth.shape, 3), np.uint8)
    picture[truth & answer] = 90
    picture[truth & ~answer] = TRUTH
    picture[answer & ~truth] = ANSWER
    return picture


def _bar(width: int, panel: int, factor: float) -> Rgb:
    """Return a strip with a bar of a round length of at most half a panel."""
    strip = np.full((_BAR_PX, width, 3), 255, np.uint8)
    length = max((n for n in _LENGTHS if n * factor <= panel / 2), default=_LENGTHS[0])
    end = min(width - 1, 2 + round(length * factor))
    cv2.rectangle(strip, (2, 6), (end, 10), (0, 0, 0), -1)
    cv2.putText(strip, f"{length} px", (end + 4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
