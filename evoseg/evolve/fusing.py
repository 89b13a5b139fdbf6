"""Fuse: join planes that complement each other into one sum of curves, fitted to the truth at sampled pixels."""

from collections.abc import Callable, Sequence
from itertools import product

from numpy.random import Generator

from evoseg.base.errors import PipelineError
from evoseg.base.kinds import Kind
from evoseg.evolve.classics import ENDINGS, Call, chain, intakes
from evoseg.evolve.growth import Vocabulary
from evoseg.evolve.planes import Planes, last_plane, places_of_planes, sums_in
from evoseg.evolve.ports import SearchView, Verdict
from evoseg.evolve.variation import MAX_LENGTH, bred
from evoseg.operators.parameters import Value
from evoseg.pipeline import Pipeline
from evoseg.pipeline.editing import graft


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


class Fuse:
    """Proposes sums of planes: new ones, extensions of parents, and parents' sums with one plane changed.

    Parameters
    ----------
    words : Vocabulary
    output : Kind
        What the programs return.
    known : callable () -> sequence of Pipeline
        Programs that return planes and join the bank, asked for when the first sum is made; whoever knows them sees to
        it that there is time for them.
    """

    name = "fuse"

    def __init__(
        self, words: Vocabulary, output: Kind = Kind.MASK, known: Callable[[], Sequence[Pipeline]] = lambda: ()
    ) -> None:
        self._words = words
        self._known = known
        self._ending = ENDINGS[output]
        self._planes: Planes | None = None
        self._given: set[bytes] = set()
        self._bearers: dict[bytes, Pipeline] = {}

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        """Return up to n programs, once there is something to build on."""
        if not view.best or n == 0:
            return []
        if self._planes is None:
            self._planes = Planes(view.probe)
            # Should they become too many, the first ones go: what others know, before what is tried of every image.
            self._planes.add(self._known())
            first = [chain(i, BANK[1]) for i in intakes(view.facts)]
            self._planes.add(first)
            bank = self._bank(view)
            self._planes.add(bank)
            self._given = {digest for plane in (*first, *bank) for digest in plane.digests}
        if self._planes.pixels is None:
            return []
        for s in view.best:
            for i in places_of_planes(s.pipeline):
                self._bearers.setdefault(s.pipeline.digests[i], s.pipeline)
        self._planes.add([plane for s in view.best[:LEADERS] if (plane := last_plane(s.pipeline)) is not None])
        ways = (self._new, self._extended, self._extended, self._changed)
        made = [ways[int(rng.integers(len(ways)))](view, self._planes, rng) for _ in range(n)]
        return [pipeline for pipeline in made if pipeline is not None and len(pipeline) <= MAX_LENGTH]

    def learn(self, verdicts: Sequence[Verdict]) -> None:
        """Learn nothing: selection does."""

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
            spent_s += sum(p.cost for p in here) * sum(view.facts.pixels) * 1e-9
            if bank and spent_s > BANK_S:
                break
            bank += here
        return bank

    def _new(self, view: SearchView, planes: Planes, rng: Generator) -> Pipeline | None:
        """Join planes that complement each other, and end as a parent does or with a threshold."""
        chosen = planes.choose(planes.some(rng), SIZES[int(rng.integers(len(SIZES)))])
        parents = view.select(1, rng)
        tail = parents[0].pipeline if parents and rng.random() < 0.5 else None
        return self._made_from(view, _ended(planes.sum_of(chosen), tail, self._ending), [tail], chosen)

    def _extended(self, view: SearchView, planes: Planes, rng: Generator) -> Pipeline | None:
        """Add planes, or views of its surroundings, to the last plane of a parent."""
        for parent in view.select(1, rng):
            plane = last_plane(parent.pipeline)
            if plane is None:
                return None
            context = [chain(plane, CONTEXT[i]) for i in rng.choice(len(CONTEXT), VIEWS, replace=False)]
            planes.add([plane, *context])
            chosen = planes.choose([plane, *context, *planes.some(rng)], 2 if rng.random() < 0.4 else 4, first=plane)
            made = _ended(planes.sum_of(chosen), parent.pipeline, self._ending)
            return self._made_from(view, made, [parent.pipeline], chosen)
        return self._new(view, planes, rng)

    def _changed(self, view: SearchView, planes: Planes, rng: Generator) -> Pipeline | None:
        """Vary one plane of a parent's sum, and fit the curves anew."""
        parents = [s.pipeline for s in view.select(2, rng)]
        sums = sums_in(parents[0]) if len(parents) == 2 else []
        if not sums:
            return self._extended(view, planes, rng)
        at = sums[int(rng.integers(len(sums)))]
        leaves = [parents[0].until(j) for j in parents[0].steps[at].inputs]
        k = int(rng.integers(len(leaves)))
        leaves[k], crossed = bred(leaves[k], parents[1], self._words, rng)
        planes.add(leaves)
        total = planes.sum_of(leaves)
        try:
            made = None if total is None else graft(parents[0], at, total)
        except PipelineError:
            return None
        return self._made_from(view, made, parents if crossed else parents[:1], leaves)


def _ended(plane: Pipeline | None, like: Pipeline | None, ending: Sequence[Call]) -> Pipeline | None:
    """Return a program that goes on from a plane as another does from its last plane, or with a usual ending."""
    if plane is None:
        return None
    if like is None:
        return chain(plane, ending)
    planes = places_of_planes(like)
    try:
        return graft(like, planes[-1], plane) if planes else None
    except PipelineError:
        return None
