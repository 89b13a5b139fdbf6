"""What masks mean: drawn discs, written in every way in which people write them, and what is asked of unclear ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evoseg.data.checking import check, open_dataset
from evoseg.data.dataset import Dataset

SHAPE = (96, 128)  # Non-square on purpose: swapped axes must fail.
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def discs(seed: int = 0, n: int = 7, touching: bool = False) -> np.ndarray:
    """Return numbered discs, away from the border and, unless asked for, from one another."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.int32)
    for i in range(n):
        row, col = 16 + 32 * (i // 4), 16 + 32 * (i % 4)
        radius = int(rng.integers(7, 11))
        cv2.circle(labels, (col, row), 17 if touching else radius, i + 1, -1)
    return labels


TRUTHS = [discs(seed, 5 + seed % 3) for seed in range(6)]


def saved(root: Path, masks: list, card: str = "", images: list | None = None) -> Path:
    """Write masks (arrays, Pillow images, or functions that write to a path without ending) beside images."""
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for i, mask in enumerate(masks):
        noise = np.random.default_rng(100 + i).integers(0, 255, SHAPE).astype(np.uint8)
        Image.fromarray(noise if images is None else images[i]).save(root / "images" / f"s{i}.png")
        if callable(mask):
            mask(root / "masks" / f"s{i}")
        elif isinstance(mask, Image.Image):
            mask.save(root / "masks" / f"s{i}.png")
        elif mask.dtype.kind == "u" and mask.dtype.itemsize == 1:
            Image.fromarray(mask).save(root / "masks" / f"s{i}.png")
        else:
            tifffile.imwrite(root / "masks" / f"s{i}.tif", mask)
    if card:
        (root / "dataset.yaml").write_text(card)
    return root


def indexed(indices: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette([part for colour in colours for part in colour])
    return image


def painted(labels: np.ndarray, ground: tuple[int, ...], *colours: tuple[int, ...]) -> np.ndarray:
    """Return labels as colours, which come again after the last."""
    table = np.array([ground, *colours], np.uint8)
    return table[np.where(labels > 0, (labels - 1) % len(colours) + 1, 0)]


def soft(mask: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Return a mask, bool (M, N), with soft edges that cross one half at its own."""
    fine = cv2.GaussianBlur(np.kron(mask, np.ones((4, 4))).astype(np.float32), (0, 0), 4 * sigma)
    return cv2.resize(fine, SHAPE[::-1], interpolation=cv2.INTER_AREA)


def jpeg(path: Path, array: np.ndarray, quality: int = 75) -> np.ndarray:
    Image.fromarray(array).save(path.with_suffix(".jpg"), quality=quality)
    return np.asarray(Image.open(path.with_suffix(".jpg")))


def bilevel(mask: np.ndarray, photometric: str):
    return lambda path: tifffile.imwrite(path.with_suffix(".tif"), mask, photometric=photometric)


ENCODINGS = {
    "0 and 255": lambda m: m * np.uint8(255),
    "0 and 1": lambda m: m.astype(np.uint8),
    "0 and 65535": lambda m: m * np.uint16(65535),
    "floats 0 and 1": lambda m: m.astype(np.float32),
    "floats 0 and 0.5": lambda m: m.astype(np.float64) / 2,
    "1-bit PNG": lambda m: Image.fromarray(m),
    "1-bit TIFF, black is 0": lambda m: bilevel(m, "minisblack"),
    "1-bit TIFF, white is 0": lambda m: bilevel(~m, "miniswhite"),
    "palette, black first": lambda m: indexed(m, BLACK, WHITE),
    "palette, white first": lambda m: indexed(~m, WHITE, BLACK),
    "palette, red first": lambda m: indexed(~m, RED, BLACK),
    "palette, red on white": lambda m: indexed(m, WHITE, RED),
    "palette, red before white": lambda m: indexed(~m, RED, WHITE),
    "palette by quantising": lambda m: Image.fromarray(m * np.uint8(255)).convert("RGB").quantize(2),
    "BMP with a palette": lambda m: lambda path: indexed(~m, WHITE, BLACK).save(path.with_suffix(".bmp")),
    "VOC palette": lambda m: indexed(m * 15, BLACK, *[(i * 17 % 256, i * 5, 128) for i in range(1, 21)]),
    "grey RGB": lambda m: np.dstack([m * np.uint8(255)] * 3),
    "red on black": lambda m: painted(m, BLACK, RED),
    "red on white": lambda m: painted(m, WHITE, RED),
    "black on green": lambda m: painted(m, GREEN, BLUE),
    "shape in alpha": lambda m: painted(m, (*RED, 0), (*RED, 255)),
    "white in alpha": lambda m: painted(m, (0, 0, 0, 0), (*WHITE, 255)),
    "black in alpha": lambda m: painted(m, (*WHITE, 0), (*BLACK, 255)),
    "opaque alpha": lambda m: painted(m, (*BLACK, 255), (*WHITE, 255)),
    "grey with alpha": lambda m: painted(m, (255, 0), (255, 255)),
    "soft edges": lambda m: np.round(255 * soft(m)).astype(np.uint8),
    "soft edges in 16 bits": lambda m: np.round(65535 * soft(m)).astype(np.uint16),
    "soft edges in few steps": lambda m: (np.round(5 * soft(m)) * 51).astype(np.uint8),
    "soft edges in grey RGB": lambda m: np.dstack([np.round(255 * soft(m)).astype(np.uint8)] * 3),
    "probabilities": lambda m: np.clip(soft(m), 1e-6, 1 - 1e-6).astype(np.float32),
    "JPEG": lambda m: lambda path: jpeg(path, m * np.uint8(255)),
    "JPEG saved as PNG": lambda m: (
        lambda path: (
            Image.open((jpeg(path, m * np.uint8(255)) is not None) and path.with_suffix(".jpg")).save(
                path.with_suffix(".png")
            )
            or path.with_suffix(".jpg").unlink()
        )
    ),
    "red in JPEG": lambda m: lambda path: jpeg(path, painted(m, BLACK, RED), 90),
    "soft red on white": lambda m: np.round(
        np.array(WHITE) + soft(m)[..., None] * (np.array(RED) - np.array(WHITE))
    ).astype(np.uint8),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_one_foreground_is_the_same_however_it_is_written(tmp_path, encoding):
    truths = [labels > 0 for labels in TRUTHS]
    root = saved(tmp_path, [ENCODINGS[encoding](truth) for truth in truths])
    report = check(root)
    assert report.ok, report
    assert report.card["task"] == "binary"
    dataset = open_dataset(root)
    for i, truth in enumerate(truths):
        mask = dataset.load(f"s{i}").mask
        assert mask is not None
        # Compression and smoothing move the edge by less than a pixel.
        rim = cv2.morphologyEx(truth.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        exact = not any(word in encoding for word in ("soft", "JPEG", "prob"))
        assert not (mask != truth)[~(rim & (not exact))].any()
        assert (mask != truth).sum() <= 0.03 * truth.sum()


@settings(max_examples=25, deadline=None)
@given(
    encoding=st.sampled_from([name for name in ENCODINGS if not any(w in name for w in ("soft", "JPEG", "prob"))]),
    seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=4, unique=True),
    n=st.integers(1, 11),
)
def test_any_discs_come_back_from_any_exact_encoding(tmp_path_factory, encoding, seeds, n):
    truths = [discs(seed, n) > 0 for seed in seeds]
    root = saved(tmp_path_factory.mktemp("masks"), [ENCODINGS[encoding](truth) for truth in truths])
    dataset = Dataset(root)
    for i, truth in enumerate(truths):
        assert np.array_equal(dataset.load(f"s{i}").mask, truth)
