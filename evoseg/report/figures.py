"""Figures of a report: charts as inline SVG, and pictures small enough to travel inside the page."""

import io
import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from PIL import Image

from evoseg.core.disk import write_atomically
from evoseg.datasets.dataset import Sample
from evoseg.drawing import (
    ANSWER,
    TRUTH,
    Rgb,
    SheetRow,
    as_outlines,
    draw_checkers,
    draw_outlines,
    draw_red_cyan,
    resize_picture,
    to_rgb,
)
from evoseg.inference.score import AlignedPair
from evoseg.runs.stored import FrontProgram

WIDTH, HEIGHT, TALL = 640, 280, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 20, 14, 40

Scale = Callable[[float], float]
GALLERY_PX, STEP_PX = 360, 300
"""Longest sides of pictures in the gallery and of steps."""

_FAR = 30
"""Ratio of the highest to the lowest cost from which their scale is logarithmic."""
_QUALITY = 82
_CORRECT, _NOTHING, _UNKNOWN = (255, 255, 255), (28, 32, 38), (96, 100, 106)
_STYLE = (
    "text{font:13px sans-serif;fill:#5a616b}.grid{stroke:#d5d9df}.line{fill:none;stroke:#0b74c4;stroke-width:2.2}"
    ".dot{fill:#0b74c4}"
)
"""Of a chart that is a file of its own; in a page, report.css has the colours."""


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, with what it shows in words.

    Attributes
    ----------
    uri, words : str
    width, height : int, px
    """

    uri: str
    words: str
    width: int
    height: int


def progress_chart(history: Sequence[Sequence[float]], metric: str) -> Markup:
    """Return the best score on the search images against evaluations.

    Parameters
    ----------
    history : sequence of (evaluations, seconds, best score)
        Oldest first, at least one.
    """
    across, up, levels = _across(0, max(1.0, history[-1][0])), *_up(history[-1][2])
    path = f"M{across(history[0][0]):.1f} {up(history[0][2]):.1f}"
    for evaluations, _, best in history[1:]:
        path += f"H{across(evaluations):.1f}V{up(best):.1f}"
    end = history[-1]
    words = (
        f"Best {metric} on the search images: {history[0][2]:.3f} at first, {end[2]:.3f} after {end[0]:g} evaluations"
    )
    parts = [
        *_axes(across, up, _ticks(end[0]), levels, "evaluations", f"best {metric}"),
        Markup('<path class="line" d="{}"/>').format(path),
        _dot(across(end[0]), up(end[2]), "dot"),
        _text(across(end[0]), up(end[2]) - 9, f"{end[2]:.3f}", "end"),
    ]
    return _svg(parts, words)


def write_progress(history: Sequence[Sequence[float]], path: Path, metric: str) -> None:
    """Write `progress_chart` as an SVG file, as a whole or not at all; an empty chart if nothing was scored."""
    chart = progress_chart(history or [(0, 0.0, 0.0)], metric)
    svg = str(chart).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    svg = svg.replace(">", f"><style>{_STYLE}</style><rect width='100%' height='100%' fill='#fff'/>", 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as file:
        file.write(svg.encode())


def shares_chart(shares: Mapping[str, float]) -> Markup:
    """Return a bar per proposer: its share in the improvements of the best score; at least one."""
    height = _TOP + 26 * len(shares) + 8
    parts = []
    for row, (name, share) in enumerate(sorted(shares.items(), key=lambda item: -item[1])):
        top = _TOP + 26 * row
        parts.append(_text(150, top + 15, name, "end"))
        parts.append(
            Markup('<rect class="bar" x="160" y="{}" width="{:.1f}" height="18"/>').format(top, max(1, 380 * share))
        )
        parts.append(_text(168 + 380 * share, top + 15, f"{100 * share:.0f} %", "start"))
    words = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    return _svg(parts, words, height)


def front_chart(front: Sequence[FrontProgram], ringed: Sequence[tuple[float, float]], metric: str) -> Markup:
    """Return score against cost of the programs that none beats; those with a network are marked.

    Where some cost far more than others, as networks do, the scale of costs is logarithmic.

    Parameters
    ----------
    front : sequence of FrontProgram
        At least one.
    ringed : sequence of (cost, score)
        The pipelines that the search returns, with a ring around each.
    """
    costs = [*(p.cost_ms_per_mpx for p in front), *(cost for cost, _ in ringed)]
    across, ticks = _across_costs(min(costs), max(costs))
    up, levels = _up(max(*(p.search for p in front), *(score for _, score in ringed), 0.0))
    below = "estimated ms per megapixel on one core"
    parts = _axes(across, up, ticks, levels, below, f"{metric}, search images")
    for p in front:
        figures = f"#{p.number}: {metric} {p.search:.3f}, {p.cost_ms_per_mpx:.1f} ms per megapixel"
        title = Markup("<title>{}{}</title>").format(figures, ", with a network" if p.has_network else "")
        parts.append(_dot(across(p.cost_ms_per_mpx), up(p.search), "network" if p.has_network else "dot", title))
    for cost, score in ringed:
        title = Markup("<title>{} {:.3f}, {:.1f} ms per megapixel</title>").format(metric, score, cost)
        parts.append(_dot(across(cost), up(score), "ring", title))
    best, cheap = max(front, key=lambda p: p.search), min(front, key=lambda p: p.cost_ms_per_mpx)
    words = (
        f"{len(front)} programs from {metric} {best.search:.3f} at {best.cost_ms_per_mpx:.1f} ms per megapixel to "
        f"{cheap.search:.3f} at {cheap.cost_ms_per_mpx:.1f}"
    )
    return _svg(parts, words)


def scores_chart(scores: Mapping[str, float], interval: tuple[float, float] | None, metric: str) -> Markup:
    """Return one dot per image, and the mean with its interval."""
    across = _across(min(0.0, *scores.values()), 1)
    mean = sum(scores.values()) / len(scores)
    height = 120
    base = height - _BOTTOM
    parts = [_line(across(tick), _TOP, across(tick), base, "grid") for tick in (0, 0.25, 0.5, 0.75, 1)]
    parts += [_text(across(tick), base + 18, f"{tick:g}", "middle") for tick in (0, 0.25, 0.5, 0.75, 1)]
    parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, height - 5, f"{metric} per image", "middle"))
    if interval:
        parts.append(_line(across(interval[0]), _TOP + 12, across(interval[1]), _TOP + 12, "interval"))
    parts.append(_dot(across(mean), _TOP + 12, "ring"))
    for row, (stem, score) in enumerate(sorted(scores.items())):
        title = Markup("<title>{}: {:.3f}</title>").format(stem, score)
        parts.append(_dot(across(score), base - 10 - 7 * (row % 3), "dot", title))
    low, high = min(scores.values()), max(scores.values())
    words = f"{len(scores)} images from {metric} {low:.3f} to {high:.3f}, mean {mean:.3f}"
    return _svg(parts, words, height)


def learning_chart(curve: Sequence[Sequence[float]], metric: str, labelled: str) -> Markup:
    """Return the score on images that a choice was not made by, against how many it was made by.

    Parameters
    ----------
    curve : sequence of (n_images, score)
        At least one.
    labelled : str
        What there are more of to the right, such as "masks".
    """
    across, up, levels = _across(0, curve[-1][0]), *_up(max(score for _, score in curve))
    path = "M" + "L".join(f"{across(n):.1f} {up(score):.1f}" for n, score in curve)
    dots = [_dot(across(n), up(score), "dot") for n, score in curve]
    ticks = sorted({0, *(int(n) for n, _ in curve)})
    axes = _axes(across, up, ticks, levels, f"{labelled} used for the choice", f"{metric} on the others")
    first, last = curve[0], curve[-1]
    words = f"{metric} {first[1]:.3f} with {first[0]:g} {labelled}, {last[1]:.3f} with {last[0]:g}"
    return _svg([*axes, Markup('<path class="line" d="{}"/>').format(path), *dots], words)


def scatter_chart(points: Sequence[tuple[float, float, str]], below: str, beside: str) -> Markup:
    """Return a dot for each pair of numbers, with what it stands for.

    Parameters
    ----------
    points : sequence of (across, up, words)
        At least one; no number is negative.
    below, beside : str
        Names of the axes.
    """
    xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
    across, (up, levels) = _across(0, max(xs)), _up(max(ys))
    axes = _axes(across, up, _ticks(max(xs)), levels, below, beside)
    dots = [_dot(across(x), up(y), "dot", Markup("<title>{}</title>").format(words)) for x, y, words in points]
    return _svg([*axes, *dots], f"{len(points)} dots: {below} across, {beside} up")


def tree_chart(joins: NDArray[np.float64], names: Sequence[str], beside: str) -> Markup:
    """Return a dendrogram that lies on its side, with the leaves on the left.

    Parameters
    ----------
    joins : float array of shape (n - 1, 4)
        As `scipy.cluster.hierarchy.linkage` returns it.
    names : sequence of str
        Of the n leaves.
    beside : str
        What distances mean.
    """
    from scipy.cluster.hierarchy import leaves_list

    left, base = 230, _TOP + 24 * len(names)
    furthest = max(float(joins[:, 2].max()), 1e-6)
    top = {int(leaf): _TOP + 24.0 * row + 12 for row, leaf in enumerate(leaves_list(joins))}
    parts = [_text(left - 8, y + 4, names[leaf], "end") for leaf, y in top.items()]
    height = dict.fromkeys(top, 0.0)

    def across(distance: float) -> float:
        return left + distance / furthest * (WIDTH - _RIGHT - left)

    for node, (one, other, distance, _) in enumerate(joins, len(names)):
        a, b = int(one), int(other)
        parts += [_line(across(height[i]), top[i], across(distance), top[i], "line") for i in (a, b)]
        parts.append(_line(across(distance), top[a], across(distance), top[b], "line"))
        top[node], height[node] = (top[a] + top[b]) / 2, float(distance)
    for tick in (0, furthest / 2, furthest):
        parts.append(_text(across(tick), base + 18, f"{tick:.2f}", "middle"))
    parts.append(_text((left + WIDTH - _RIGHT) / 2, base + 36, beside, "middle"))
    return _svg(parts, f"Dendrogram of {', '.join(names)}", base + 44)


@dataclass(frozen=True)
class Mark:
    """A candidate in the chart of a search.

    Attributes
    ----------
    evaluations : int
    score : float
    style : str
        The class that colours it.
    words : str
    """

    evaluations: int
    score: float
    style: str
    words: str


def evolution_chart(
    marks: Sequence[Mark],
    links: Sequence[tuple[Mark, Mark]],
    line: Sequence[Mark],
    ancestors: Sequence[Mark],
    metric: str,
) -> Markup:
    """Return all candidates of a search by evaluations and score, and how the best one descends from others.

    Parameters
    ----------
    marks : sequence of Mark
        At least one.
    links : sequence of (Mark, Mark)
        Parents and children.
    line : sequence of Mark
        The line that leads to the best one; each gets its number, from 1.
    ancestors : sequence of Mark
        Those on the line and others; drawn larger.
    """
    across = _across(0, max(1, *(mark.evaluations for mark in marks)))
    up, levels = _up(max(mark.score for mark in (*marks, *line)), TALL)
    ticks = _ticks(max(mark.evaluations for mark in marks))
    parts = _axes(across, up, ticks, levels, "evaluations", "", TALL)
    for mark in marks:
        parts.append(_circle(across(mark.evaluations), up(mark.score), 1.6, f"{mark.style} many", mark.words))
    for one, other in links:
        ends = (across(one.evaluations), up(one.score), across(other.evaluations), up(other.score))
        parts.append(_line(*ends, "link"))
    if line:
        path = "M" + "L".join(f"{across(mark.evaluations):.1f} {up(mark.score):.1f}" for mark in line)
        parts.append(Markup('<path class="line" d="{}"/>').format(path))
    for mark in ancestors:
        parts.append(_circle(across(mark.evaluations), up(mark.score), 3.6, f"{mark.style} rimmed", mark.words))
    taken: list[tuple[float, float]] = []
    for number, mark in enumerate(line, 1):
        x, y = across(mark.evaluations), up(mark.score) - 8
        while any(abs(x - other_x) < 12 and abs(y - other_y) < 11 for other_x, other_y in taken):
            y -= 11
        taken.append((x, y))
        parts.append(_text(x, y, f"{number}", "middle"))
    words = f"{len(marks)} candidates"
    if line:
        words += f"; the best one, {metric} {line[-1].score:.3f}, after {line[-1].evaluations} evaluations"
    return _svg(parts, words, TALL)


def leaders_chart(leaders: Sequence[tuple[float, float, float | None]], evaluations: float, metric: str) -> Markup:
    """Return the score of the leaders of a search on the images that they were chosen by, and on others.

    Parameters
    ----------
    leaders : sequence of (evaluations, score, held-out score or None)
        Oldest first, at least one.
    evaluations : float
        In all.
    """
    scores = [score for _, *both in leaders for score in both if score is not None]
    across, (up, levels) = _across(0, max(1.0, evaluations)), _up(max(scores))
    parts = _axes(across, up, _ticks(evaluations), levels, "evaluations", metric)
    held_out = [(at, score) for at, _, score in leaders if score is not None]
    for style, points in (("line", [(at, score) for at, score, _ in leaders]), ("line held-out", held_out)):
        if points:
            path = f"M{across(points[0][0]):.1f} {up(points[0][1]):.1f}"
            path += "".join(f"H{across(at):.1f}V{up(score):.1f}" for at, score in points[1:])
            parts.append(Markup('<path class="{}" d="{}H{:.1f}"/>').format(style, path, across(evaluations)))
    for at, score, other in leaders:
        parts.append(_circle(across(at), up(score), 3, "dot", f"after {at:g} evaluations: {metric} {score:.3f}"))
        if other is not None:
            words = f"the same program, held out: {metric} {other:.3f}"
            parts.append(_circle(across(at), up(other), 3, "network", words))
    last = leaders[-1]
    words = f"The last leader: {metric} {last[1]:.3f} on the search images"
    return _svg(parts, words if last[2] is None else f"{words}, held out {last[2]:.3f}")


def _circle(x: float, y: float, radius: float, name: str, words: str) -> Markup:
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>').format(
        name, x, y, radius, words
    )


def _across(low: float, high: float) -> Scale:
    span = high - low or 1.0
    return lambda value: _LEFT + (value - low) / span * (WIDTH - _LEFT - _RIGHT)


def _across_costs(low: float, high: float) -> tuple[Scale, list[float]]:
    """Return a scale for costs, and its marks."""
    if high < _FAR * low:
        return _across(0, 1.08 * high), _ticks(1.08 * high)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    linear = _across(first, last)
    return lambda value: linear(math.log10(value)), [10.0**power for power in range(first, last + 1)]


def _up(highest: float, height: int = HEIGHT) -> tuple[Scale, list[float]]:
    """Return the scale from 0 to the quarter above the highest score, and its marks."""
    top = min(1.0, max(0.25, math.ceil(4 * highest + 0.1) / 4))
    levels = [top * i / 4 for i in range(5)]
    return lambda value: height - _BOTTOM - value / top * (height - _TOP - _BOTTOM), levels


def _ticks(high: float) -> list[float]:
    """Return four to eight round numbers from 0 to `high`."""
    step = 1.0
    for step in (base * 10**power for power in range(-3, 9) for base in (1, 2, 5)):
        if high / step <= 7:
            break
    return [step * i for i in range(int(high / step) + 1)]


def _axes(
    across: Scale,
    up: Scale,
    ticks: Iterable[float],
    levels: Iterable[float],
    below: str,
    beside: str,
    height: int = HEIGHT,
) -> list[Markup]:
    parts = []
    for level in levels:
        parts.append(_line(_LEFT, up(level), WIDTH - _RIGHT, up(level), "grid"))
        parts.append(_text(_LEFT - 7, up(level) + 4, f"{level:.3g}", "end"))
    parts += [_text(across(tick), height - _BOTTOM + 18, f"{tick:g}", "middle") for tick in ticks]
    parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, height - 4, below, "middle"))
    parts.append(_text(_LEFT + 6, _TOP + 10, beside, "start"))
    return parts


def _dot(x: float, y: float, name: str, inside: Markup | str = "") -> Markup:
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}">{}</circle>').format(
        name, x, y, 7 if name == "ring" else 4, inside
    )


def _line(x: float, y: float, to_x: float, to_y: float, name: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(name, x, y, to_x, to_y)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _svg(parts: Iterable[Markup], words: str, height: int = HEIGHT) -> Markup:
    inside = Markup("").join(parts)
    return Markup('<svg role="img" aria-label="{}" viewBox="0 0 {} {}">{}</svg>').format(
        escape(words), WIDTH, height, inside
    )


def truth_picture(row: SheetRow) -> Picture:
    """Return the image with the outline of the ground truth."""
    assert row.truth is not None
    return _outlined(row, np.zeros_like(row.truth), row.truth, f"{row.stem} with the outline of the ground truth")


def answer_picture(row: SheetRow) -> Picture:
    """Return the image with the outline of the prediction."""
    return _outlined(row, row.answer, None, f"{row.stem} with the outline of the prediction")


def difference_picture(row: SheetRow, known: NDArray[np.bool_] | None = None) -> Picture:
    """Return what is right (white), missed (blue) and too much (orange); grey where the truth is not known."""
    assert row.truth is not None
    truth, answer = row.truth > 0, row.answer > 0
    palette = np.array([_NOTHING, TRUTH, ANSWER, _CORRECT, _UNKNOWN], np.uint8)
    codes = truth + np.uint8(2) * answer
    if known is not None:
        codes[~known] = 4
        truth, answer = truth & known, answer & known
    missed, extra = float((truth & ~answer).sum()), float((answer & ~truth).sum())
    words = (
        f"{row.stem}: {_share(missed, truth.sum())} of the ground truth missed, "
        f"{_share(extra, answer.sum())} of the prediction false positive"
    )
    return _encoded(_fitted(palette[codes], GALLERY_PX), words, photo=False)


def both_picture(row: SheetRow) -> Picture:
    """Return the image with the outlines of truth (blue) and answer (orange), white where they agree."""
    return _outlined(row, row.answer, row.truth, f"{row.stem} with the outlines of the ground truth and the prediction")


def pair_pictures(sample: Sample, pair: AlignedPair) -> tuple[Picture, ...]:
    """Return a pair as it is and aligned, as checkerboards, and its planes aligned, in red and cyan."""
    assert sample.moving is not None
    as_they_are, aligned = (draw_checkers(sample.image, sample.moving, t) for t in (np.eye(2, 3), pair.transform))
    planes = draw_red_cyan(pair.fixed, pair.moving, pair.transform)
    shown = (
        (as_they_are, f"{sample.stem}: a checkerboard of both images as they are"),
        (aligned, f"{sample.stem}: a checkerboard of both images, aligned"),
        (planes, f"{sample.stem}: the planes of both images, aligned, in red and cyan"),
    )
    return tuple(_encoded(_fitted(picture, GALLERY_PX), words, photo=True) for picture, words in shown)


def image_picture(image: NDArray[Any], words: str) -> Picture:
    """Return an image as it is."""
    return _encoded(_fitted(to_rgb(image), STEP_PX), words, photo=True)


def value_picture(value: NDArray[Any], words: str, gain: float = 1.0) -> Picture:
    """Return the value of a step that is a plane, in grey, times `gain`, or a mask, in white."""
    plane = value.astype(np.uint8) * 255 if value.dtype == np.bool_ else cv2.convertScaleAbs(value, alpha=gain)
    return _encoded(_fitted(to_rgb(np.asarray(plane)), STEP_PX), words, photo=value.dtype != np.bool_)


def found_picture(image: NDArray[Any], value: NDArray[Any], words: str) -> Picture:
    """Return the value of a step that is labels or points: their outlines over the image."""
    shown = as_outlines(value, image.shape)
    return _encoded(
        draw_outlines(to_rgb(image), shown, None, _fitted_shape(image.shape, STEP_PX), 1), words, photo=True
    )


def legible_gain(plane: NDArray[np.uint8]) -> float:
    """Return by how much a faint plane should be brightened for eyes: so that only its brightest 0.5 % are white."""
    step = max(1, round((plane.size / 1e6) ** 0.5))  # a sample is enough, and quick on large images
    high = float(np.percentile(plane[::step, ::step], 99.5))
    return 1.0 if high >= 128 else round(255 / max(high, 16.0), 1)


def _outlined(row: SheetRow, answer: NDArray[Any], truth: NDArray[Any] | None, words: str) -> Picture:
    shape = _fitted_shape(row.answer.shape, GALLERY_PX)
    return _encoded(draw_outlines(to_rgb(row.image), answer, truth, shape, 1), words, photo=True)


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "nothing"


def _fitted_shape(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    factor = min(3.0, longest / max(shape[:2]))
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _fitted(picture: Rgb, longest: int) -> Rgb:
    return resize_picture(picture, _fitted_shape(picture.shape, longest))


def _encoded(picture: Rgb, words: str, *, photo: bool) -> Picture:
    height, width = picture.shape[:2]
    file = io.BytesIO()
    grey = bool((picture == picture[:, :, :1]).all())
    image = Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if grey else picture)
    if photo:
        image.save(file, "JPEG", quality=_QUALITY, optimize=True)
    else:
        # A few flat colours and their mixtures at edges.
        image.quantize(16).save(file, "PNG", optimize=True)
    kind = "jpeg" if photo else "png"
    return Picture(f"data:image/{kind};base64,{b64encode(file.getvalue()).decode()}", words, width, height)
