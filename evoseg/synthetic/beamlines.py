"""Scenes at a beamline: pairs of images that are moved against each other, and diffraction frames with spots."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.core.streams import stream
from evoseg.core.transforms import AFFINE, RIGID, SHIFT, Floats, as_transform, move_points
from evoseg.datasets.documents import points_text
from evoseg.datasets.io.files import write_image
from evoseg.datasets.pair_tables import SHIFTS_FILE, TRANSFORMS_FILE, pair_table_text
from evoseg.synthetic.scene import Plane, Shape, blur, check_shape, smooth
from evoseg.synthetic.scenes import make_folders, write_card

_FINE = 4
"""Samples per pixel and axis at which maps are drawn before they are seen by the beam."""
_COUNTS = 60.0
"""Photons per pixel at an amount of 1 and noise 1."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two drawn images of one thing.

    Attributes
    ----------
    fixed, moving : uint16 arrays of shape (M, N, C)
    transform : float64 array of shape (2, 3)
        As in `evoseg.core.transforms`.
    """

    fixed: NDArray[np.uint16]
    moving: NDArray[np.uint16]
    transform: Floats

    @property
    def shift(self) -> Floats:
        """Of a pair that is only shifted, (dy, dx) in px."""
        return self.transform[:, 2]


@dataclass(frozen=True, eq=False)
class Frame:
    """A drawn diffraction frame: uint16 or float32 (M, N, 1), and its spots, float64 (n, 2), (row, col)."""

    image: NDArray[Any]
    points: NDArray[np.float64]


def element_maps(rng: Generator, shape: Shape, *, noise: float = 1.0, most_px: float = 12.0) -> Pair:
    """Draw two scans of cells in x-ray fluorescence, four elements each, shifted by parts of a pixel.

    Photons are counted: noise of 4 means a sixteenth of the counts. The beam's flux differs from line to line, and a
    few pixels hold stray counts.

    Parameters
    ----------
    noise : float
        1 gives some 60 counts where there is much of an element.
    most_px : float, px
        Largest shift along either axis.
    """
    check_shape(shape)
    shift = rng.uniform(-most_px, most_px, 2)
    margin = int(most_px) + 4
    amounts = _amounts(rng, (shape[0] + 2 * margin, shape[1] + 2 * margin))
    # What the moving image shows at a place lies that much before it in the fixed one.
    fixed, moving = (_scan(rng, amounts, shape, margin - moved, noise) for moved in (np.zeros(2), shift))
    return Pair(fixed, moving, as_transform(shift))


def two_modalities(
    rng: Generator, shape: Shape, kind: str = RIGID, *, noise: float = 1.0, most_px: float = 12.0
) -> Pair:
    """Draw cells in fluorescence, where they are bright, and in transmission, where nuclei are darkest in uneven light.

    Photons are counted in both. The second image is rotated by at most 20 degrees about its middle and shifted; if the
    transform is affine, it is also stretched and sheared by at most 8 %.

    Parameters
    ----------
    kind : str
        Of the transform, "rigid" or "affine".
    noise : float
        1 gives some 60 counts where an image is bright, 4 a sixteenth of these.
    most_px : float, px
        Largest shift of the middle along either axis.
    """
    check_shape(shape)
    transform = _drawn_transform(rng, shape, kind, most_px)
    margin = int(0.4 * max(shape) + most_px) + 4
    cells, granules, nuclei, _ = _amounts(rng, (shape[0] + 2 * margin, shape[1] + 2 * margin))
    light = np.clip(1.3 + 0.3 * smooth(rng, cells.shape, 40 * _FINE), 0.5, 2)
    bright, dark = 0.15 + cells + 0.5 * granules, light * np.exp(-1.4 * nuclei - 0.5 * cells) + 0.25 * granules
    back = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))[:2]
    planes = []
    for amount, at in ((bright, np.eye(2, 3)), (dark, back)):
        corner = move_points(at, np.zeros((1, 2)))[0] + margin
        seen = _sampled(amount, np.column_stack([at[:, :2], corner]), shape)
        planes.append(rng.poisson(np.clip(seen, 0, None) * _COUNTS / noise**2).astype(np.uint16)[:, :, None])
    return Pair(planes[0], planes[1], transform)


def _drawn_transform(rng: Generator, shape: Shape, kind: str, most_px: float) -> Floats:
    """Return a transform that keeps the middle within some pixels."""
    angle, middle = np.radians(rng.uniform(-20, 20)), (np.array(shape) - 1) / 2
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if kind == AFFINE:
        linear = linear @ (np.eye(2) + rng.uniform(-0.08, 0.08, (2, 2)))
    return np.column_stack([linear, middle + rng.uniform(-most_px, most_px, 2) - linear @ middle])


def _sampled(amount: Plane, places: Floats, shape: Shape) -> Plane:
    """Return a fine plane on a grid of pixels; `places` takes their (row, col) to those of the whole plane."""
    linear, corner = places[:, :2] * _FINE, (places[:, 2] + 0.5) * _FINE - 0.5
    matrix = np.column_stack([linear, corner])[::-1, [1, 0, 2]]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(amount, matrix, shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(seen, np.float32)


def _amounts(rng: Generator, shape: Shape) -> list[Plane]:
    """Return how much there is of each element, `_FINE` times finer than pixels, as the beam sees it."""
    fine = (shape[0] * _FINE, shape[1] * _FINE)
    cells, nuclei, granules = (np.zeros(fine, np.float32) for _ in range(3))
    for _ in range(max(3, int(rng.poisson(0.0011 * shape[0] * shape[1])))):
        row, col = rng.uniform(0, fine[0]), rng.uniform(0, fine[1])
        size = rng.uniform(4, 9) * _FINE
        _disc(cells, row, col, size, rng.uniform(1, 1.7), rng.uniform(0, 180), rng.uniform(0.4, 1))
        _disc(nuclei, row, col, 0.45 * size, rng.uniform(1, 1.3), rng.uniform(0, 180), rng.uniform(0.5, 1))
        for _ in range(int(rng.poisson(2))):
            place = rng.normal((row, col), 0.6 * size)
            _disc(granules, float(place[0]), float(place[1]), rng.uniform(0.6, 1.4) * _FINE, 1.0, 0.0, 1.0)
    haze = np.clip(0.5 + 0.25 * smooth(rng, fine, 30 * _FINE), 0.1, 1.5)
    mixed = (0.8 * cells + 0.2 * nuclei, 0.7 * granules + 0.15 * cells, 0.6 * nuclei + 0.1 * cells, 0.9 * haze)
    return [blur(amount + np.float32(0.12), 0.9 * _FINE) for amount in mixed]


def _disc(plane: Plane, row: float, col: float, size: float, longer: float, angle: float, amount: float) -> None:
    axes = (max(1, round(size * longer**0.5)), max(1, round(size / longer**0.5)))
    cv2.ellipse(plane, (round(col), round(row)), axes, angle, 0, 360, amount, -1)


def _scan(
    rng: Generator, amounts: list[Plane], shape: Shape, corner: NDArray[np.float64], noise: float
) -> NDArray[np.uint16]:
    """Count photons on a grid of pixels whose first is at `corner`, in pixels of the fine planes' own grid."""
    flux = np.clip(1 + 0.06 * rng.standard_normal((shape[0], 1)), 0.5, None)
    channels = []
    for amount in amounts:
        seen = _sampled(amount, as_transform(corner), shape)
        counts = rng.poisson(seen * flux * _COUNTS / noise**2)
        stray = rng.random(shape) < 0.002
        counts[stray] += rng.poisson(_COUNTS, int(stray.sum()))
        channels.append(counts)
    return np.clip(np.stack(channels, axis=2), 0, 65535).astype(np.uint16)


