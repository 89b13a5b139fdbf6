"""Sums of curves: join planes that complement each other into one, fitted to the truth at sampled pixels.

Such a sum is a generalised additive model (Hastie & Tibshirani, Statistical Science 1(3), 1986), fitted in closed form
by penalised least squares on a few thousand pixels. Greedy forward selection (Pati et al., Asilomar 1993) picks planes
that complement each other.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.core.errors import PipelineError
from evoseg.core.kinds import Kind
from evoseg.evolve.ports import Evaluation, Failed, Floats, SearchView
from evoseg.evolve.proposers.classics import ENDINGS, Call, chain, intakes
from evoseg.evolve.proposers.random_programs import Vocabulary
from evoseg.evolve.proposers.variation import MAX_LENGTH, breed
from evoseg.operators import registry
from evoseg.operators.arithmetic import KNOTS, MOST_LEVELS, sum_of_curves
from evoseg.operators.parameters import Value
from evoseg.pipeline import Pipeline, Step
from evoseg.pipeline.structure import graft, shift_inputs
from evoseg.pipeline.value import step

PLANES = 400
"""Planes that are kept to choose from."""
OFFERED = 120
"""Planes, drawn anew each time, that one sum is chosen from."""
SUMS = ("add_curves", "add_curves4")

Probe = Callable[[Sequence[Pipeline]], Sequence[Floats | Failed | None]]

FOREGROUND = 0.3
"""Weight of all foreground pixels together, whatever their share of the images."""
SLOPE, BEND, SIZE = 3e-4, 3e-3, 1e-6
"""Penalties on first and second differences of a curve's points, and on the points themselves."""
CLIPPED = 0.002
"""Share of the sampled pixels that a sum may clip at either end."""
MOST = 8000
"""Pixels that curves are fitted on."""
COLUMN = 1500
"""Pixels that planes are chosen by."""

Levels = NDArray[np.uint8]


