"""Examples as a network trains on them: at working resolution, standardised, with planes of truth beside."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from skimage.measure import regionprops

from evoseg.evolve.networks import point_spacing
from evoseg.networks.architecture import Standard
from evoseg.networks.values import OUTPUTS, Example, Head
from evoseg.operators.network import measure_brightness, prepare

_MAX_PX = 16_000_000
"""Working pixels of all scenes together; of larger images, a part is trained on."""
_MAX_VALUES = 12 * _MAX_PX
"""Numbers that all scenes together hold, so that images of many channels fit into memory, too."""
_SMALLEST_SIDE = 100
"""Of an image at working resolution, px."""
_THIN, _THICK = 14, 30
"""Object radii, px, up to which a network works at full and at half resolution."""
_BLOB_SHARE = 0.15
_BLOB_SIGMAS = (1.5, 6.0)
"""The deviation of a point's blob, as a share of the distance of neighbouring points, and its bounds, px."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One example at working resolution.

    Attributes
    ----------
    image : float32 array of shape (C, h, w)
        Standardised.
    truth : float32 array of shape (K, h, w)
        0 to 1.
    known : float32 array of shape (1, h, w)
        0 or 1.
    """

    image: NDArray[np.float32]
    truth: NDArray[np.float32]
    known: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        rows, cols = self.known.shape[1:]
        return rows, cols


def draw_truth(example: Example, head: Head, blob_sigma: float) -> NDArray[np.float32]:
    """Return the planes that a network is to give.

    Returns
    -------
    float32 array of shape (M, N, K), 0 to 1
    """
    if head == "points":
        return draw_blobs(example.truth, example.image.shape[:2], blob_sigma)[:, :, None]
    foreground = (example.truth > 0).astype(np.float32)
    if head == "mask":
        return foreground[:, :, None]
    return np.stack([foreground, rim_distance(example.truth)], axis=2)


def rim_distance(labels: NDArray[Any]) -> NDArray[np.float32]:
    """Return each pixel's distance to the rim of its object, divided by the object's greatest; 0 on the background.

    The image's border is no rim: what is cut off there goes on.
    """
    result = np.zeros(labels.shape, np.float32)
    for region in regionprops(labels.astype(np.int32, copy=False)):
        box = tuple(
            slice(max(0, part.start - 1), min(n, part.stop + 1))
            for part, n in zip(region.slice, labels.shape, strict=True)
        )
        own = labels[box] == region.label
        depth = cv2.distanceTransform(own.view(np.uint8), cv2.DIST_L2, 5) if not own.all() else np.ones(own.shape)
        result[box][own] = (depth / depth.max())[own]
    return result


def draw_blobs(points: NDArray[Any], shape: Sequence[int], sigma: float) -> NDArray[np.float32]:
    """Return a plane with a Gaussian at each point, 1 at its middle; where several overlap, the largest counts."""
    result = np.zeros(tuple(shape), np.float32)
    radius = int(np.ceil(3 * sigma))
    for row, col in points:
        top, left = max(0, round(row) - radius), max(0, round(col) - radius)
        window = result[top : max(0, round(row) + radius + 1), left : max(0, round(col) + radius + 1)]
        rows, cols = np.ogrid[top : top + window.shape[0], left : left + window.shape[1]]
        np.maximum(
            window, np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * sigma**2)), out=window, casting="unsafe"
        )
    return result


def blob_sigma(examples: Sequence[Example], head: Head) -> float:
    """Return the deviation, px, of the blobs that stand for points; 0 if none are drawn."""
    if head != "points":
        return 0.0
    return float(np.clip(_BLOB_SHARE * _spacing(examples), *_BLOB_SIGMAS))


def _spacing(examples: Sequence[Example]) -> float:
    return point_spacing([np.asarray(example.truth, np.float64) for example in examples])


def object_radius(examples: Sequence[Example], head: Head) -> float:
    """Return about how thick objects are, as a radius in px; infinity if there are none.

    Three times the median distance to the background over the pixels of objects: 0.88 times the radius of discs.
    Half the distance of neighbours bounds the radius of what points mark, and a third is taken for it.
    """
    if head == "points":
        return _spacing(examples) / 3
    depths = []
    for example in examples:
        foreground = (example.truth > 0).view(np.uint8)
        if foreground.any() and not foreground.all():
            depth = cv2.distanceTransform(foreground, cv2.DIST_L2, 5)
            depths.append(depth[foreground > 0][:: max(1, foreground.size >> 18)])
    return 3 * float(np.median(np.concatenate(depths))) if depths else float("inf")


def usual_reduction(examples: Sequence[Example], head: Head) -> int:
    """Return the working resolution that suits the thickness of objects, as 1, 2 or 4 pixels of a row seen as one."""
    radius = object_radius(examples, head)
    if not np.isfinite(radius):
        return 1
    reduction = 1 if radius < _THIN else 2 if radius < _THICK else 4
    smallest = min(min(example.image.shape[:2]) for example in examples)
    while reduction > 1 and smallest / reduction < _SMALLEST_SIDE:
        reduction //= 2
    return reduction


def measure_standard(examples: Sequence[Example], channels: int) -> Standard:
    """Return the mean and the deviation of the images' channels, each image with equal weight."""
    means, deviations = [], []
    for example in examples:
        n, total, squares = measure_brightness(example.image, channels).T
        means.append(total / n)
        deviations.append(np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0)))
    mean, deviation = np.mean(means, axis=0), np.mean(deviations, axis=0)
    # An image without contrast stays without.
    deviation[deviation <= 1e-6 * np.maximum(np.abs(mean), 1e-12)] = 1
    return Standard(mean.astype(np.float32), deviation.astype(np.float32))


def make_scenes(
    examples: Sequence[Example], head: Head, standard: Standard, reduction: int, rng: Generator
) -> Iterator[Scene]:
    """Yield the examples at a working resolution; of images that are too large together, a part around objects."""
    sigma = blob_sigma(examples, head)
    n_planes = len(standard.mean) + len(OUTPUTS[head]) + 1
    most = min(_MAX_PX, _MAX_VALUES // n_planes) // len(examples) * reduction**2
    return (_make_scene(example, head, standard, reduction, sigma, most, rng) for example in examples)


def _make_scene(
    example: Example, head: Head, standard: Standard, reduction: int, sigma: float, most_px: int, rng: Generator
) -> Scene:
    truth = draw_truth(example, head, sigma)
    known = np.ones(truth.shape[:2], np.float32) if example.known is None else example.known.astype(np.float32)
    image = example.image
    if known.size > most_px:
        box = _part(truth[:, :, 0], int(np.sqrt(most_px)), rng)
        image, truth, known = image[box], truth[box], known[box]
    channels = len(standard.mean)
    return Scene(
        standard.apply(prepare(image, channels, reduction, standard.matched(example.image))),
        prepare(truth, truth.shape[2], reduction),
        (prepare(known[:, :, None], 1, reduction) > 0.999).astype(np.float32),
    )


def _part(plane: NDArray[np.float32], side: int, rng: Generator) -> tuple[slice, slice]:
    """Return a window of at most side x side around one of the brighter pixels."""
    places = np.argwhere(plane[::8, ::8] > 0.5) * 8
    centre = places[rng.integers(len(places))] if len(places) else [n // 2 for n in plane.shape]
    starts = [
        int(np.clip(middle - side // 2, 0, max(0, n - side))) for middle, n in zip(centre, plane.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)