def diffraction(rng: Generator, shape: Shape) -> Frame:
    """Draw a diffraction frame: spots of 8 to 40,000 counts on scattering that falls off from a centre near the middle.

    Arcs of textured grains, rings of fine powder, a beam stop and single hot pixels are no spots.
    """
    check_shape(shape)
    centre = np.array(shape) * rng.uniform(0.42, 0.58, 2)
    row, col = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return _exposed(rng, shape, centre, np.hypot(row - centre[0], col - centre[1]))


@dataclass(frozen=True, eq=False)
class Detector:
    """A tilted area detector.

    Attributes
    ----------
    centre : (row, col)
        Where the direct beam hits it.
    two_theta : float32 array of shape (M, N), degrees
        Rings of equal values are ellipses.
    bad : bool array of shape (M, N)
        Gaps between modules, dead pixels and hot ones, which are the same in every frame.
    """

    centre: NDArray[np.float64]
    two_theta: NDArray[np.float32]
    bad: NDArray[np.bool_]

    @classmethod
    def drawn(cls, rng: Generator, shape: Shape, distance: float = 1.5, tilt: float = 35.0) -> "Detector":
        """Draw one; its distance is in halves of its shorter side, the tilt about the rows in degrees."""
        check_shape(shape)
        centre, side = np.array(shape) * rng.uniform(0.4, 0.6, 2), min(shape) / 2
        down, right = (np.arange(n) - at for n, at in zip(shape, centre, strict=True))
        depth = distance * side + right * np.sin(np.radians(tilt))
        away = np.hypot(down[:, None], right * np.cos(np.radians(tilt)))
        bad = rng.random(shape) < 0.002
        bad[shape[0] // 2 - 2 : shape[0] // 2 + 2] = bad[:, shape[1] // 2 - 2 : shape[1] // 2 + 2] = True
        return cls(centre, np.degrees(np.arctan2(away, depth)).astype(np.float32), bad)

    def expose(self, rng: Generator) -> Frame:
        """Draw a frame, float32: gaps and dead pixels hold -1, hot ones 65,535, as if nobody had masked them."""
        shape = (self.bad.shape[0], self.bad.shape[1])
        # The rings of `_exposed` have radii of px on an upright detector; two theta takes their place.
        radius = self.two_theta * np.float32(min(shape) / 2 / np.percentile(self.two_theta, 75))
        frame = _exposed(rng, shape, self.centre, radius)
        hot = self.bad & (np.indices(shape).sum(axis=0) % 3 == 0)
        seen = frame.image.astype(np.float32)
        seen[self.bad], seen[hot] = -1, 65535
        row, col = np.rint(frame.points).astype(int).T
        return Frame(seen, frame.points[~self.bad[row, col]])


def _exposed(rng: Generator, shape: Shape, centre: NDArray[np.float64], radius: Plane) -> Frame:
    """Draw what is scattered by a sample, with rings where `radius` is equal, in px."""
    row, col = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle = np.arctan2(row - centre[0], col - centre[1])
    longest = min(shape) / 2
    light = 4 + rng.uniform(150, 400) * np.exp(-radius / (0.3 * longest))
    at = rng.uniform(0.25, 0.95, 5) * longest
    for ring in at[:3]:
        light += rng.uniform(3, 25) * np.exp(-0.5 * ((radius - ring) / rng.uniform(1.2, 2.5)) ** 2)
    for _ in range(int(rng.integers(6, 13))):
        ring = rng.choice(at) if rng.random() < 0.7 else rng.uniform(0.2, 1) * longest
        apart = np.angle(np.exp(1j * (angle - rng.uniform(-np.pi, np.pi))))
        along = rng.uniform(7, 22) / ring
        arc = np.exp(-0.5 * ((radius - ring) / rng.uniform(0.9, 1.6)) ** 2 - 0.5 * (apart / along) ** 4)
        light += 10 ** rng.uniform(1.2, 3.2) * arc
    points = _places(rng, shape, centre, 0.12 * longest, int(rng.integers(25, 60)))
    for place in points:
        ground = light[round(place[0]), round(place[1])]
        # From five times the noise of the ground on: the faintest that can be told from it.
        height = np.exp(rng.uniform(np.log(5 * np.sqrt(ground)), np.log(4e4)) if rng.random() < 0.5
                        else rng.uniform(np.log(5 * np.sqrt(ground)), np.log(60 * np.sqrt(ground))))  # fmt: skip
        width = rng.uniform(0.9, 1.5)
        light += height * np.exp(-0.5 * ((row - place[0]) ** 2 + (col - place[1]) ** 2) / width**2)
    light[radius < 0.09 * longest] = 1
    counts = rng.poisson(light)
    hot = rng.random(shape) < 2e-4
    counts[hot] += rng.integers(50, 20000, int(hot.sum()))
    return Frame(np.clip(counts, 0, 65535).astype(np.uint16)[..., None], points)


def _places(rng: Generator, shape: Shape, centre: NDArray[Any], least: float, n: int) -> NDArray[np.float64]:
    """Return at most n places that lie apart from each other, the border and the beam stop."""
    found: list[NDArray[np.float64]] = []
    for place in rng.uniform(4, np.array(shape) - 5, (4 * n, 2)):
        clear = all(np.hypot(*(place - other)) > 7 for other in found)
        if len(found) < n and clear and np.hypot(*(place - centre)) > least:
            found.append(place)
    return np.array(found, np.float64).reshape(-1, 2)


def draw_pairs(folder: str | Path, n: int, shape: Shape, seed: int, noise: float = 1.0, kind: str = SHIFT) -> Path:
    """Generate a dataset of pairs: pairs/fixed/, pairs/moving/, the table of true transforms and dataset.yaml.

    Pairs that are only shifted are of `element_maps`, others of `two_modalities`.

    Raises
    ------
    SettingsError
        For numbers that cannot be.
    DatasetError
        If the folder holds files already.
    """
    root = make_folders(folder, n, ("pairs/fixed", "pairs/moving"))
    truths = {}
    for i in range(n):
        pair = _pair(seed, i, shape, kind, noise)
        name = f"maps_{i:03d}"
        write_image(root / "pairs" / "fixed" / f"{name}.tif", pair.fixed)
        write_image(root / "pairs" / "moving" / f"{name}.tif", pair.moving)
        truths[name] = pair.shift if kind == SHIFT else pair.transform
    table = SHIFTS_FILE if kind == SHIFT else TRANSFORMS_FILE
    (root / table).write_text(pair_table_text(truths, kind), encoding="utf-8")
    title, modality = ("Drawn element maps", "x-ray fluorescence") if kind == SHIFT else ("Drawn cells", "microscopy")
    words = {"family": "drawn-element"} if kind == SHIFT else {"family": "drawn-cells", "transform": kind}
    write_card(root, title, modality, "registration", seed, **words)
    return root


def _pair(seed: int, i: int, shape: Shape, kind: str, noise: float) -> Pair:
    if kind == SHIFT:
        return element_maps(stream(seed, "element maps", i), shape, noise=noise)
    return two_modalities(stream(seed, "two modalities", kind, i), shape, kind, noise=noise)


def draw_frames(folder: str | Path, n: int, shape: Shape, seed: int) -> Path:
    """Generate a dataset of diffraction frames: images/, points/ and dataset.yaml, where points match within 3 px.

    Raises
    ------
    SettingsError
        For numbers that cannot be.
    DatasetError
        If the folder holds files already.
    """
    root = make_folders(folder, n, ("images", "points"))
    for i in range(n):
        frame = diffraction(stream(seed, "diffraction", i), shape)
        name = f"frame_{i:03d}"
        write_image(root / "images" / f"{name}.tif", frame.image)
        (root / "points" / f"{name}.csv").write_text(points_text(frame.points), encoding="utf-8")
    words = {"radius": 3, "family": "drawn-diffraction"}
    write_card(root, "Drawn diffraction frames", "x-ray diffraction", "points", seed, **words)
    return root


def draw_detector_frames(folder: str | Path, n: int, shape: Shape, seed: int) -> Path:
    """Generate frames of one tilted detector, as NPY, with its maps: planes/two_theta.npy and bad_pixels.npy.

    Raises
    ------
    SettingsError
        For numbers that cannot be.
    DatasetError
        If the folder holds files already.
    """
    root = make_folders(folder, n, ("images", "points", "planes"))
    detector = Detector.drawn(stream(seed, "detector"), shape)
    np.save(root / "planes" / "two_theta.npy", detector.two_theta)
    np.save(root / "bad_pixels.npy", detector.bad.astype(np.uint8))
    for i in range(n):
        frame = detector.expose(stream(seed, "exposure", i))
        np.save(root / "images" / f"frame_{i:03d}.npy", frame.image[:, :, 0])
        (root / "points" / f"frame_{i:03d}.csv").write_text(points_text(frame.points), encoding="utf-8")
    words = {"radius": 3, "family": "drawn-diffraction"}
    write_card(root, "Drawn frames of a tilted detector", "x-ray diffraction", "points", seed, **words)
    return root
