"""Tables of a cross-application study: does likeness predict transfer, is transfer mutual, and which datasets cluster?

Pairs of datasets are not independent of each other, since each dataset takes part in many. P-values therefore come from
permutations of whole datasets (N. Mantel, Cancer Research 27(2), 1967), not of pairs.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from evoseg.core.streams import stream
from evoseg.library.study import SCORES, Study

Floats = NDArray[np.float64]

LEAST_DATASETS = 4
"""Number of datasets with pipelines of their own below which neither correlations nor clusters are reported."""
PERMUTATIONS = 1999
KS = (1, 3, 5)
WIDEST = 5
"""Pairs of datasets that are named because transfer between them is least mutual."""
CLUSTER_SHARE = 0.7
"""Share of the greatest distance of a join at which clusters are cut, as SciPy's dendrograms colour them."""


@dataclass(frozen=True)
class Association:
    """How well one measure of likeness predicts transfer between different datasets.

    Attributes
    ----------
    r2 : float
        Share of the variance of the scores that a straight line explains, over all pairs.
    rank : float
        Spearman's correlation over all pairs.
    rank_p : float
        Its two-sided p-value, by permutation of datasets.
    within : float
        Mean over the targets of Spearman's correlation among the sources of one target.
    within_p : float
    left_out : (float, float)
        Least and greatest `within` if any one dataset is left out; NaN for fewer than five.
    among_all : float
        As `within`, but with all stored tasks that are no relatives as sources, whether or not their datasets are part
        of the study; NaN if the measure is not known of all.
    """

    r2: float
    rank: float
    rank_p: float
    within: float
    within_p: float
    left_out: tuple[float, float] = (float("nan"), float("nan"))
    among_all: float = float("nan")

    def to_json(self) -> dict[str, Any]:
        """Return it as values that JSON knows; what is not known is None."""
        left_out = list(self.left_out) if np.isfinite(self.left_out).all() else None
        among_all = self.among_all if np.isfinite(self.among_all) else None
        return asdict(self) | {"left_out": left_out, "among_all": among_all}