class FeatureBank:
    """Programs that return planes, and the levels they give at sampled pixels; those long unused go first.

    Parameters
    ----------
    probe : callable (programs) -> list
        As a `SearchView` has it.

    Attributes
    ----------
    pixels : Pixels or None
        None until a plane has been added, and for a task that samples no pixels.
    """

    def __init__(self, probe: Probe) -> None:
        self.pixels: Pixels | None = None
        self._n_images = 0
        self._probe = probe
        self._levels: OrderedDict[Pipeline, Levels] = OrderedDict()
        self._encoded: dict[Pipeline, NDArray[np.float32]] = {}

    def some(self, rng: Generator) -> list[Pipeline]:
        """Draw planes to choose from."""
        programs = list(self._levels)
        return [programs[i] for i in rng.choice(len(programs), min(OFFERED, len(programs)), replace=False)]

    def add(self, programs: Sequence[Pipeline]) -> None:
        """Sample those that are not there yet. At most `PLANES` at once are sure to be there afterwards."""
        for program in programs:
            if program in self._levels:
                self._levels.move_to_end(program)
        fresh = [p for p in dict.fromkeys(programs) if p not in self._levels]
        for program, probe in zip(fresh, self._probe(fresh), strict=True):
            if probe is None or isinstance(probe, Failed):
                continue
            if self.pixels is None:
                self.pixels, self._n_images = pixels_of(probe), len(probe)
            if self.pixels is not None:
                self._levels[program] = levels_of(probe)
                self._encoded[program] = encode(self._levels[program], self.pixels)
        while len(self._levels) > PLANES:
            del self._encoded[self._levels.popitem(last=False)[0]]

    def most_telling(self) -> list[Pipeline]:
        """Return the programs, best first by how well each alone predicts the foreground."""
        if self.pixels is None:
            return []
        wanted = self.pixels.foreground
        loss = {p: float(self.pixels.weights @ (column - wanted) ** 2) for p, column in self._encoded.items()}
        return sorted(loss, key=lambda p: loss[p])

    def choose(self, programs: Sequence[Pipeline], n: int, first: Pipeline | None = None) -> list[Pipeline]:
        """Return n of the programs that together predict the foreground best, `first` in any case."""
        known = [p for p in dict.fromkeys(programs) if p in self._levels]
        if self.pixels is None or not known or (first is not None and first not in known):
            return []
        columns = np.stack([self._encoded[p] for p in known])
        chosen = choose(columns, self.pixels, n, None if first is None else known.index(first))
        for i in chosen:
            self._levels.move_to_end(known[i])
        return [known[i] for i in chosen]

    def sum_of(self, leaves: Sequence[Pipeline]) -> Pipeline | None:
        """Return the program that adds the leaves up along fitted curves, four at a time; None for fewer than two."""
        leaves = list(dict.fromkeys(leaves))
        if self.pixels is None or len(leaves) < 2 or any(leaf not in self._levels for leaf in leaves):
            return None
        levels = np.stack([self._levels[leaf] for leaf in leaves])
        try:
            return join_along(leaves, levels, fit_curves(levels, self.pixels))[0]
        except PipelineError:
            return None

    def refit(self, programs: Sequence[Pipeline], left_out: Collection[int] = ()) -> list[Pipeline]:
        """Return programs with the curves of their sums fitted to this truth, the inner sums first.

        Curves say which levels mean foreground where a program comes from, so those of other tasks' programs have to be
        fitted before anything else. One without sums, or whose planes cannot be sampled, is returned as it is.

        Parameters
        ----------
        left_out : collection of int
            Images that take no part.
        """
        fitted = list(programs)
        done: set[Pipeline] = set()
        given_up: set[int] = set()
        while due := {
            k: at for k, p in enumerate(fitted) if k not in given_up and (at := _first_sum(p, done)) is not None
        }:
            leaves = {k: [fitted[k].until(j) for j in fitted[k].steps[at].inputs] for k, at in due.items()}
            self.add([leaf for several in leaves.values() for leaf in several])
            pixels = self.pixels and without(self.pixels, self._n_images, left_out)
            for k, at in due.items():
                if pixels is None or any(leaf not in self._levels for leaf in leaves[k]):
                    fitted[k] = programs[k]
                    given_up.add(k)
                    continue
                levels = np.stack([self._levels[leaf] for leaf in leaves[k]])
                numbers, _, _ = to_levels(fit_curves(levels, pixels), levels)
                total = join_planes(leaves[k], numbers)
                fitted[k] = graft(fitted[k], at, total)
                done.add(total)
        return fitted


def join_planes(leaves: Sequence[Pipeline], numbers: tuple[float, ...]) -> Pipeline:
    """Return the program that adds two or four planes up along curves."""
    steps: list[Step] = []
    places = []
    for leaf in leaves:
        steps += shift_inputs(leaf.steps, len(steps))
        places.append(len(steps) - 1)
    steps.append(step(SUMS[len(leaves) > 2], *places, curves=numbers))
    return Pipeline(steps)


def join_along(leaves: Sequence[Pipeline], levels: Levels, curves: Floats) -> tuple[Pipeline, Levels, float]:
    """Return the program that adds two or more planes up along curves, four at a time.

    Parameters
    ----------
    leaves : sequence of Pipeline
        That return the planes.
    levels : uint8 array of shape (n_planes, n_pixels)
        Their values at sampled pixels.
    curves : array of shape (n_planes, KNOTS)

    Returns
    -------
    program : Pipeline
    values : uint8 array of shape (n_pixels,)
        Of the program, at the sampled pixels.
    span : float
        What 255 levels of these are, in the curves' own unit.

    Raises
    ------
    PipelineError
        If the program would be too long.
    """
    program, at, curve, span = leaves[0], levels[:1], curves[:1], 1.0
    done = 1
    while done < len(leaves):
        more = 3 if len(leaves) - done >= 3 else 1
        at = np.concatenate([at, levels[done : done + more]])
        numbers, low, span = to_levels(np.concatenate([curve, curves[done : done + more]]), at)
        program = join_planes([program, *leaves[done : done + more]], numbers)
        # The sum so far stands for itself: a straight line from its lowest to its highest value.
        at = sum_levels(at, numbers)[None]
        curve = np.linspace(low, low + span, curves.shape[1])[None]
        done += more
    return program, at[0], span


