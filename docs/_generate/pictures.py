"""What each operator does to a picture: its inputs and its answer, side by side.

The pictures come with scikit-image; masks, labels and second planes are made of them by evoseg's own operators.
"""

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

from evoseg.core.kinds import Kind
from evoseg.drawing import draw_circles, draw_overlay, to_rgb
from evoseg.operators.parameters import Value
from evoseg.operators.registry import Operator, get

SHAPE = (240, 320)
_GAP = 8

# A picture on which the work of a family, or of one operator, can be seen; coins for all others.
_PICTURES = {
    "contrast": "moon",
    "edges": "camera",
    "frequency": "camera",
    "points": "stars",
    "ridges": "retina",
    "smoothing": "camera",
    "texture": "camera",
    "blob": "stars",
    "divide_background": "page",
    "flatten": "page",
    "flatten_median": "page",
    "local_mean": "page",
    "local_normalise": "page",
    "regional_maxima": "stars",
    "sauvola": "page",
    "triangle": "stars",
}
# Where the defaults would show little.
_VALUES: dict[str, dict[str, Value]] = {
    "blobs": {"sigma": 4.0},
    "disc_matches": {"correlation": 0.7},
    "expand_labels": {"distance": 6.0},
    "gabor": {"polarity": "dark"},
    "hysteresis": {"low": 105, "high": 160},
    "in_range": {"low": 130, "high": 180},
    "bright_watershed": {"sigma": 6.0},
    "keep_area": {"low": 500},
    "keep_area_labels": {"low": 400, "high": 2200},
    "keep_bright_labels": {"level": 125},
    "keep_largest": {"count": 3},
    "keep_round_labels": {"roundness": 0.85},
    "kmeans_class": {"index": 2},
    "local_mean": {"offset": 15, "polarity": "dark"},
    "mix": {"weights": (2.0, -0.5, -1.0)},
    "open_labels": {"radius": 12},
    "peaks": {"distance": 15},
    "ratio": {"gain": 30.0},
    "regional_maxima": {"h": 80},
    "remove_large": {"area": 1000},
    "slope": {"polarity": "both"},
    "stretch": {"low": 64, "high": 160},
    "window": {"low": 60, "high": 180},
}


def values(op: Operator) -> tuple[Value, ...]:
    """Return the parameters that the picture is drawn with, in signature order."""
    chosen = _VALUES.get(op.name, {})
    return tuple(p.check(chosen.get(p.name, p.default)) for p in op.parameters)


def drawn(op: Operator) -> NDArray[np.uint8]:
    """Return the inputs and the answer of an operator as one picture, uint8 of shape (M, N, 3), or (M, N) if grey."""
    inputs = _inputs(op)
    answer = op.run(inputs, values(op))
    panels = [*(_panel(value, value) for value in inputs), _panel(answer, inputs[0])]
    gap = np.full((SHAPE[0], _GAP, 3), 255, np.uint8)
    picture = np.hstack([part for panel in panels for part in (panel, gap)][:-1])
    return picture if np.ptp(picture, axis=2).any() else picture[:, :, 0]


def _inputs(op: Operator) -> tuple[NDArray[Any], ...]:
    if op.name in _INPUTS:
        return tuple(draw() for draw in _INPUTS[op.name])
    plane = partial(_plane, _PICTURES.get(op.name, _PICTURES.get(op.family, "coins")))
    mask = _MASKS.get(op.name, _MASKS.get(op.family, _mask))
    of_kind = {
        Kind.RAW: (_image,),
        Kind.GRAY: (plane, _edges, partial(_ran, "gaussian", plane(), sigma=4.0), partial(_ran, "deviation", plane())),
        Kind.MASK: (mask, _middle, _stripe),
        Kind.LABELS: (_labels,),
    }
    return tuple(of_kind[kind][list(op.inputs[:slot]).count(kind)]() for slot, kind in enumerate(op.inputs))


@cache
def _plane(name: str) -> NDArray[np.uint8]:
    """Return a part of one of scikit-image's pictures."""
    picture, top, left = {
        "camera": (data.camera, 60, 100),
        "coins": (data.coins, 20, 40),
        "moon": (data.moon, 100, 100),
        "page": (_page, 0, 30),
        "retina": (_vessels, 230, 330),
        "stars": (lambda: data.hubble_deep_field().max(axis=2), 300, 300),
    }[name]
    return np.ascontiguousarray(picture()[top : top + SHAPE[0], left : left + SHAPE[1]])


