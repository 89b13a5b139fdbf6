"""Warm start: programs that solved other tasks open a search, and give it their parts if they are worth it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from evoseg.base.kinds import Kind
from evoseg.evolve.classics import ENDINGS, chain
from evoseg.evolve.facts import Facts
from evoseg.evolve.growth import Vocabulary
from evoseg.evolve.method import usual_proposers
from evoseg.evolve.planes import Planes
from evoseg.evolve.ports import Scored, SearchView, Verdict
from evoseg.evolve.search import Share
from evoseg.evolve.selection import priced
from evoseg.evolve.skeletons import skeleton, structures
from evoseg.operators import registry
from evoseg.pipeline import Pipeline

WHOLE = 24
"""Programs that are offered in a search's first generation at most: the others stay with classics and newcomers."""
LEAST = 5
"""Programs that are offered however much they cost."""
WHOLE_S = 3.0
"""Modelled time that offered programs may take, copies not counted. Where images are many or large, fewer are."""
PIECES = 6
"""Parts that are offered in each later generation at most."""
OPENING = 3
"""Generations after which so many classic recipes have been scored that programs can be measured by them."""
CLASSICS, FUSED = 12, 12
"""Places that a generation offers to classic recipes and to sums of curves, once there are programs to begin with.

Refitted programs mostly beat the recipes, and there are more planes to make sums of: 26 datasets at 100 evaluations,
scored on held-back training images, gain 0.061 over a cold search with these places, and 0.031 with a cold search's.
"""
SURVIVORS = 3
"""Programs whose parts are offered at most, the best."""
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

    Attributes
    ----------
    heard : dict of str to Scored
        What was scored of the offered programs, by form.
    offered : bool
        Whether there is anything to propose.
    abstained : bool
        Whether none was better than the best classic recipe, so that no part was offered.
    """

    name = "warm"

    def __init__(self, offers: Sequence[Offer]) -> None:
        self._whole = list(dict.fromkeys(offer.program for offer in offers))[:WHOLE]
        self._origins: dict[str, list[str]] = {}
        self._refitted: list[Pipeline] = []
        self._asked = 0
        self.offered = bool(self._whole)
        self._pieces: list[Pipeline] | None = None
        self.heard: dict[str, Scored] = {}
        self.abstained = False

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
        """Return the inner planes of the programs, as they were refitted; none before they were asked for."""
        found = [p.until(i) for p in self._refitted for i in _planes(p)]
        return [plane for plane in dict.fromkeys(found) if len(plane) > 1]

    def learn(self, verdicts: Sequence[Verdict]) -> None:
        """Remember what the whole programs scored."""
        if self._asked <= OPENING:
            scored = [v for v in verdicts if isinstance(v, Scored)]
            self.heard |= {form: v for v in scored for form in self._origins[v.pipeline.form]}

    def _fitted(self, view: SearchView) -> list[Pipeline]:
        """Return what there is time for, with curves fitted to the images at hand, and note which is which."""
        seconds = np.cumsum([program.cost for program in self._whole]) * sum(view.facts.pixels) * 1e-9
        affordable = self._whole[: max(LEAST, int(np.searchsorted(seconds, WHOLE_S)))]
        refitted = Planes(view.probe).refitted(affordable)
        for old, new in zip(affordable, refitted, strict=True):
            self._origins.setdefault(new.form, []).append(old.form)
        return refitted

    def _worth_it(self, view: SearchView) -> list[Pipeline]:
        """Return the parts of the programs that are better than any classic recipe."""
        classics = [priced(s) for s in (*view.population, *view.best) if s.proposer == "classic"]
        bar = max(classics, default=float("-inf"))
        ranked = sorted((s for s in self.heard.values() if priced(s) > bar), key=priced, reverse=True)
        self.abstained = not ranked
        found = [piece for scored in ranked[:SURVIVORS] for piece in pieces(scored.pipeline)]
        return list(dict.fromkeys(found))


def pieces(pipeline: Pipeline) -> list[Pipeline]:
    """Return programs that make the shortest answer of one inner plane of a pipeline each, those near the end first."""
    # The intake alone is what the classics begin with.
    parts = [pipeline.until(i) for i in reversed(_planes(pipeline))]
    cut = [chain(part, ENDINGS[pipeline.output]) for part in parts if len(part) > 1]
    return [piece for piece in cut if piece.form != pipeline.form]


def _planes(pipeline: Pipeline) -> list[int]:
    return [i for i, s in enumerate(pipeline.steps) if registry.get(s.operator).output is Kind.GRAY]


def lives_on(offered: Pipeline, answer: Pipeline) -> bool:
    """Return whether an answer comes from a program, up to numbers.

    It does if the program or its last plane is part of it, or if more than two thirds of its steps are the program's.
    """
    there = structures(answer)
    planes = _planes(offered)
    last = skeleton(offered.until(planes[-1])) if planes else ()
    if skeleton(offered) == skeleton(answer) or (len(last) > 1 and last in there):
        return True
    brought = set(structures(offered))
    return sum(s in brought for s in there) > MOSTLY * len(there)


def with_warm_start(warm: WarmStart) -> Callable[[Vocabulary, Facts, Kind], list[Share]]:
    """Return the usual proposers of a search, opened by the library's programs if there are any."""

    def proposers(words: Vocabulary, facts: Facts, output: Kind) -> list[Share]:
        # A proposer's place decides its random stream, so a cold start must not know of this one.
        if not warm.offered:
            return usual_proposers(words, facts, output)
        usual = usual_proposers(words, facts, output, classics=CLASSICS, fused=FUSED, known=warm.planes)
        return [Share(warm, WHOLE), *usual]

    return proposers