@dataclass(frozen=True)
class Choice:
    """What is gained by choosing sources for each dataset in one way; relatives of a dataset are never chosen for it.

    Attributes
    ----------
    name : str
    hits : tuple of float
        Share of the datasets whose best source is among the first k, for each of `KS`.
    shares : tuple of float
        Best refitted IoU among the first k, as a share of that of the best source; the mean over the datasets.
    """

    name: str
    hits: tuple[float, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Asymmetry:
    """How far transfer is from being mutual.

    Attributes
    ----------
    share : float
        Share of the variance of the scores that lies between the two directions of a pair: 0 if transfer is mutual, and
        about one half if the directions have nothing to do with each other. No symmetric measure can explain it.
    share_within : float
        The same after the mean of each dataset is subtracted from the scores on it, so that datasets which are easy for
        all pipelines do not count.
    correlation : float
        Pearson's correlation of the scores in both directions.
    widest : tuple of (str, str, float, float)
        Two datasets, the score of the first one's pipelines on the second, and the other way round; the greatest
        differences first.
    """

    share: float
    share_within: float
    correlation: float
    widest: tuple[tuple[str, str, float, float], ...]


@dataclass(frozen=True, eq=False)
class Clusters:
    """Datasets whose pipelines work on each other.

    Attributes
    ----------
    order : tuple of int
        The datasets with pipelines of their own, so that similar ones are neighbours.
    groups : tuple of tuple of str
        Names; single datasets are groups of one.
    joins : float array of shape (n - 1, 4)
        As `scipy.cluster.hierarchy.linkage` returns it.
    """

    order: tuple[int, ...]
    groups: tuple[tuple[str, ...], ...]
    joins: Floats


@dataclass(frozen=True, eq=False)
class StudyTables:
    """The scores of a study as matrices, and what follows from them.

    Attributes
    ----------
    study : Study
    """

    study: Study

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Names of the datasets."""
        return tuple(dataset.name for dataset in self.study.datasets)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources: that of the dataset on which a task was solved, or else its own."""
        own = {dataset.own: dataset.name for dataset in self.study.datasets}
        names = [own.get(task.id, task.name) for task in self.study.sources]
        twice = {name for name in names if names.count(name) > 1}
        return tuple(
            f"{name} ({task.id[:6]})" if name in twice and task.id not in own else name
            for name, task in zip(names, self.study.sources, strict=True)
        )

    def matrix(self, score: str, *, refitted: bool) -> Floats:
        """Return what the pipelines of each source score on each dataset.

        Of a source's pipelines, the one counts that is best on the images that they are refitted on; as they are, the
        first that can be run, best at home, at its own scale.

        Returns
        -------
        float array of shape (n_sources, n_datasets)
            NaN where no pipeline can be run, because the images have too few channels.
        """
        place = {task.id: i for i, task in enumerate(self.study.sources)}
        column = {name: j for j, name in enumerate(self.targets)}
        rank = {(task.id, p.pipeline.form): r for task in self.study.sources for r, p in enumerate(task.pipelines)}
        found = np.full((len(place), len(column)), np.nan)
        best = np.full(found.shape, -np.inf)
        for row in self.study.rows:
            at = place[row.source], column[row.target]
            merit = row.fitted if refitted else -float(rank[row.source, row.form])
            if merit > best[at] and (refitted or row.scale == 1.0):
                best[at], found[at] = merit, getattr(row, f"refitted_{score}" if refitted else score)
        return found

    @cached_property
    def own(self) -> tuple[tuple[int, int], ...]:
        """Place among the sources, and among the datasets, of each dataset that has pipelines of its own."""
        place = {task.id: i for i, task in enumerate(self.study.sources)}
        return tuple((place[d.own], j) for j, d in enumerate(self.study.datasets) if d.own is not None)

    def between(self, matrix: Floats) -> Floats:
        """Return the square part of a matrix: from and to the datasets with pipelines of their own."""
        rows, columns = zip(*self.own, strict=True) if self.own else ((), ())
        return matrix[np.ix_(rows, columns)]

    @cached_property
    def is_large(self) -> bool:
        """Whether there are enough datasets to speak of correlations and clusters."""
        return len(self.own) >= LEAST_DATASETS

    def associations(self, score: str, *, refitted: bool) -> dict[str, Association]:
        """Return how well each measure of likeness predicts a score; nothing for fewer than `LEAST_DATASETS`."""
        if not self.is_large:
            return {}
        scores = self.matrix(score, refitted=refitted)
        found = {}
        for name, values in self.study.likeness.items():
            if np.isfinite(alike := self.between(values)).all():
                pools = [pool[np.isfinite(scores[pool, j])] for j, pool in enumerate(self.pools())]
                pairs = [(values[pool, j], scores[pool, j]) for j, pool in enumerate(pools)]
                found[name] = replace(associate(alike, self.between(scores)), among_all=_mean_rank_correlation(pairs))
        return found

    def choices(self) -> list[Choice]:
        """Return what each way of choosing sources gains; measures that are not known of all sources are left out."""
        scores, pools = self.matrix("iou", refitted=True), self.pools()
        ranked = {
            name: values
            for name, values in self.study.likeness.items()
            if all(np.isfinite(values[pool, j]).all() for j, pool in enumerate(pools))
        }
        ranked = {"popular elsewhere": self.popularity(scores)} | ranked
        found = []
        for name, values in ranked.items():
            orders = [pool[np.argsort(-values[pool, j], kind="stable")] for j, pool in enumerate(pools)]
            found.append(_choice(name, scores, orders))
        return [_by_chance(scores, pools), *found]

    def pools(self) -> list[NDArray[np.intp]]:
        """Return, per dataset, the places of the sources that are strangers to it and could be run."""
        scores = self.matrix("iou", refitted=True)
        strange = np.array(
            [[task.id not in d.related for d in self.study.datasets] for task in self.study.sources], np.bool_
        )
        return [np.flatnonzero(strange[:, j] & np.isfinite(scores[:, j])) for j in range(scores.shape[1])]

    def popularity(self, scores: Floats) -> Floats:
        """Return by how much each source beat the mean of all sources on the datasets other than the one of a column.

        Datasets that are relatives of a column's do not count for it, and neither do those that a source is a relative
        of.
        """
        strangers = np.full(scores.shape, np.nan)
        for j, pool in enumerate(self.pools()):
            if len(pool):
                strangers[pool, j] = scores[pool, j] - scores[pool, j].mean()
        found = np.zeros(scores.shape)
        for j, dataset in enumerate(self.study.datasets):
            others = [i for i, other in enumerate(self.study.datasets) if i != j and other.own not in dataset.related]
            gains = strangers[:, others]
            found[:, j] = np.nansum(gains, axis=1) / np.maximum(np.isfinite(gains).sum(axis=1), 1)
        return found

    def asymmetry(self) -> Asymmetry | None:
        """Return how far transfer is from being mutual; None for fewer than `LEAST_DATASETS`."""
        if not self.is_large:
            return None
        square = self.between(self.matrix("iou", refitted=True))
        names = [self.targets[j] for _, j in self.own]
        one, other = np.triu_indices(len(square), 1)
        there, back = square[one, other], square[other, one]
        valid = np.isfinite(there) & np.isfinite(back)
        both = np.concatenate([there[valid], back[valid]])
        correlation = _correlations(both[None], np.concatenate([back[valid], there[valid]]))[0]
        means = np.nanmean(np.where(np.eye(len(square), dtype=bool), np.nan, square), axis=0)
        share_within = _share_of_direction((there - means[other])[valid], (back - means[one])[valid])
        order = sorted(np.flatnonzero(valid), key=lambda i: -abs(there[i] - back[i]))
        pairs = [(names[one[i]], names[other[i]], float(there[i]), float(back[i])) for i in order[:WIDEST]]
        widest = [(a, b, there, back) if there >= back else (b, a, back, there) for a, b, there, back in pairs]
        return Asymmetry(
            _share_of_direction(there[valid], back[valid]), share_within, float(correlation), tuple(widest)
        )

    def clusters(self) -> Clusters | None:
        """Return groups of datasets by average linkage; None for fewer than `LEAST_DATASETS`.

        The distance of two datasets is 1 less the mean, over both directions, of the share that one's pipelines reach
        of the score of the other's own.
        """
        if not self.is_large:
            return None
        square = np.nan_to_num(self.between(self.matrix("iou", refitted=True)))
        shares = np.minimum(square / np.maximum(np.diag(square), 1e-6), 1.0)
        distance = 1 - (shares + shares.T) / 2
        np.fill_diagonal(distance, 0.0)
        joins = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
        labels = fcluster(joins, CLUSTER_SHARE * joins[:, 2].max(), "distance")
        order = [int(i) for i in leaves_list(joins)]
        names = [self.targets[j] for _, j in self.own]
        groups = {label: tuple(names[i] for i in order if labels[i] == label) for label in labels[order]}
        return Clusters(tuple(order), tuple(groups.values()), joins)

    def to_json(self) -> dict[str, Any]:
        """Return all tables as values that JSON knows."""
        clusters, asymmetry = self.clusters(), self.asymmetry()
        associations = {
            f"{prefix}{score}": {
                name: one.to_json() for name, one in self.associations(score, refitted=refitted).items()
            }
            for score in SCORES
            for prefix, refitted in (("", False), ("refitted_", True))
        }
        return {
            "datasets": [
                {"name": d.name, "own": d.own, "fitted_on": len(d.fitted_on), "scored_on": len(d.scored_on)}
                for d in self.study.datasets
            ],
            "sources": [
                {"name": name, "id": task.id} for name, task in zip(self.sources, self.study.sources, strict=True)
            ],
            "on_test": self.study.on_test,
            "rows": len(self.study.rows),
            "likeness": associations if self.is_large else None,
            "k": list(KS),
            "choices": [asdict(choice) for choice in self.choices()],
            "asymmetry": None if asymmetry is None else asdict(asymmetry),
            "clusters": None if clusters is None else [list(group) for group in clusters.groups],
        }


def associate(alike: Floats, transfer: Floats, permutations: int = PERMUTATIONS) -> Association:
    """Return how well likeness predicts transfer, both between the same datasets.

    Parameters
    ----------
    alike, transfer : float array of shape (n, n)
        From row to column; the diagonal does not count, and neither do NaNs in `transfer`.
    permutations : int
        Of the datasets, for the p-values.
    """
    n = len(transfer)
    rows, columns = np.nonzero(np.isfinite(transfer) & ~np.eye(n, dtype=bool))
    rng = stream(0, "mantel", n)
    orders = np.stack([np.arange(n), *(rng.permutation(n) for _ in range(permutations))])
    x, y = alike[orders[:, rows], orders[:, columns]], transfer[rows, columns]
    ranks = _correlations(rankdata(x, axis=1), rankdata(y))
    parts = [part for j in range(n) if (part := columns == j).sum() > 2]
    within = np.mean([_correlations(rankdata(x[:, p], axis=1), rankdata(y[p])) for p in parts], axis=0)
    r2 = float(_correlations(x[:1], y)[0] ** 2)
    without = []
    for k in range(n):
        kept = (rows != k) & (columns != k)
        pairs = [(x[0, kept & part], y[kept & part]) for part in parts]
        without.append(_mean_rank_correlation(pairs))
    left_out = min(without), max(without)
    return Association(r2, float(ranks[0]), _p_value(ranks), float(within[0]), _p_value(within), left_out)


def _mean_rank_correlation(pairs: Iterable[tuple[Floats, Floats]]) -> float:
    """Return the mean of Spearman's correlation over pairs of at least three values each; NaN if one is unknown."""
    long = [(x, y) for x, y in pairs if len(x) > 2]
    if not long or not all(np.isfinite(x).all() for x, _ in long):
        return float("nan")
    return float(np.mean([_correlations(rankdata(x)[None], rankdata(y))[0] for x, y in long]))


def _correlations(x: Floats, y: Floats) -> Floats:
    """Return Pearson's correlation of each row of x, shape (m, n), with y, shape (n,); 0 where one is constant."""
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean()
    size = np.linalg.norm(x, axis=1) * np.linalg.norm(y)
    return np.asarray(np.divide(x @ y, size, out=np.zeros(len(x)), where=size > 1e-12))


def _share_of_direction(there: Floats, back: Floats) -> float:
    """Return the share of the variance of scores that lies between the two directions of a pair."""
    both = np.concatenate([there, back])
    return float(((there - back) ** 2).sum() / 2 / max(((both - both.mean()) ** 2).sum(), 1e-12))


def _p_value(statistics: Floats) -> float:
    """Return the share of permutations with at least the size of the first value, itself included."""
    return float((np.abs(statistics) >= abs(statistics[0]) - 1e-12).mean())


def _choice(name: str, scores: Floats, orders: Sequence[NDArray[np.intp]]) -> Choice:
    columns = [scores[order, j] for j, order in enumerate(orders) if len(order)]
    best = [[column[:k].max() for k in KS] for column in columns]
    hits = [[top >= column.max() for top in tops] for tops, column in zip(best, columns, strict=True)]
    shares = [[top / max(column.max(), 1e-6) for top in tops] for tops, column in zip(best, columns, strict=True)]
    return Choice(name, tuple(map(float, np.mean(hits, axis=0))), tuple(map(float, np.mean(shares, axis=0))))


def _by_chance(scores: Floats, pools: Sequence[NDArray[np.intp]], draws: int = 200) -> Choice:
    """Return what is gained on average by choosing at random."""
    rng = stream(0, "study", "chance")
    drawn = [_choice("chance", scores, [rng.permutation(pool) for pool in pools]) for _ in range(draws)]
    hits, shares = (np.mean([getattr(choice, name) for choice in drawn], axis=0) for name in ("hits", "shares"))
    return Choice("chance", tuple(map(float, hits)), tuple(map(float, shares)))


def print_matrix(tables: StudyTables) -> str:
    """Return the refitted IoU of each source on each dataset as CSV, empty where nothing could be run."""
    rows = zip(tables.sources, tables.matrix("iou", refitted=True), strict=True)
    return _as_csv(["source", *tables.targets], ([source, *values] for source, values in rows))


def print_pairs(tables: StudyTables) -> str:
    """Return one line of CSV per source and dataset: all measures of likeness, and all scores."""
    values = dict(tables.study.likeness)
    for score in SCORES:
        values[score] = tables.matrix(score, refitted=False)
        values[f"refitted {score}"] = tables.matrix(score, refitted=True)
    lines = (
        [source, dataset.name, int(task.id in dataset.related), *(matrix[i, j] for matrix in values.values())]
        for i, (source, task) in enumerate(zip(tables.sources, tables.study.sources, strict=True))
        for j, dataset in enumerate(tables.study.datasets)
    )
    return _as_csv(["source", "target", "related", *values], lines)


def _as_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(
            ("" if np.isnan(value) else f"{value:.4f}") if isinstance(value, float) else value for value in row
        )
    return out.getvalue()
