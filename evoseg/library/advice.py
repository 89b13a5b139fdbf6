"""Learn from the ledger which pipeline will do well on which task: ridge regression on a few named figures."""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log2

import numpy as np
from numpy.typing import NDArray

from evoseg.evolve.classics import Call, chain
from evoseg.library.features import LEAST, Vector
from evoseg.library.images import IMAGES
from evoseg.library.ledger import Reuse
from evoseg.library.masks import MASKS
from evoseg.library.task import SolvedTask, StoredPipeline
from evoseg.pipeline import Pipeline, rescale

THIN_ROWS, THIN_TARGETS = 200, 8
"""Rows and targets below which nothing is learned from a ledger."""
SHRINK = 2.0
"""Targets that a pipeline must have been tried on for its popularity to count half."""
RIDGE = 100.0
"""Penalty of the standardised weights."""
POPULAR = 20
"""Tasks that are looked at because their pipelines did well elsewhere."""
TWIN = 0.9
"""Similarity, by images and by masks, from which a task begins to count as the same one."""
COMPARED = (
    "brightness",
    "local_brightness",
    "separation",
    "texture",
    "edge",
    "thickness",
    "elongation",
    "share",
    "ring",
)
"""Features of masks whose differences are looked at one by one."""
DIFFICULTY = ("separation", "local_brightness", "share", "texture", "edge", "thickness")
"""Features of masks that say how well a task can be solved at all."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """A task as a target: what is known before anything was tried.

    Attributes
    ----------
    statistics : mapping of str to mapping of str to float
    vectors : mapping of str to float32 array
        All, by the id of their descriptor.
    channels : int
    """

    statistics: Mapping[str, Mapping[str, float]]
    vectors: Mapping[str, Vector]
    channels: int

    @cached_property
    def masks(self) -> Mapping[str, float] | None:
        """Standardised features of the masks; None if they are not known."""
        return MASKS.standard(self.statistics.get("masks", {}))


@dataclass(frozen=True, eq=False)
class Candidate:
    """A stored pipeline at one scale, as it could be offered.

    Attributes
    ----------
    task : SolvedTask
    stored : StoredPipeline
    scale : float
        By which its lengths are to be multiplied.
    ending : tuple of calls
        What is to follow it, where another kind of value is wanted.
    """

    task: SolvedTask
    stored: StoredPipeline
    scale: float
    ending: tuple[Call, ...] = ()

    @cached_property
    def program(self) -> Pipeline:
        """The pipeline at this scale; made when asked for, since most candidates are never offered."""
        scaled = self.stored.pipeline if self.scale == 1.0 else rescale(self.stored.pipeline, self.scale)
        return chain(scaled, self.ending) if self.ending else scaled

    @property
    def key(self) -> tuple[str, bool]:
        """What popularity is counted by."""
        return self.stored.pipeline.form, self.scale != 1.0


def problem_of(task: SolvedTask) -> Problem:
    """Return a solved task as a target."""
    return Problem(task.statistics, task.described, task.channels)


def similarity(one: Mapping[str, Vector], other: Mapping[str, Vector]) -> dict[str, float]:
    """Return the inner products of the vectors that two tasks have in common, by descriptor."""
    return {
        name: float(one[name] @ other[name]) for name in one if name in other and one[name].shape == other[name].shape
    }


class Adviser:
    """Expects what pipelines will score on a task, from what stored pipelines have scored on others.

    Parameters
    ----------
    ledger : iterable of Reuse
    tasks : mapping of str to SolvedTask
        Sources and targets by id; rows about others are left out, and so are rows between tasks of one family.
    """

    def __init__(self, ledger: Iterable[Reuse], tasks: Mapping[str, SolvedTask]) -> None:
        self._tasks = tasks
        self._ledger = list(ledger)
        by_target: dict[str, dict[tuple[str, str, bool], tuple[Reuse, StoredPipeline]]] = defaultdict(dict)
        for row in self._ledger:
            source, target = tasks.get(row.source), tasks.get(row.target)
            if source is None or target is None or related(source, target):
                continue
            stored = next((p for p in source.pipelines if p.pipeline.form == row.form), None)
            if stored is not None:
                by_target[row.target][row.source, row.form, row.scale != 1.0] = (row, stored)
        # With a row or two, what is a good score on a target is not known.
        self._rows = {target: list(found.values()) for target, found in by_target.items() if len(found) > 2}
        self._level = {t: max(float(np.mean([r.refitted for r, _ in rows])), 0.01) for t, rows in self._rows.items()}
        self._gains: dict[tuple[str, bool], list[float]] = defaultdict(list)
        for name, tried in self._rows.items():
            for reuse, _ in tried:
                self._gains[reuse.form, reuse.scale != 1.0].append(reuse.refitted / self._level[name] - 1)
        self._lines: dict[tuple[bool, tuple[str, ...]], _Line] = {}

    def without(self, targets: Container[str]) -> "Adviser":
        """Return an adviser that knows nothing of what was tried on some targets."""
        return Adviser([row for row in self._ledger if row.target not in targets], self._tasks)

    @cached_property
    def sources(self) -> list[str]:
        """Tasks whose pipelines did better than others, the best first."""
        best: dict[str, float] = {}
        for rows in self._rows.values():
            for row, _ in rows:
                key = row.form, row.scale != 1.0
                best[row.source] = max(best.get(row.source, 0.0), self.popularity(key))
        return sorted((i for i, gain in best.items() if gain > 0), key=lambda i: -best[i])[:POPULAR]

    @property
    def thin(self) -> bool:
        """Whether there is too little to learn from."""
        return len(self._rows) < THIN_TARGETS or sum(map(len, self._rows.values())) < THIN_ROWS

    def popularity(self, key: tuple[str, bool], without: float | None = None) -> float:
        """Return by which share a pipeline was better than the average of those tried on a target, shrunk towards 0.

        Parameters
        ----------
        without : float, optional
            One of its gains, which is left out.
        """
        gains = self._gains.get(key, [])
        total, n = sum(gains), len(gains)
        if without is not None:
            total, n = total - without, n - 1
        return total / (n + SHRINK)

    def expected(self, problem: Problem, candidates: Sequence[Candidate]) -> list[float]:
        """Return the refitted scores that candidates are expected to have on a problem, from 0 to 1."""
        pairs = {c.task.id: _Pair(problem, c.task) for c in candidates}
        told, learned = problem.masks is not None, tuple(sorted(set(problem.vectors) - {IMAGES.id, MASKS.id}))
        gains = self._line(told, learned)
        asked = [pairs[c.task.id].figures(c, self.popularity(c.key), told, learned) for c in candidates]
        found = np.clip(self._expected_level(problem) * (1 + gains(np.array(asked))), 0, 1)
        # The ledger is about strangers; of a twin, its own score says more.
        twins = np.array([pairs[c.task.id].twin for c in candidates])
        own = np.array([c.stored.score for c in candidates])
        return [float(v) for v in found + twins * (own - found)]

    def _line(self, told: bool, learned: tuple[str, ...]) -> "_Line":
        """Return what predicts gains from the figures that a problem has; fitted once for each kind of problem."""
        if (told, learned) not in self._lines:
            x, y = [], []
            for target, rows in self._rows.items():
                seen = problem_of(self._tasks[target])
                if told and seen.masks is None:
                    continue
                pairs = {row.source: _Pair(seen, self._tasks[row.source]) for row, _ in rows}
                for row, stored in rows:
                    gain = row.refitted / self._level[target] - 1
                    candidate = Candidate(self._tasks[row.source], stored, row.scale)
                    popularity = self.popularity(candidate.key, without=gain)
                    x.append(pairs[row.source].figures(candidate, popularity, told, learned))
                    y.append(gain)
            self._lines[told, learned] = _ridge(np.array(x), np.array(y))
        return self._lines[told, learned]

    def _expected_level(self, problem: Problem) -> float:
        """Return what an average pipeline may reach on a problem."""
        levels = np.array(list(self._level.values()))
        features = [self._tasks[target].masks for target in self._level]
        if problem.masks is None or any(f is None for f in features):
            return float(levels.mean())
        x = np.array([[f[name] for name in DIFFICULTY] for f in features if f is not None])
        return float(_ridge(x, levels)(np.array([[problem.masks[name] for name in DIFFICULTY]]))[0])


def related(one: SolvedTask, other: SolvedTask) -> bool:
    """Return whether two tasks come from one origin, so that one says little of how things go between strangers."""
    return one.id == other.id or (one.card.family != "" and one.card.family == other.card.family)


class _Pair:
    """A problem and a solved task: what does not depend on which of its pipelines is tried."""

    def __init__(self, problem: Problem, source: SolvedTask) -> None:
        self._close = similarity(problem.vectors, source.described)
        of_images, of_masks = self._close.get(IMAGES.id, 0.0), self._close.get(MASKS.id, 0.0)
        colour, colour_there = problem.channels >= 3, source.channels >= 3
        both = of_images * (colour and colour_there)
        self._images = [of_images, both, float(colour and not colour_there), float(colour_there and not colour)]
        self._masks = [of_masks, of_masks * abs(of_masks)]
        here, there = problem.masks, source.masks
        self._ratio, self._apart = 0.0, [0.0] * len(COMPARED)
        if here is not None and there is not None:
            sizes = problem.statistics["masks"]["thickness"], source.statistics["masks"]["thickness"]
            self._ratio = abs(log2(max(sizes[0], LEAST) / max(sizes[1], LEAST)))
            self._apart = [-abs(here[name] - there[name]) for name in COMPARED]

    @property
    def twin(self) -> float:
        """How surely the two pose one problem, from 0 to 1: only if images and masks are nearly equal."""
        least = min(self._close.get(IMAGES.id, 0.0), self._close.get(MASKS.id, 0.0))
        return float(np.clip((least - TWIN) / (1 - TWIN), 0, 1))

    def figures(self, candidate: Candidate, popularity: float, told: bool, learned: tuple[str, ...]) -> list[float]:
        """Return the figures from which a gain is predicted.

        Parameters
        ----------
        told : bool
            Whether the masks of the problem at hand are known.
        learned : tuple of str
            The learned descriptors that it has.
        """
        length, cost = log2(len(candidate.stored.pipeline)), log2(candidate.stored.pipeline.cost + 1)
        figures = [popularity, length, cost, candidate.stored.score, *self._images]
        figures += [self._close.get(name, 0.0) for name in learned]
        if not told:
            return figures
        scaled = candidate.scale != 1.0
        return [*figures, *self._masks, scaled, self._ratio * scaled, self._ratio * (not scaled), *self._apart]


def _ridge(x: Floats, y: Floats) -> "_Line":
    """Fit a line to standardised figures (Hoerl & Kennard, Technometrics 12(1), 1970)."""
    middle, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    z = (x - middle) / spread
    weights = np.linalg.solve(z.T @ z + RIDGE * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    return _Line(middle, spread, weights, float(y.mean()))


@dataclass(frozen=True, eq=False)
class _Line:
    middle: Floats
    spread: Floats
    weights: Floats
    mean: float

    def __call__(self, x: Floats) -> Floats:
        return np.asarray((x - self.middle) / self.spread @ self.weights + self.mean)
