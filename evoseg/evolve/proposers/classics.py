"""Classic recipes: what an expert would try first. They open every search and are its baseline."""

from collections.abc import Container, Sequence
from itertools import product

from numpy.random import Generator

from evoseg.core.kinds import Kind
from evoseg.evolve.image_stats import ImageStats
from evoseg.evolve.ports import Evaluation, Scored, SearchView
from evoseg.operators import registry
from evoseg.operators.parameters import Value
from evoseg.pipeline import IMAGE, Pipeline, Step
from evoseg.pipeline.value import step

Call = tuple[str, dict[str, Value]]

COLOURS = ("gray", "R", "G", "B", "H", "S", "L", "a", "b", "hematoxylin")

RECIPES: tuple[tuple[Call, ...], ...] = (
    (("median", {"radius": 2}), ("threshold", {})),
    (("flatten", {"sigma": 24.0}), ("threshold", {})),
    (("flatten", {"sigma": 24.0}), ("gaussian", {"sigma": 1.5}), ("threshold", {}), ("remove_small", {"area": 40})),
    (("gaussian", {"sigma": 3.0}), ("threshold", {}), ("open_mask", {"radius": 2}), ("fill_holes", {})),
    (("gaussian", {"sigma": 1.0}), ("threshold", {}), ("remove_small", {"area": 60}), ("close_mask", {"radius": 2})),
    (("black_tophat", {"radius": 7}), ("threshold", {})),
    (("white_tophat", {"radius": 7}), ("threshold", {})),
    (("black_tophat", {"radius": 12}), ("gaussian", {"sigma": 1.0}), ("threshold", {}), ("remove_small", {"area": 40})),
    (("white_tophat", {"radius": 12}), ("gaussian", {"sigma": 1.0}), ("threshold", {}), ("remove_small", {"area": 40})),
    (("hessian_ridge", {"sigma": 2.0, "polarity": "dark"}), ("threshold", {})),
    (("hessian_ridge", {"sigma": 2.0, "polarity": "bright"}), ("threshold", {})),
    (("oriented", {"polarity": "dark"}), ("threshold", {}), ("remove_small", {"area": 60})),
    (("oriented", {"polarity": "bright"}), ("threshold", {}), ("remove_small", {"area": 60})),
    (("dog", {"sigma": 3.0, "polarity": "dark"}), ("threshold", {})),
    (("dog", {"sigma": 3.0, "polarity": "bright"}), ("threshold", {})),
    (("deviation", {"radius": 5}), ("threshold", {}), ("fill_holes", {})),
    (("deviation", {"radius": 5}), ("gaussian", {"sigma": 4.0}), ("threshold", {})),
    (("sobel", {}), ("gaussian", {"sigma": 3.0}), ("threshold", {}), ("fill_holes", {})),
    (("clahe", {}), ("gaussian", {"sigma": 2.0}), ("threshold", {})),
    (("gaussian", {"sigma": 1.5}), ("otsu", {"polarity": "bright"})),
    (("gaussian", {"sigma": 1.5}), ("otsu", {"polarity": "dark"})),
    (("gaussian", {"sigma": 1.0}), ("sauvola", {"polarity": "dark"})),
    (("local_normalise", {"radius": 15}), ("threshold", {}), ("remove_small", {"area": 40})),
)
"""Chains after an intake, for masks."""

SEPARATIONS: tuple[tuple[Call, ...], ...] = (
    (("distance_watershed", {"distance": 5.0}),),
    (("distance_watershed", {"distance": 10.0}),),
    (("distance_watershed", {"distance": 20.0}),),
    (("depth_watershed", {"depth": 1.0}), ("keep_area_labels", {"low": 30})),
)
"""What follows a mask where objects are wanted."""

TO_MASKS: tuple[tuple[Call, ...], ...] = (
    (("gaussian", {"sigma": 1.0}), ("otsu", {"polarity": "bright"})),
    (("gaussian", {"sigma": 1.0}), ("otsu", {"polarity": "dark"})),
    (("gaussian", {"sigma": 1.0}), ("threshold", {}), ("open_mask", {"radius": 1}), ("fill_holes", {})),
    (("gaussian", {"sigma": 2.0}), ("threshold", {}), ("fill_holes", {}), ("remove_small", {"area": 40})),
    (("flatten", {"sigma": 24.0}), ("gaussian", {"sigma": 1.5}), ("threshold", {}), ("fill_holes", {})),
    (("deviation", {"radius": 5}), ("gaussian", {"sigma": 2.0}), ("threshold", {}), ("fill_holes", {})),
)
"""Masks of compact objects."""

