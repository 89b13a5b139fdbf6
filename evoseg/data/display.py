"""A dataset as a piece of HTML, for notebooks: what it holds, and a few of its images with their masks."""

import io
from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from evoseg.data.dataset import Dataset

MOST = 6
SIDE = 160
"""Longest side of a picture, px."""
_TINT = np.array([40, 170, 255], np.float32)


def dataset_html(dataset: "Dataset") -> str:
    """Return title, counts and the first images, foreground outlined."""
    figures = "".join(_figure(dataset, stem) for stem in (dataset.labelled or dataset.stems)[:MOST])
    counts = f"{len(dataset.stems)} images, {len(dataset.labelled)} labelled, channels {', '.join(dataset.channels)}"
    return f"<div><b>{escape(dataset.title)}</b><br>{escape(counts)}<br>{figures}</div>"


def _figure(dataset: "Dataset", stem: str) -> str:
    from PIL import Image

    sample = dataset.load(stem)
    picture = _shown(sample.image)
    factor = SIDE / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    if sample.mask is not None:
        share = cv2.resize(sample.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        edge = cv2.morphologyEx((share > 0.3).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        picture = np.where(edge[:, :, None], _TINT, picture).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=85)
    name = escape(stem.encode("utf-8", "replace").decode(), quote=True)
    return f'<img alt="{name}" title="{name}" src="data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"> '


def _shown(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image as 8-bit colours, stretched if it is not 8-bit."""
    colours = image[:, :, [0, 1, 2]] if image.shape[2] >= 3 else image[:, :, [0, 0, 0]]
    if colours.dtype == np.uint8:
        return np.ascontiguousarray(colours)
    low, high = np.percentile(colours, (0.5, 99.5))
    return np.asarray(np.clip((colours - low) / max(high - low, 1e-9), 0, 1) * 255, np.uint8)