def find_sums(program: Pipeline) -> list[int]:
    """Return which steps of a program add planes up along curves."""
    return [i for i, s in enumerate(program.steps) if s.operator in SUMS]


def _first_sum(program: Pipeline, done: Container[Pipeline]) -> int | None:
    """Return the first sum that is not done. Steps may move, so sums are told apart by what they are, not by places."""
    return next((i for i in find_sums(program) if program.until(i) not in done), None)


def cut_to_last_plane(pipeline: Pipeline) -> Pipeline | None:
    """Return the part of a program up to its last plane, the one that its mask comes from; None without planes."""
    places = find_planes(pipeline)
    return pipeline.until(places[-1]) if places else None


def find_planes(pipeline: Pipeline) -> list[int]:
    """Return which steps of a program give planes."""
    return [i for i, s in enumerate(pipeline.steps) if registry.get(s.operator).output is Kind.GRAY]


def _each(name: str, **values: Sequence[Value]) -> list[tuple[Call, ...]]:
    """Return the operator alone with every combination of the values."""
    return [((name, dict(zip(values, combination, strict=True))),) for combination in product(*values.values())]


POLARITY = ("bright", "dark")

BANK: tuple[tuple[Call, ...], ...] = (
    (),
    *_each("gaussian", sigma=(1.5, 4.0, 10.0)),
    *_each("flatten", sigma=(24.0,)),
    *_each("hessian_ridge", sigma=(1.5, 3.0, 6.0), polarity=POLARITY),
    *_each("dog", sigma=(1.5, 3.0, 6.0), polarity=POLARITY),
    *_each("deviation", radius=(3, 8)),
    (("sobel", {}), ("gaussian", {"sigma": 3.0})),
    *_each("white_tophat", radius=(9,)),
    *_each("black_tophat", radius=(9,)),
    *_each("local_normalise", radius=(15,)),
)
"""Filters that every good intake is looked at through."""

CONTEXT: tuple[tuple[Call, ...], ...] = (
    *_each("gaussian", sigma=(1.0, 2.0, 4.0, 8.0, 16.0)),
    *_each("hessian_ridge", sigma=(2.0, 5.0), polarity=("bright",)),
    *_each("dog", sigma=(2.0, 5.0), polarity=("bright",)),
    *_each("deviation", radius=(4,)),
    *_each("median", radius=(3,)),
)
"""Filters that show what surrounds a pixel in a plane that already tells foreground from background."""

BANK_S = 1.5
"""Modelled time that the bank may take, copies not counted. Where images are many or large, it has fewer intakes."""
LEADERS = 6
"""Candidates whose planes join the choice in each generation."""
VIEWS = 3
"""Views of its surroundings that a parent's plane is offered with."""
SIZES = (2, 3, 4, 4, 7)
"""Planes that a new sum joins."""


