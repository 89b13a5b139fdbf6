"""Test vectors: images drawn by integer arithmetic and the fingerprint of an answer.

The Python exporter copies these functions into the exported file, so they import numpy only, and other exporters
write the same numbers in their own language.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEPTHS = ("uint8", "uint16")
"""The two drawn images: uint8 with three channels, and uint16 with one and turned by its diagonal."""


def drawn_image(depth: str) -> NDArray[Any]:
    """Draw discs, a thin line and grain on a slanted ground, with integers only."""
    row, col = np.indices((96, 131), np.int64)
    ground = 90 + row // 4 + col // 6
    ground[(row - 30) ** 2 + (col - 34) ** 2 < 300] += 80
    ground[(row - 62) ** 2 + (col - 90) ** 2 < 420] -= 70
    ground[(row - 20) ** 2 + (col - 100) ** 2 < 40] += 60
    ground[abs(3 * row - col - 110) < 5] -= 50
    grain = (row * 7919 + col * 104729 + row * col * 31) % 23
    shades = np.clip(ground + grain, 0, 255)
    if depth == "uint16":
        return np.stack([shades.T * 200], axis=2).astype(np.uint16)
    return np.stack([shades, shades // 2 + 2 * grain, 235 - shades // 2], axis=2).astype(np.uint8)


def fingerprint(result: NDArray[Any]) -> str:
    """Return the SHA-256 of a result's pixels."""
    if result.dtype == np.float64:
        result = np.round(result, 3) + 0.0
    return hashlib.sha256(np.ascontiguousarray(result).tobytes()).hexdigest()