OBJECTS = (
    *(mask + separation for mask in TO_MASKS for separation in SEPARATIONS),
    *((*recipe, ("components", {})) for recipe in RECIPES),
)
"""Chains after an intake, for objects: a mask, whose touching objects are then separated."""


def _call(name: str, **params: Value) -> Call:
    return name, params


POLARITY = ("bright", "dark")

PLACES: tuple[tuple[Call, ...], ...] = (
    *((_call("gaussian", sigma=s), _call("peaks", distance=d)) for s, d in ((1.0, 3), (2.0, 5), (4.0, 8))),
    *(
        (_call("dog", sigma=s, polarity=polarity), _call("peaks", distance=d))
        for s, d in ((1.5, 3), (3.0, 5), (6.0, 8))
        for polarity in POLARITY
    ),
    *((_call("blobs", sigma=s, contrast=6.0, polarity=polarity),) for s in (1.5, 3.0, 6.0) for polarity in POLARITY),
    *((*mask, _call("centroids", area=12)) for mask in TO_MASKS),
    *((*mask, _call("depth_watershed", depth=1.0), _call("label_centroids", area=12)) for mask in TO_MASKS),
)
"""Chains after an intake, for points."""

ALIGNING: tuple[tuple[Call, ...], ...] = (
    *((_call("gaussian", sigma=s),) for s in (1.0, 3.0, 5.0)),
    *((_call("bandpass", low=low, high=high),) for low, high in ((4.0, 16.0), (8.0, 32.0), (12.0, 60.0))),
    *((_call("dog", sigma=s),) for s in (1.5, 3.0)),
    (_call("median", radius=2),),
    (_call("median", radius=1), _call("gaussian", sigma=2.0)),
    (_call("flatten", sigma=24.0), _call("gaussian", sigma=2.0)),
    (_call("gaussian", sigma=2.0), _call("sobel")),
    (_call("gaussian", sigma=2.0), _call("local_normalise", radius=15)),
    (_call("white_tophat", radius=7), _call("gaussian", sigma=1.5)),
)
"""Chains after an intake, for registration."""

ENDINGS: dict[Kind, tuple[Call, ...]] = {
    Kind.MASK: (("threshold", {}),),
    Kind.LABELS: (("threshold", {}), ("depth_watershed", {"depth": 1.0})),
    Kind.POINTS: (("peaks", {}),),
    Kind.GRAY: (),
}
"""The shortest way from a telling plane to an answer of a kind."""

RECIPES_OF: dict[Kind, tuple[tuple[Call, ...], ...]] = {
    Kind.MASK: RECIPES,
    Kind.LABELS: OBJECTS,
    Kind.POINTS: PLACES,
    Kind.GRAY: ALIGNING,
}

CONSTANT_ENDINGS: dict[Kind, tuple[Call, ...]] = {
    Kind.MASK: (),
    Kind.LABELS: (("components", {}),),
    Kind.POINTS: (("centroids", {"area": 1}),),
}

BEST_INTAKES = 3
"""Intakes that all recipes are tried on."""