class CurveSums:
    """Proposes sums of planes: new ones, extensions of parents, and parents' sums with one plane changed.

    Parameters
    ----------
    vocabulary : Vocabulary
    output : Kind
        What the programs return.
    known : callable () -> sequence of Pipeline
        Programs that return planes and join the bank, asked for when the first sum is made; whoever knows them sees to
        it that there is time for them.
    """

    name = "fuse"

    def __init__(
        self, vocabulary: Vocabulary, output: Kind = Kind.MASK, known: Callable[[], Sequence[Pipeline]] = lambda: ()
    ) -> None:
        self._vocabulary = vocabulary
        self._known = known
        self._ending = ENDINGS[output]
        self._planes: FeatureBank | None = None
        self._n_brought = 0
        self._given: set[bytes] = set()
        self._bearers: dict[bytes, Pipeline] = {}

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        """Return up to n programs, once there is something to build on."""
        if not view.best or n == 0:
            return []
        if self._planes is None:
            self._planes = FeatureBank(view.sample_pixels)
            # Should they become too many, the first ones go: what others know, before what is tried of every image.
            self._planes.add(self._known())
            first = [chain(i, BANK[1]) for i in intakes(view.stats)]
            self._planes.add(first)
            bank = self._bank(view)
            self._planes.add(bank)
            self._given = {digest for plane in (*first, *bank) for digest in plane.digests}
        self._planes.add(self._vocabulary.planes[self._n_brought :])
        self._n_brought = len(self._vocabulary.planes)
        if self._planes.pixels is None:
            return []
        for s in view.best:
            for i in find_planes(s.pipeline):
                self._bearers.setdefault(s.pipeline.digests[i], s.pipeline)
        self._planes.add([plane for s in view.best[:LEADERS] if (plane := cut_to_last_plane(s.pipeline)) is not None])
        ways = (self._new, self._extend, self._extend, self._change)
        made = [ways[int(rng.integers(len(ways)))](view, self._planes, rng) for _ in range(n)]
        return [pipeline for pipeline in made if pipeline is not None and len(pipeline) <= MAX_LENGTH]

    def learn(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn nothing; selection does."""

    def _made_from(self, view: SearchView, child: Pipeline | None, parents: Sequence[Pipeline | None],
                   leaves: Sequence[Pipeline]) -> Pipeline | None:  # fmt: skip
        """Say which candidates a sum was made from: those that its planes stem from, unless everybody has these."""
        if child is not None:
            bearers = [self._bearer(leaf) for leaf in leaves]
            view.descend(child, [parent for parent in (*parents, *bearers) if parent is not None])
        return child

    def _bearer(self, leaf: Pipeline) -> Pipeline | None:
        """Return the candidate that first had a plane, or the largest part of it that is not in the bank."""
        own = (digest for digest in reversed(leaf.digests) if digest not in self._given)
        return next((self._bearers[digest] for digest in own if digest in self._bearers), None)

    def _bank(self, view: SearchView) -> list[Pipeline]:
        """Return the bank's filters on as many intakes as time allows, the most telling first."""
        assert self._planes is not None
        bank: list[Pipeline] = []
        spent_s = 0.0
        for plane in self._planes.most_telling():
            here = [chain(plane.until(0), filters) for filters in BANK]
            spent_s += sum(p.filter_cost for p in here) * sum(view.stats.pixels) * 1e-9
            if bank and spent_s > BANK_S:
                break
            bank += here
        return bank

    def _new(self, view: SearchView, planes: FeatureBank, rng: Generator) -> Pipeline | None:
        """Join planes that complement each other, and end as a parent does or with a threshold."""
        chosen = planes.choose(planes.some(rng), SIZES[int(rng.integers(len(SIZES)))])
        parents = view.select(1, rng)
        tail = parents[0].pipeline if parents and rng.random() < 0.5 else None
        return self._made_from(view, finish(planes.sum_of(chosen), tail, self._ending), [tail], chosen)

    def _extend(self, view: SearchView, planes: FeatureBank, rng: Generator) -> Pipeline | None:
        """Add planes, or views of its surroundings, to the last plane of a parent."""
        for parent in view.select(1, rng):
            plane = cut_to_last_plane(parent.pipeline)
            if plane is None:
                return None
            context = [chain(plane, CONTEXT[i]) for i in rng.choice(len(CONTEXT), VIEWS, replace=False)]
            planes.add([plane, *context])
            chosen = planes.choose([plane, *context, *planes.some(rng)], 2 if rng.random() < 0.4 else 4, first=plane)
            made = finish(planes.sum_of(chosen), parent.pipeline, self._ending)
            return self._made_from(view, made, [parent.pipeline], chosen)
        return self._new(view, planes, rng)

    def _change(self, view: SearchView, planes: FeatureBank, rng: Generator) -> Pipeline | None:
        """Vary one plane of a parent's sum, and fit the curves anew."""
        parents = [s.pipeline for s in view.select(2, rng)]
        sums = find_sums(parents[0]) if len(parents) == 2 else []
        if not sums:
            return self._extend(view, planes, rng)
        at = sums[int(rng.integers(len(sums)))]
        leaves = [parents[0].until(j) for j in parents[0].steps[at].inputs]
        k = int(rng.integers(len(leaves)))
        leaves[k], crossed = breed(leaves[k], parents[1], self._vocabulary, rng)
        planes.add(leaves)
        total = planes.sum_of(leaves)
        try:
            made = None if total is None else graft(parents[0], at, total)
        except PipelineError:
            return None
        return self._made_from(view, made, parents if crossed else parents[:1], leaves)


def finish(plane: Pipeline | None, like: Pipeline | None, ending: Sequence[Call]) -> Pipeline | None:
    """Return a program that goes on from a plane as another does from its last plane, or with a usual ending."""
    if plane is None:
        return None
    if like is None:
        return chain(plane, ending)
    planes = find_planes(like)
    try:
        return graft(like, planes[-1], plane) if planes else None
    except PipelineError:
        return None


@dataclass(frozen=True, eq=False)
class Pixels:
    """Sampled pixels: whether each is foreground, or how likely, and how much it counts. Weights add up to 1."""

    foreground: NDArray[np.bool_] | Floats
    weights: Floats


def pixels_of(probe: Floats) -> Pixels | None:
    """Return what a probe of shape (n_images, 2, s) says of its pixels; None if there is nothing to tell apart.

    Every image counts alike, and all foreground together weighs `FOREGROUND`.
    """
    probe = _of_many(probe)
    there = ~np.isnan(probe)
    weights = there / np.maximum(there.sum(axis=2, keepdims=True), 1)
    per_class = weights.sum(axis=(0, 2), keepdims=True)
    if not probe.size or not per_class.all():
        return None
    weights *= np.array([FOREGROUND, 1 - FOREGROUND]).reshape(1, 2, 1) / per_class
    foreground = np.broadcast_to(np.array([True, False]).reshape(1, 2, 1), probe.shape)
    return Pixels(foreground.ravel(), weights.ravel())


def without(pixels: Pixels, n_images: int, images: Collection[int]) -> Pixels | None:
    """Return the pixels with those of some images counting for nothing, the classes weighing what they did.

    None if that leaves nothing of a class.
    """
    weights = pixels.weights.copy()
    weights.reshape(n_images, -1)[list(images)] = 0
    wanted = pixels.foreground > 0.5
    for of_class, weight in ((wanted, FOREGROUND), (~wanted, 1 - FOREGROUND)):
        if not weights[of_class].any():
            return None
        weights[of_class] *= weight / weights[of_class].sum()
    return Pixels(pixels.foreground, weights)


def levels_of(probe: Floats) -> Levels:
    """Return a probe's values in the order of `pixels_of`; pixels that are not there, which weigh nothing, become 0."""
    return np.nan_to_num(_of_many(probe)).astype(np.uint8).ravel()


def _of_many(probe: Floats) -> Floats:
    """Return the first pixels of each class and image: fewer of each where images are many."""
    return probe[:, :, : max(1, MOST // (2 * len(probe)))]


def encode(levels: Levels, pixels: Pixels) -> NDArray[np.float32]:
    """Return for each pixel the share of foreground among pixels of about its level: a curve for one plane alone."""
    curve = fit_curves(levels[None], pixels)[0]
    shares: NDArray[np.float32] = np.interp(levels, np.linspace(0, 255, KNOTS), curve).astype(np.float32)
    return shares


def fit_curves(planes: Levels, pixels: Pixels, slope: float = SLOPE) -> Floats:
    """Return curves of shape (n_planes, KNOTS) whose sum best predicts the foreground; planes: (n_planes, n_pixels).

    `slope` is the penalty on first differences of a curve's points.
    """
    basis, root = hat_basis(), np.sqrt(pixels.weights)
    hats = np.concatenate([basis.take(levels, axis=0) for levels in planes], axis=1)
    means = pixels.weights @ hats
    hats *= root[:, None]
    target = (pixels.foreground - pixels.weights @ pixels.foreground) * root
    first, second = (np.diff(np.eye(KNOTS), n, axis=0) for n in (1, 2))
    penalty = slope * first.T @ first + BEND * second.T @ second + SIZE * np.eye(KNOTS)
    # Weights add up to 1, so the products of means centre the hats at the least expense.
    normal = hats.T @ hats - np.outer(means, means) + np.kron(np.eye(len(planes)), penalty)
    curves: Floats = np.linalg.solve(normal, hats.T @ target).reshape(len(planes), KNOTS)
    return curves


def hat_basis() -> Floats:
    """Return, per level 0..255, the shares of the knots on either side; shape (256, KNOTS)."""
    distance = np.abs(np.arange(256)[:, None] * (KNOTS - 1) / 255 - np.arange(KNOTS))
    return np.asarray(np.maximum(0, 1 - distance), np.float64)


def choose(columns: NDArray[np.float32], pixels: Pixels, n: int, first: int | None = None) -> list[int]:
    """Return n columns that together predict the foreground best, chosen one after the other.

    Parameters
    ----------
    columns : float32 array of shape (n_columns, n_pixels)
    first : int or None
        One that is chosen in any case.
    """
    stride = max(1, columns.shape[1] // COLUMN)
    weights = pixels.weights[::stride] / pixels.weights[::stride].sum()
    root = np.sqrt(weights).astype(np.float32)
    rest = (columns[:, ::stride] - (columns[:, ::stride] @ weights)[:, None].astype(np.float32)) * root
    target = (pixels.foreground[::stride] - weights @ pixels.foreground[::stride]).astype(np.float32) * root
    sizes = (rest**2).sum(axis=1)
    chosen: list[int] = []
    while len(chosen) < min(n, len(columns)):
        left = (rest**2).sum(axis=1)
        # What the chosen ones explain already is noise in what is left.
        gains = np.where(left > 1e-3 * sizes + 1e-9, (rest @ target) ** 2 / np.maximum(left, 1e-12), -1)
        gains[chosen] = -1
        best = first if first is not None and not chosen else int(gains.argmax())
        if chosen and gains[best] <= 0:
            break
        chosen.append(best)
        length = np.sqrt(left[best])
        if length > 0:
            axis = rest[best] / length
            rest = rest - (rest @ axis)[:, None] * axis
            target = target - (target @ axis) * axis
    return chosen


def to_levels(curves: Floats, planes: Levels) -> tuple[tuple[float, ...], float, float]:
    """Scale curves so that their sum fills 0..255.

    Returns
    -------
    numbers : tuple of float, level
        The curves as `add_curves` takes them.
    low, span : float
        The sum at level 0, and what 255 levels of it are, in the curves' own unit.
    """
    total = sum(np.interp(levels, np.linspace(0, 255, KNOTS), c) for levels, c in zip(planes, curves, strict=True))
    low, high = np.quantile(total, [CLIPPED, 1 - CLIPPED])
    span = max(float(high - low), 1e-9)
    scaled = (curves - low / len(curves)) * 255 / span
    numbers = np.clip(np.rint(scaled), -MOST_LEVELS, MOST_LEVELS)
    return tuple(float(v) for v in numbers.ravel()), float(low), span


def sum_levels(planes: Levels, numbers: tuple[float, ...]) -> Levels:
    """Return what `add_curves` makes of sampled levels."""
    return sum_of_curves(tuple(np.ascontiguousarray(levels)[None] for levels in planes), numbers).ravel()
