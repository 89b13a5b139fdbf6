"""Scores of a result against the ground truth, by what they score; higher is always better."""

from collections.abc import Mapping
from typing import TypeVar

from evoseg.core.errors import SettingsError, unknown
from evoseg.core.kinds import Kind
from evoseg.metrics.mask_scores import MASK_METRICS, Metric
from evoseg.metrics.object_scores import OBJECT_METRICS, POINT_METRICS
from evoseg.metrics.shift_scores import SHIFT_METRICS

M = TypeVar("M", bound=Metric)

METRICS: Mapping[Kind, Mapping[str, Metric]] = {
    Kind.MASK: MASK_METRICS,
    Kind.LABELS: OBJECT_METRICS,
    Kind.POINTS: POINT_METRICS,
    Kind.GRAY: SHIFT_METRICS,
}
METRIC_LABELS = {m.name: m.label for metrics in METRICS.values() for m in metrics.values()} | {"score": "score"}
"""A user's own task calls its score "score"."""


def find_metric(name: str, metrics: Mapping[str, M]) -> M:
    """Return the metric called `name`.

    Raises
    ------
    SettingsError
        If there is none.
    """
    if name not in metrics:
        raise SettingsError(unknown("metric", name, metrics))
    return metrics[name]


def metric_name(written: str) -> str:
    """Return the name of a metric that is written in any case, or as its label; other words as they are."""
    spelled = {word.lower(): name for name, label in METRIC_LABELS.items() for word in (name, label)}
    return spelled.get(written.lower(), written)


def baseline_words(name: str, metric: str) -> str:
    """Return the words for a baseline of the result document."""
    if name == "classic":
        return "the best classic recipe"
    if metric == "closeness":
        return "leaving the images as they are"
    return f"marking {'everything' if name == 'all' else name}"


def within(radius: float | None) -> str:
    """Return the words for the matching radius; empty for other tasks."""
    return "" if radius is None else f" within {radius:g} px"
