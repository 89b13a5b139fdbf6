"""Warm start: programs that solved other tasks open a search, and give it their parts if they are worth it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from numpy.random import Generator

from evoseg.base.kinds import Kind
from evoseg.evolve.budget import USUAL_S
from evoseg.evolve.classics import ENDINGS, chain
from evoseg.evolve.facts import Facts
from evoseg.evolve.growth import Vocabulary
from evoseg.evolve.method import MOST_COPIES, usual_proposers
from evoseg.evolve.planes import Planes, places_of_planes
from evoseg.evolve.ports import Scored, SearchView, Verdict
from evoseg.evolve.search import Share
from evoseg.evolve.selection import priced
from evoseg.evolve.skeletons import skeleton, structures
from evoseg.evolve.variation import MAX_LENGTH
from evoseg.operators import registry
from evoseg.pipeline import Pipeline

WHOLE = 24
"""Programs that are offered whole at most."""
WORK = 0.1
"""Share of the time budget, or of the usual one, that offered programs may take by the cost model."""
USES = 3
"""How often a step of theirs is reckoned with: to refit, to score, and to make sums of its plane."""
MOST_STEPS = MAX_LENGTH // 2
"""Planes of more steps leave too little room for what a sum adds to them."""
PIECES = 6
"""Parts that are offered in each later generation at most."""
OPENING = 3
"""Generations after which so many classic recipes have been scored that programs can be measured by them."""
CLASSICS, FUSED = 12, 12
"""Places that a generation offers to classic recipes and to sums of curves, once there are programs to begin with.