def _page() -> NDArray[np.uint8]:
    return np.pad(data.page(), ((0, SHAPE[0] - data.page().shape[0]), (0, 0)), mode="reflect")


def _vessels() -> NDArray[np.uint8]:
    """Return the green of a retina at half its size, with three times the contrast."""
    green = cv2.resize(data.retina()[:, :, 1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(3.0 * green - 130, 0, 255), np.uint8)


def _image() -> NDArray[np.uint8]:
    return np.ascontiguousarray(data.immunohistochemistry()[: SHAPE[0], : SHAPE[1]])


def _edges() -> NDArray[np.uint8]:
    return _ran("sobel", _plane("coins"))


def _mask() -> NDArray[np.bool_]:
    """Return coins with holes, and specks."""
    return _ran("level", _plane("coins"), level=120)


def _touching() -> NDArray[np.bool_]:
    return _ran("dilate_mask", _ran("remove_small", _ran("fill_holes", _mask()), area=200), radius=6)


def _seeds() -> NDArray[np.bool_]:
    return _ran("erode_mask", _ran("fill_holes", _mask()), radius=8)


def _middle() -> NDArray[np.bool_]:
    return _filled([("circle", (160, 120), 95)])


def _stripe() -> NDArray[np.bool_]:
    return _filled([("bar", (0, 80), (319, 160))])


def _shapes() -> NDArray[np.bool_]:
    """Return discs, bars, a ring, a cross, specks, and parts that meet the border."""
    mask = _filled(
        [
            ("circle", (50, 50), 30),
            ("circle", (130, 40), 18),
            ("circle", (190, 60), 9),
            ("circle", (250, 25), 4),
            ("circle", (0, 150), 35),
            ("bar", (220, 80), (310, 88)),
            ("bar", (80, 100), (90, 220)),
            ("bar", (250, 110), (262, 200)),
            ("bar", (210, 150), (300, 162)),
            ("bar", (290, 0), (319, 40)),
            ("circle", (160, 160), 40),
            *(("circle", (20 + 61 * k % 280, 228 - 37 * k % 200), 1) for k in range(12)),
        ]
    )
    return mask & ~_filled([("circle", (160, 160), 24), ("circle", (50, 50), 5)])


def _filled(parts: Iterable[tuple[str, tuple[int, int], Any]]) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, np.uint8)
    for what, place, size in parts:
        if what == "circle":
            cv2.circle(mask, place, size, 1, -1)
        else:
            cv2.rectangle(mask, place, size, 1, -1)
    return mask.view(np.bool_)


def _labels() -> NDArray[np.int32]:
    return _ran("distance_watershed", _touching())


def _overcut() -> NDArray[np.int32]:
    return _ran("distance_watershed", _ran("close_mask", _mask(), radius=1), distance=3.0)


def _ran(name: str, *inputs: NDArray[Any], **chosen: Value) -> NDArray[Any]:
    op = get(name)
    return op.run(inputs, tuple(chosen.get(p.name, p.default) for p in op.parameters))


_MASKS: dict[str, Callable[[], NDArray[np.bool_]]] = {
    "components": _shapes,
    "measures": _shapes,
    "skeleton": _shapes,
    "watershed": _touching,
    "centroids": _shapes,
    "remove_small": _mask,
    "fill_holes": _mask,
}
_INPUTS: dict[str, tuple[Callable[[], NDArray[Any]], ...]] = {
    "component_mean": (lambda: _plane("coins"), lambda: _ran("remove_small", _mask(), area=200)),
    "marker_watershed": (lambda: _plane("coins"), _seeds, _touching),
    "merge_labels": (_overcut,),
    "nearest_marker": (_seeds, _touching),
    "reconstruct_mask": (_stripe, _shapes),
}


def _panel(value: NDArray[Any], under: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a value for eyes; places are drawn over what they were found in."""
    if value.dtype == np.float64:
        return draw_overlay(_panel(under, under), draw_circles(value, SHAPE))
    if value.dtype == np.int32:
        return _coloured(value)
    return to_rgb(value.view(np.uint8) * np.uint8(255) if value.dtype == np.bool_ else value)


def _coloured(labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Give neighbouring numbers colours far apart: hues by the golden angle."""
    hues = (np.arange(labels.max() + 1) * 137.508 % 360 / 2).astype(np.uint8)
    hsv = np.stack([hues, np.full_like(hues, 150), np.full_like(hues, 235)], axis=1)
    colours = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]
    colours[0] = 0
    return np.asarray(colours[labels], np.uint8)