class Classics:
    """Proposes every intake with a plain threshold, then all recipes on the best intakes.

    Parameters
    ----------
    stats : ImageStats
    output : Kind
    known : container of str, optional
        Operators that may be used; None for all.
    """

    name = "classic"

    def __init__(self, stats: ImageStats, output: Kind = Kind.MASK, known: Container[str] | None = None) -> None:
        self._known = known
        self._recipes = RECIPES_OF[output]
        self._intakes = intakes(stats, output)
        self._tried: dict[Pipeline, float] = {}
        plain: list[Call] = [("gaussian", {"sigma": 1.5}), *ENDINGS[output]]
        self._waiting = self._chains(plain, self._intakes)
        self._opened = False

    def first(self, n: int) -> list[Pipeline]:
        """Return the first n recipes, without taking them."""
        return self._waiting[:n]

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        """Return the next n recipes."""
        return self.take(n)

    def take(self, n: int | None = None) -> list[Pipeline]:
        """Return the next n recipes, by default all that there are before more is learnt."""
        if not self._waiting and not self._opened and self._tried:
            self._opened = True
            best = sorted(self._tried, key=lambda intake: -self._tried[intake])[:BEST_INTAKES]
            self._waiting = [program for recipe in self._recipes for program in self._chains(recipe, best)]
        now = self._waiting[:n]
        self._waiting = self._waiting[len(now) :]
        return now

    def _chains(self, calls: Sequence[Call], starts: Sequence[Pipeline]) -> list[Pipeline]:
        """Return the programs that a recipe makes of intakes, if only known operators are in them."""
        programs = [chain(start, calls) for start in starts]
        return [p for p in programs if self._known is None or all(s.operator in self._known for s in p.steps)]

    def learn(self, evaluations: Sequence[Evaluation]) -> None:
        """Remember how good each intake is."""
        for evaluation in evaluations:
            if isinstance(evaluation, Scored) and not self._opened:
                intake = evaluation.pipeline.until(0)
                self._tried[intake] = max(evaluation.score, self._tried.get(intake, 0.0))


def chain(intake: Pipeline, calls: Sequence[Call]) -> Pipeline:
    """Return the program that sends a plane through a chain of operators."""
    steps = list(intake.steps)
    for name, params in calls:
        steps.append(step(name, len(steps) - 1, **params))
    return Pipeline(steps)


def intakes(stats: ImageStats, output: Kind = Kind.MASK) -> list[Pipeline]:
    """Return plausible ways from these images to one plane, for programs that return a kind of value."""
    found: list[Step] = []
    if stats.eight_bit and stats.coloured:
        found += [step("plane", IMAGE, channel=colour) for colour in COLOURS]
        found += [step("mix", IMAGE, weights=(-1.0, 2.0, -1.0), offset=0)]
    for index in stats.distinct[:8]:
        if stats.eight_bit and (not stats.coloured or index >= 3):
            found.append(step("channel", IMAGE, index=index))
        if not stats.eight_bit:
            found += _windows(stats, index)
            if output is Kind.POINTS:
                # Another channel may be a map of two theta, which says more of rings than the image does.
                centres = ("found", "map") if index + 1 < len(stats.quantiles) else ("found",)
                found += [
                    step("flatten_rings", IMAGE, index=index, centre=centre, high=high)
                    for centre, high in product(centres, (10.0, 100.0))
                ]
    return [Pipeline([s]) for s in found]


def _windows(stats: ImageStats, index: int) -> list[Step]:
    quantiles = stats.quantiles[index]
    low, high = quantiles[1], max(quantiles[99], quantiles[1] + 1e-6)
    spread = stats.contrasts[index]
    flat = [
        _window("window_flat", index, -k * spread, k * spread, sigma=s) for k in (0.5, 1.5) for s in (2.0, 5.0, 15.0)
    ]
    return [
        _window("window", index, low, high, scale="linear"),
        _window("window", index, low, high, scale="log"),
        step("window_percentile", IMAGE, index=index),
        *flat,
    ]


def _window(name: str, index: int, low: float, high: float, **others: Value) -> Step:
    """Return a window whose ends are as near to the wanted ones as the operator takes."""
    near = {p.name: p.nearest for p in registry.get(name).parameters if p.name in ("low", "high")}
    return step(name, IMAGE, index=index, low=near["low"](low), high=near["high"](high), **others)


def constants(stats: ImageStats, output: Kind) -> list[Pipeline]:
    """Return the answers that need no image: everything, as one object or point where these are wanted, and nothing.

    Of planes, there is an empty one only; images that are registered by it are not shifted at all.
    """
    intake = Pipeline([step("channel", IMAGE, index=0)])
    if output is Kind.GRAY:
        return [Pipeline([*intake.steps, step("difference", 0, 0)])]
    return [
        chain(intake, [("level", {"level": 255, "polarity": polarity}), *CONSTANT_ENDINGS[output]])
        for polarity in ("dark", "bright")
    ]