Refitted programs mostly beat the recipes, and there are more planes to make sums of (decision 17).
"""
SURVIVORS = 3
"""Programs whose parts are offered at most, the best."""
TELLING = 3
"""Steps from which a plane is hardly found twice by chance."""
MOSTLY = 2 / 3
"""Share of an answer's steps beyond which it is a program's descendant, even if its last plane has gone."""


@dataclass(frozen=True)
class Offer:
    """A program from the library that a search is to begin with.

    Attributes
    ----------
    task, name : str
        Id and name of the solved task that it comes from.
    role, form : str
        Of the stored pipeline.
    scale : float
        By which its lengths were multiplied.
    program : Pipeline
        What is offered.
    expected : float or None
        Score that it was expected to reach once refitted; None if nothing is known.
    similarity : mapping of str to float
        Of the tasks, by descriptor.
    macros : mapping of str to str
        Of the solved task, for a language model.
    """

    task: str
    name: str
    role: str
    form: str
    scale: float
    program: Pipeline
    expected: float | None = None
    similarity: Mapping[str, float] = field(default_factory=dict)
    macros: Mapping[str, str] = field(default_factory=dict)


class WarmStart:
    """Proposes what other tasks were solved with: first whole and refitted, later, if any beats the classics, in parts.

    Parameters
    ----------
    offers : sequence of Offer
        The most promising first.
    seconds : float or None
        The search's budget of time; `USUAL_S` if it has none.

    Attributes
    ----------
    heard : dict of str to Scored
        What was scored of the offered programs, by form.
    offered : bool
        Whether there is anything to propose.
    """

    name = "warm"

    def __init__(self, offers: Sequence[Offer], seconds: float | None = None) -> None:
        self._whole = list(dict.fromkeys(offer.program for offer in offers))[:WHOLE]
        self._most_s = WORK * (USUAL_S if seconds is None else seconds)
        self._origins: dict[str, list[str]] = {}
        self._refitted: list[Pipeline] = []
        self._asked = 0
        self.offered = bool(self._whole)
        self._pieces: list[Pipeline] | None = None
        self.heard: dict[str, Scored] = {}

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        """Return whole programs at first, and the parts of those that beat the classics later."""
        self._asked += 1
        if self._asked == 1:
            self._refitted = self._whole = self._fitted(view)
        if self._asked <= OPENING:
            now, self._whole = self._whole[:n], self._whole[n:]
            return now
        if self._pieces is None:
            self._pieces = self._worth_it(view)
        now, self._pieces = self._pieces[: min(n, PIECES)], self._pieces[min(n, PIECES) :]
        return now

    def planes(self) -> list[Pipeline]:
        """Return the planes of the programs, as they were refitted; none before these were asked for."""
        found = dict.fromkeys(p.until(i) for p in self._refitted for i in places_of_planes(p))
        # The intake alone is what the classics begin with.
        return [plane for plane in found if 1 < len(plane) <= MOST_STEPS]

    def learn(self, verdicts: Sequence[Verdict]) -> None:
        """Remember what the whole programs scored."""
        if self._asked <= OPENING:
            scored = [v for v in verdicts if isinstance(v, Scored)]
            self.heard |= {form: v for v in scored for form in self._origins[v.pipeline.form]}

    def _fitted(self, view: SearchView) -> list[Pipeline]:
        """Return what there is time for, with curves fitted to the images at hand, and note which is which."""
        affordable = self._affordable(view.facts)
        refitted = Planes(view.probe).refitted(affordable)
        for old, new in zip(affordable, refitted, strict=True):
            self._origins.setdefault(new.form, []).append(old.form)
        return list(dict.fromkeys(refitted))

    def _affordable(self, facts: Facts) -> list[Pipeline]:
        """Return the first programs that together take no longer than they may."""
        n = len(facts.pixels)
        pixels = sum(facts.pixels) * (1 + min(n, MOST_COPIES) / n)
        costs: dict[bytes, float] = {}
        for k, program in enumerate(self._whole):
            steps = zip(program.digests, program.steps, strict=True)
            # A step that several programs share is computed once.
            costs |= {digest: registry.get(s.operator).cost(s.params) for digest, s in steps}
            if USES * sum(costs.values()) * pixels * 1e-9 > self._most_s:
                return self._whole[:k]
        return self._whole

    def _worth_it(self, view: SearchView) -> list[Pipeline]:
        """Return the parts of the programs that are better than any classic recipe."""
        classics = [priced(s) for s in (*view.population, *view.best) if s.proposer == "classic"]
        bar = max(classics, default=float("-inf"))
        scored = {s.pipeline: s for s in self.heard.values() if priced(s) > bar}
        ranked = sorted(scored.values(), key=priced, reverse=True)
        found = [piece for survivor in ranked[:SURVIVORS] for piece in pieces(survivor.pipeline)]
        return list(dict.fromkeys(found))


def pieces(pipeline: Pipeline) -> list[Pipeline]:
    """Return programs that make the shortest answer of one inner plane of a pipeline each, those near the end first."""
    # The intake alone is what the classics begin with.
    parts = [pipeline.until(i) for i in reversed(places_of_planes(pipeline))]
    cut = [chain(part, ENDINGS[pipeline.output]) for part in parts if len(part) > 1]
    return [piece for piece in cut if piece.form != pipeline.form]


def lives_on(offered: Pipeline, answer: Pipeline) -> bool:
    """Return whether an answer comes from a program, up to numbers.

    It does if the program or one of its planes, of at least `TELLING` steps, is part of it, or if more than two thirds
    of its steps are the program's.
    """
    there = structures(answer)
    planes = [offered.until(i) for i in places_of_planes(offered)]
    telling = {skeleton(plane) for plane in planes if len(plane) >= TELLING}
    if skeleton(offered) == skeleton(answer) or telling & set(there):
        return True
    brought = set(structures(offered))
    return sum(s in brought for s in there) > MOSTLY * len(there)


def with_warm_start(warm: WarmStart) -> Callable[[Vocabulary, Facts, Kind], list[Share]]:
    """Return the usual proposers of a search, opened by the library's programs if there are any."""

    def proposers(words: Vocabulary, facts: Facts, output: Kind) -> list[Share]:
        # A proposer's place decides its random stream, so a cold start must not know of this one.
        if not warm.offered:
            return usual_proposers(words, facts, output)
        first, *usual = usual_proposers(words, facts, output, classics=CLASSICS, fused=FUSED, known=warm.planes)
        # Classics first: however small the budget is, some baseline is scored.
        return [first, Share(warm, WHOLE), *usual]

    return proposers
