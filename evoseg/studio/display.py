"""What is shown: tiles of images, labels and answers at every zoom, and thumbnails, as PNG files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError
from evoseg.drawing import Rgb, as_outlines, to_rgb
from evoseg.report.figures import legible_gain
from evoseg.studio.history import Box
from evoseg.studio.project import BytesCache, Project, StudioImage

TILE = 512
"""Side of a tile, px on the screen. At zoom z a tile shows TILE * 2**z pixels of the image."""
LEVEL_BYTES = 2**28
"""Reduced images that are kept in memory, in all."""
MOST_KEPT = 2**25
"""Pixels of a reduced image that is kept; tiles of larger ones are reduced each time they are asked for."""
_BAND = 2**24
"""Pixels of a large image that are reduced at a time."""
_THUMBNAIL = 160
"""Longest side of a thumbnail, px."""
_WINDOWED = 512
"""Longest side of the reduced image whose percentiles set the display."""

COLOURS: tuple[tuple[int, int, int], ...] = (
    (0, 0, 0),
    (70, 165, 240),
    (255, 145, 0),
    (0, 178, 128),
    (222, 110, 180),
    (236, 219, 60),
    (150, 120, 255),
    (230, 80, 60),
    (150, 200, 90),
)
"""Of labels, by number: background is blue, foreground orange, as in reports; classes beyond repeat from green."""


def colour_of(label: int) -> tuple[int, int, int]:
    """Return the colour of a label."""
    return COLOURS[label] if label < len(COLOURS) else COLOURS[3 + (label - 3) % (len(COLOURS) - 3)]


_PALETTE = np.array([(*colour_of(v)[::-1], 255 if v else 0) for v in range(256)], np.uint8)
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
BESIDE: tuple[tuple[int, int, int], ...] = ((40, 125, 215), (190, 85, 200), (20, 145, 95), (205, 85, 50))
"""Of answers that are outlined beside each other, seen on white and on black: blue, violet, green, red."""
_LABEL_COLOURS = np.array([(0, 0, 0), *COLOURS[1:]], np.uint8)
_DASH = 4
"""Pixels that one outline has before the next has as many, where several meet."""
_INSIDE, _RIM = 84, 240
"""Opacity of an answer inside objects and along their rim."""


@dataclass(frozen=True)
class Look:
    """How an image is displayed.

    Attributes
    ----------
    channel : int
        Which one, from 0; -1 for all as colours.
    low, high : float
        Percentiles that become black and white; 0 and 100 leave 8-bit images as they are.
    log : bool
        Whether brightness is logarithmic.
    """

    channel: int = -1
    low: float = 0.0
    high: float = 100.0
    log: bool = False


@final
class Display:
    """Draws the images of a project."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._levels = BytesCache[tuple[str, int], NDArray[Any]](LEVEL_BYTES)

    def n_levels(self, image: StudioImage) -> int:
        """Return at how many zooms there are tiles: at the last one, a single tile shows everything."""
        side = max(self._project.rows(image).shape)
        return max(1, int(np.ceil(np.log2(max(1, side / TILE)))) + 1)

    def tile(self, image: StudioImage, z: int, row: int, col: int, look: Look) -> bytes:
        """Return a tile of the image.

        Raises
        ------
        DatasetError
            If there is no such tile, or the image cannot be read.
        """
        box = self.box(image, z, row, col)
        pixels = self._level(image, z)[_scaled(box, z)] if self._is_kept(image, z) else self._crop(image, z, box)
        return encode(self._shown(image, pixels, look))

    def thumbnail(self, image: StudioImage) -> bytes:
        """Return the whole image, small.

        Raises
        ------
        DatasetError
            If it cannot be read.
        """
        small = to_rgb(self._small(image))
        factor = min(1.0, _THUMBNAIL / max(small.shape[:2]))
        shape = (max(1, round(small.shape[1] * factor)), max(1, round(small.shape[0] * factor)))
        return encode(np.asarray(cv2.resize(small, shape, interpolation=cv2.INTER_AREA), np.uint8))

    def box(self, image: StudioImage, z: int, row: int, col: int) -> Box:
        """Return the pixels that a tile shows.

        Raises
        ------
        DatasetError
            If there is no such tile.
        """
        height, width = self._project.rows(image).shape
        side = TILE << z if 0 <= z < 32 else 0
        if not (side and 0 <= row * side < height and 0 <= col * side < width and z < self.n_levels(image)):
            raise DatasetError(f"{image.stem}: has no tile {row}, {col} at zoom {z}.")
        return row * side, col * side, min(height, (row + 1) * side), min(width, (col + 1) * side)

    def _level(self, image: StudioImage, z: int) -> NDArray[Any]:
        """Return an image reduced by 2**z."""
        return self._levels.get((image.id, z), lambda: self._reduced(image, z), lambda level: int(level.nbytes))

    def _reduced(self, image: StudioImage, z: int) -> NDArray[Any]:
        if self._is_kept(image, z - 1):
            return halved(self._level(image, z - 1))
        height, width = self._project.rows(image).shape
        step = max(1, (_BAND // width) >> z) << z
        bands = [self._crop(image, z, (top, 0, min(height, top + step), width)) for top in range(0, height, step)]
        return np.concatenate(bands)

    def _is_kept(self, image: StudioImage, z: int) -> bool:
        height, width = self._project.rows(image).shape
        return z > 0 and (height >> z) * (width >> z) <= MOST_KEPT

    def _crop(self, image: StudioImage, z: int, box: Box) -> NDArray[Any]:
        """Return the pixels of a box reduced by 2**z, without keeping them."""
        pixels = self._project.crop(image, box)
        for _ in range(z):
            pixels = halved(pixels)
        return pixels

    def _small(self, image: StudioImage) -> NDArray[Any]:
        height, width = self._project.rows(image).shape
        z = max(0, int(np.ceil(np.log2(max(1.0, max(height, width) / _WINDOWED)))))
        return self._level(image, z) if z else self._project.crop(image, (0, 0, height, width))

    def _shown(self, image: StudioImage, pixels: NDArray[Any], look: Look) -> Rgb:
        """Return pixels as they look on the screen."""
        small = self._small(image)
        channels = small.shape[2]
        if look.channel >= channels:
            raise DatasetError(f"{image.stem}: has no channel {look.channel}; there are {channels}, counted from 0.")
        picked = [look.channel] if look.channel >= 0 else list(range(channels))[:3]
        if len(picked) == 2:
            picked = [picked[0], picked[1], picked[0]]  # magenta and green, as in reports
        native = look.low <= 0 and look.high >= 100 and not look.log and pixels.dtype == np.uint8
        planes = [pixels[:, :, c] if native else _windowed(pixels[:, :, c], small[:, :, c], look) for c in picked]
        return np.ascontiguousarray(np.stack(planes * (3 // len(planes)), axis=2))


def _windowed(values: NDArray[Any], small: NDArray[Any], look: Look) -> NDArray[np.uint8]:
    """Return values as 0 to 255 between two percentiles of the whole image."""
    low, high = (float(v) for v in np.percentile(small, (look.low, look.high)))
    shown = np.clip((values.astype(np.float32) - low) / max(high - low, 1e-12), 0, 1)
    if look.log:
        shown = np.log1p(255 * shown) / np.log(256)
    return np.asarray(np.rint(255 * shown), np.uint8)


def _scaled(box: Box, z: int) -> tuple[slice, slice]:
    """Return the part of a reduced image that a box of the whole one is."""
    top, left, bottom, right = box
    return slice(top >> z, -(-bottom >> z)), slice(left >> z, -(-right >> z))


def halved(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return an image of half the size, each pixel the mean of four."""
    rows, cols = pixels.shape[:2]
    padded = np.pad(pixels, ((0, rows % 2), (0, cols % 2), (0, 0)), mode="edge")
    size = (padded.shape[1] // 2, padded.shape[0] // 2)
    # OpenCV takes four channels at most.
    parts = [
        cv2.resize(np.ascontiguousarray(padded[:, :, c : c + 4]), size, interpolation=cv2.INTER_AREA)
        for c in range(0, padded.shape[2], 4)
    ]
    return np.concatenate([part.reshape(size[1], size[0], -1) for part in parts], axis=2)


def draw_strokes(labels: NDArray[np.uint8], z: int) -> bytes:
    """Return labels as a PNG file that is clear where they are 0, at 1 / 2**z of their size; thin strokes stay."""
    for _ in range(z):
        rows, cols = labels.shape
        padded = np.pad(labels, ((0, rows % 2), (0, cols % 2)))
        across = np.maximum(padded[::2], padded[1::2])
        labels = np.maximum(across[:, ::2], across[:, 1::2])
    return _png(_PALETTE[labels])


def draw_answer(labels: NDArray[np.uint8], z: int) -> bytes:
    """Return labels as a PNG file, at 1 / 2**z of their size: shaded inside, with an outline; background is clear."""
    small = np.ascontiguousarray(labels[:: 1 << z, :: 1 << z])
    picture = _PALETTE[np.where(small > 1, small, 0)]
    rim = (cv2.erode(small, _CROSS) != small) | (cv2.dilate(small, _CROSS) != small)
    picture[:, :, 3] = np.where(small > 1, np.where(rim, _RIM, _INSIDE), 0)
    return _png(picture)


def draw_objects(objects: NDArray[np.uint16], z: int) -> bytes:
    """Return objects as a PNG file, at 1 / 2**z of their size, each shaded in a colour and with an outline."""
    small = np.ascontiguousarray(objects[:: 1 << z, :: 1 << z])
    picture = np.zeros((*small.shape, 4), np.uint8)
    picture[:, :, :3] = _LABEL_COLOURS[np.where(small > 0, 1 + small % (len(_LABEL_COLOURS) - 1), 0)][:, :, ::-1]
    rim = cv2.erode(small, _CROSS) != small
    picture[:, :, 3] = np.where(small > 0, np.where(rim, _RIM, _INSIDE), 0)
    return _png(picture)


def draw_outlines(answers: Sequence[NDArray[np.uint8]], z: int) -> bytes:
    """Return the outlines of answers as a PNG file, at 1 / 2**z of their size, each in its colour of `BESIDE`.

    Where several run along the same pixels, they take turns.
    """
    small = [np.ascontiguousarray(labels[:: 1 << z, :: 1 << z]) for labels in answers]
    picture = np.zeros((*small[0].shape, 4), np.uint8)
    rims = [cv2.erode(one, _CROSS) != cv2.dilate(one, _CROSS) for one in small]
    rows, cols = np.indices(small[0].shape)
    dash = (rows + cols) // _DASH % len(rims)
    for i, rim in enumerate(rims):
        free = picture[:, :, 3] == 0
        picture[rim & (free | (dash == i))] = (*BESIDE[i][::-1], 255)
    return _png(picture)


def draw_value(value: NDArray[Any], shape: tuple[int, int], box: Box, z: int) -> bytes:
    """Return a part of a step's value on an image of some shape as a PNG file, at 1 / 2**z of its size."""
    top, left, bottom, right = box
    whole = as_outlines(value, shape)
    gain = legible_gain(whole) if whole.dtype == np.uint8 and whole.ndim == 2 else 1.0
    return encode(_shown_value(whole[top : bottom : 1 << z, left : right : 1 << z], gain))


def draw_thumbnail(value: NDArray[Any], shape: tuple[int, int]) -> bytes:
    """Return a step's value on an image of some shape as a small PNG file."""
    z = max(0, int(np.ceil(np.log2(max(*shape, 1) / _THUMBNAIL))))
    return draw_value(value, shape, (0, 0, *shape), z)


def _shown_value(value: NDArray[Any], gain: float) -> Rgb:
    """Return a step's value as it looks: planes grey, masks white, labels coloured."""
    if value.dtype == np.bool_:
        return to_rgb(value.astype(np.uint8) * np.uint8(255))
    if value.dtype == np.int32:
        return _LABEL_COLOURS[np.where(value > 0, 1 + value % (len(_LABEL_COLOURS) - 1), 0)]
    return to_rgb(np.asarray(cv2.convertScaleAbs(value, alpha=gain)) if value.ndim == 2 else value)


def draw_heat(plane: NDArray[np.uint8], z: int) -> bytes:
    """Return a plane as a PNG file that is clear where it is 0 and cyan where it is 255, at 1 / 2**z of its size."""
    for _ in range(z):
        plane = halved(plane[:, :, None])[:, :, 0]
    picture = np.empty((*plane.shape, 4), np.uint8)
    picture[:, :, :3] = (235, 220, 0)
    picture[:, :, 3] = (plane.astype(np.uint16) * 190 // 255).astype(np.uint8)
    return _png(picture)


def encode(picture: Rgb) -> bytes:
    """Return a picture as a PNG file, quickly."""
    return _png(np.ascontiguousarray(picture[:, :, ::-1]))


def _png(picture: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
