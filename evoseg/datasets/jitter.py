"""Jittered copies of images, as if taken in other light or with another camera."""

from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.core.transforms import AFFINE, RIGID

GAIN = 0.12
"""Standard deviation of the logarithm of the gain of all channels."""
CAST = 0.04
"""The same, of each channel on its own."""
OFFSET = 0.03
"""Standard deviation of the offset, as a share of the range of values."""
NOISE = 0.02
"""Largest standard deviation of the noise, as a share of the range of values."""
SCALE = 0.1
"""Largest change of scale, as a share."""


def jitter(arrays: dict[str, NDArray[Any]], rng: Generator, *, exact: bool = True) -> dict[str, NDArray[Any]]:
    """Return a copy of an image with another brightness, contrast, colour cast, noise and scale.

    Parameters
    ----------
    arrays : dict
        ``image``, a `Raw` array of shape (M, N, C); any number of bool arrays of shape (M, N), such as ``mask``;
        ``labels``, int32 (M, N), and ``points``, float64 (n, 2). Of a pair, ``moving`` has the image's shape, and is
        scaled with it, as are ``shift``, float64 (2,), and ``rigid`` and ``affine``, float64 (2, 3). Others are handed
        on as they are.
    exact : bool
        False for the masks of early versions, which are up to half a pixel off (`cv2.INTER_NEAREST` takes each pixel's
        corner for its centre).

    Returns
    -------
    dict
        The same keys and dtypes; sizes differ by the scale.
    """
    image = arrays["image"]
    rows, cols = image.shape[:2]
    scale = 1 + rng.uniform(-SCALE, SCALE)
    size = (max(1, round(cols * scale)), max(1, round(rows * scale)))
    copy: dict[str, NDArray[Any]] = {"image": _seen(image, size, rng)}
    for key, plane in arrays.items():
        if key == "points":
            # Pixels are squares: the centre of the first lies half a pixel from the corner.
            copy[key] = (plane + 0.5) * (size[1] / rows, size[0] / cols) - 0.5
        elif key == "shift":
            copy[key] = plane * (size[1] / rows, size[0] / cols)
        elif key in (RIGID, AFFINE):
            scales = np.array([size[1] / rows, size[0] / cols])
            linear = plane[:, :2] * scales[:, None] / scales
            corner = plane[:, :2] @ (0.5 / scales - 0.5) + plane[:, 2]
            copy[key] = np.column_stack([linear, (corner + 0.5) * scales - 0.5])
        elif key == "moving":
            copy[key] = _seen(plane, size, rng)
        elif key == "labels":
            copy[key] = resize_nearest(plane, size, exact=exact)
        elif key != "image":
            same = plane.dtype != np.bool_
            copy[key] = plane if same else resize_nearest(plane.view(np.uint8), size, exact=exact) > 0
    return copy


def _seen(image: NDArray[Any], size: tuple[int, int], rng: Generator) -> NDArray[Any]:
    """Return an image at another size, in another light, with noise."""
    channels = image.shape[2]
    values = _resized(image.astype(np.float32), size, cv2.INTER_LINEAR)
    low, high = np.percentile(values[::4, ::4], (0.5, 99.5))
    spread = max(float(high - low), 1e-6)
    gains = np.exp(rng.normal(0, GAIN) + rng.normal(0, CAST, channels)).astype(np.float32)
    # Gains turn about the dark end, so that a camera's black level stays what it is.
    values = low + (values - low) * gains + np.float32(rng.normal(0, OFFSET) * spread)
    noise = rng.standard_normal(values.shape, dtype=np.float32)
    values += noise * np.float32(rng.uniform(0, NOISE) * spread)
    return as_type(values, image.dtype)


def resize_nearest(plane: NDArray[Any], size: tuple[int, int], *, exact: bool = True) -> NDArray[Any]:
    """Return a plane in another size (columns, rows), each pixel with the value where its centre lies.

    Not by `cv2.INTER_NEAREST_EXACT`, which overflows beyond 32,767 px a side (opencv#21047).
    """
    if not exact:
        return cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST)
    sides = zip(size[::-1], plane.shape, strict=True)
    rows, cols = ((2 * np.arange(new, dtype=np.int64) + 1) * old // (2 * new) for new, old in sides)
    moved: NDArray[Any] = plane[rows[:, None], cols]
    return moved


def _resized(planes: NDArray[Any], size: tuple[int, int], interpolation: int) -> NDArray[Any]:
    """Resize channel by channel: OpenCV takes at most four at once."""
    parts = [cv2.resize(planes[:, :, c], size, interpolation=interpolation) for c in range(planes.shape[2])]
    return np.stack(parts, axis=2)


def as_type(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values as a `Raw` array of a dtype."""
    if dtype.kind == "f":
        return values.astype(dtype)
    return np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)
