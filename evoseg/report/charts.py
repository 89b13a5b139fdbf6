"""Charts as inline SVG: sharp at any size, in the page's own colours, with their figures in words."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 20, 14, 40

Scale = Callable[[float], float]


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
        *_axes(across, up, _ticks(0, end[0]), levels, "evaluations", f"best {metric}"),
        Markup('<path class="line" d="{}"/>').format(path),
        _dot(across(end[0]), up(end[2]), "dot"),
        _text(across(end[0]), up(end[2]) - 9, f"{end[2]:.3f}", "end"),
    ]
    return _svg(parts, words)


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


def front_chart(front: Sequence[Mapping[str, float]], champion: tuple[float, float] | None, metric: str) -> Markup:
    """Return score against cost of the programs that none beats; the champion is ringed.

    Parameters
    ----------
    front : sequence of mappings with "search", "cost_ms_per_mpx" and "number"
        At least one.
    champion : (cost, score), optional
    """
    points = [(p["cost_ms_per_mpx"], p["search"], p["number"]) for p in front]
    right = max([cost for cost, _, _ in points] + ([champion[0]] if champion else [])) * 1.08
    across, up, levels = _across(0, right), *_up(max(score for _, score, _ in points))
    below = "ms per megapixel on one core, modelled"
    parts = _axes(across, up, _ticks(0, right), levels, below, f"{metric}, search images")
    for cost, score, number in points:
        title = Markup("<title>#{}: {} {:.3f}, {:.1f} ms per megapixel</title>").format(number, metric, score, cost)
        parts.append(_dot(across(cost), up(score), "dot", title))
    if champion:
        parts.append(_dot(across(champion[0]), up(champion[1]), "ring", Markup("<title>the pipeline</title>")))
    best, cheap = max(points, key=lambda p: p[1]), min(points)
    words = (
        f"{len(points)} programs from {metric} {best[1]:.3f} at {best[0]:.1f} ms per megapixel to {cheap[1]:.3f} at "
        f"{cheap[0]:.1f}"
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


def learning_chart(curve: Sequence[Sequence[float]], metric: str) -> Markup:
    """Return the score on images that a choice was not made by, against how many it was made by.

    Parameters
    ----------
    curve : sequence of (n_images, score)
        At least one.
    """
    across, up, levels = _across(0, curve[-1][0]), *_up(max(score for _, score in curve))
    path = "M" + "L".join(f"{across(n):.1f} {up(score):.1f}" for n, score in curve)
    dots = [_dot(across(n), up(score), "dot") for n, score in curve]
    ticks = sorted({0, *(int(n) for n, _ in curve)})
    axes = _axes(across, up, ticks, levels, "masks to choose by", f"{metric} on the others")
    first, last = curve[0], curve[-1]
    words = f"{metric} {first[1]:.3f} with {first[0]:g} masks, {last[1]:.3f} with {last[0]:g}"
    return _svg([*axes, Markup('<path class="line" d="{}"/>').format(path), *dots], words)


def _across(low: float, high: float) -> Scale:
    span = high - low or 1.0
    return lambda value: _LEFT + (value - low) / span * (WIDTH - _LEFT - _RIGHT)


def _up(highest: float) -> tuple[Scale, list[float]]:
    """Return the scale from 0 to the quarter above the highest score, and its marks."""
    top = min(1.0, max(0.25, math.ceil(4 * highest + 0.1) / 4))
    levels = [top * i / 4 for i in range(5)]
    return lambda value: HEIGHT - _BOTTOM - value / top * (HEIGHT - _TOP - _BOTTOM), levels


def _ticks(low: float, high: float) -> list[float]:
    """Return four to eight round numbers from `low` to `high`."""
    step = 1.0
    for step in (base * 10**power for power in range(-3, 9) for base in (1, 2, 5)):
        if (high - low) / step <= 7:
            break
    return [low + step * i for i in range(int((high - low) / step) + 1)]


def _axes(
    across: Scale, up: Scale, ticks: Iterable[float], levels: Iterable[float], below: str, beside: str
) -> list[Markup]:
    parts = []
    for level in levels:
        parts.append(_line(_LEFT, up(level), WIDTH - _RIGHT, up(level), "grid"))
        parts.append(_text(_LEFT - 7, up(level) + 4, f"{level:.3g}", "end"))
    parts += [_text(across(tick), HEIGHT - _BOTTOM + 18, f"{tick:g}", "middle") for tick in ticks]
    parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 4, below, "middle"))
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
