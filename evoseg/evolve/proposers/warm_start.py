"""Warm start: pipelines that solved other tasks race against classic recipes; the winners open the search."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.random import Generator

from evoseg.core.folds import Units, count_folds, fold_of
from evoseg.evolve.budget import USUAL_S
from evoseg.evolve.evaluation.evaluator import Evaluator, evenly_spaced
from evoseg.evolve.ports import Evaluation, Scored, SearchView
from evoseg.evolve.proposers.classics import Classics
from evoseg.evolve.proposers.curve_sums import FeatureBank, find_planes, pixels_of
from evoseg.evolve.proposers.variation import MAX_LENGTH
from evoseg.operators import registry
from evoseg.pipeline import Pipeline
from evoseg.pipeline.structure import structure_of, substructures

OFFERED = 24
"""Pipelines that enter the race, at most."""
FIRST_IMAGES = 2
"""Images on which all of them are tried."""
FOLDS = 5
"""Groups of images that curves are fitted without, one after the other, at most."""
FINALISTS = 4
"""Those that are judged on all images, at most; and at most a tenth of a budget of evaluations."""
RIVALS = 3
"""Classic recipes that are judged on all images beside them."""
WORK, LIMIT = 0.05, 0.1
"""Shares of the time budget, or of the usual one: for each part of the race by the cost model; for all by the clock."""
USES = 3
"""How often a step counts in the cost model: for refitting, for scoring, and for sums of its plane."""
MOST_STEPS = MAX_LENGTH // 2
"""Planes of more steps leave too little room for the steps that a sum adds."""
TELLING = 3
"""Steps from which a plane is unlikely to be found twice by chance."""
MOSTLY = 2 / 3
"""Share of a result's steps beyond which it descends from a program, even without that program's last plane."""

EvaluatorOn = Callable[[str, Sequence[int]], Evaluator]
"""Makes an evaluator with a name on some of the images, by place."""


@dataclass(frozen=True)
class WarmStartCandidate:
    """A program from the library with which a search may begin.

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
        Of the tasks, by what was compared: "images", and "masks" where both have some.
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
    """Proposes pipelines that solved other tasks, if they win a race against classic recipes.

    All pipelines and recipes are tried on two images first, and the best of them on all images. Curves that were
    fitted to few images can suit these alone, so the second part goes by scores on images that curves were not fitted
    to. Pipelines that beat the best recipe win. Without winners, a search is the same as without offers.

    Parameters
    ----------
    offers : sequence of WarmStartCandidate
        The most promising first.
    seconds : float or None
        The search's budget of time; `USUAL_S` if it has none.

    Attributes
    ----------
    limit_s : float
        Time after which the race is cut short, s.
    scores : dict of str to float
        What each program scored on the two images, refitted to them, by the offered form.
    held_out : dict of str to float
        What the finalists scored on all images, refitted to the others.
    winners : list of Pipeline
        Of the offered programs, the best first.
    """

    name = "warm"

    def __init__(self, offers: Sequence[WarmStartCandidate], seconds: float | None = None) -> None:
        self._offered = list(dict.fromkeys(offer.program for offer in offers))[:OFFERED]
        self._budget_s = USUAL_S if seconds is None else seconds
        self.limit_s = LIMIT * self._budget_s
        self.scores: dict[str, float] = {}
        self.held_out: dict[str, float] = {}
        self.winners: list[Pipeline] = []
        self._refitted: list[Pipeline] | None = None
        self._waiting: list[Pipeline] = []

    @property
    def offered(self) -> bool:
        """Whether there is anything to race with."""
        return bool(self._offered)

    def race(
        self,
        evaluator_on: EvaluatorOn,
        pixels: Mapping[int, int],
        units: Units,
        telling: Sequence[int],
        classics: Classics,
        late: Callable[[], bool],
        most: int = FINALISTS,
    ) -> tuple[int, int]:
        """Let the offered pipelines race, and note the scores and the winners.

        Parameters
        ----------
        evaluator_on : callable
        pixels : mapping of int to int
            The images, by place, and their sizes.
        units : intp array of shape (n_images,)
            Which unit each of them is of.
        telling : sequence of int
            Those that show all that there is to tell apart (`telling_images`).
        classics : Classics
            From which nothing has been taken.
        late : callable () -> bool
            Whether the time for the race is up; only pipelines that have been scored on all images by then can win.
        most : int
            Finalists, at most.

        Returns
        -------
        Numbers of offered pipelines that were scored on all images, and on the first ones only
        """
        if not telling or len(pixels) < 2 or not most:
            return 0, 0
        first = [telling[i] for i in evenly_spaced(len(telling), FIRST_IMAGES)]
        evaluator = evaluator_on("first images", first)
        recipes: list[Scored] = []
        while batch := classics.take():
            scored = [v for v in evaluator.evaluate(batch, late) if isinstance(v, Scored)]
            classics.learn(scored)
            recipes += scored
        offers = _refit_and_score(self._affordable(self._offered, sum(pixels[i] for i in first)), evaluator, late)
        if not offers or not recipes:
            return 0, 0
        self.scores = {program.form: score for program, score in offers.items()}
        ranked = sorted(offers, key=lambda program: offers[program], reverse=True)
        best = self._affordable(ranked[:most], sum(pixels.values()))
        rivals = [s.pipeline for s in sorted(recipes, key=lambda s: s.score, reverse=True)[:RIVALS]]
        final = _cross_fit([*rivals, *best], evaluator_on("all images", list(pixels)), units, late)
        bar = max((final[recipe] for recipe in rivals if recipe in final), default=np.inf)
        finalists = [program for program in best if program in final]
        self.held_out = {program.form: final[program] for program in finalists}
        winners = [program for program in finalists if final[program] > bar]
        self.winners = sorted(winners, key=lambda program: final[program], reverse=True)
        return len(finalists), len(offers) - len(finalists)

    def ready(self, view: SearchView, n: int, rng: Generator) -> list[Pipeline]:
        """Return the winners, with curves fitted to the images at hand, once."""
        if self._refitted is None:
            self._refitted = list(dict.fromkeys(FeatureBank(view.sample_pixels).refit(self.winners)))
            self._waiting = self._refitted
        now, self._waiting = self._waiting[:n], self._waiting[n:]
        return now

    def planes(self) -> list[Pipeline]:
        """Return the planes of the winners, as they were refitted; none before these were asked for."""
        found = dict.fromkeys(p.until(i) for p in self._refitted or () for i in find_planes(p))
        # The intake alone is what the classics begin with.
        return [plane for plane in found if 1 < len(plane) <= MOST_STEPS]

    def learn(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn nothing; selection does."""

    def _affordable(self, programs: Sequence[Pipeline], pixels: int) -> list[Pipeline]:
        """Return the first programs that together stay within the time limit by the cost model."""
        costs: dict[bytes, float] = {}
        for k, program in enumerate(programs):
            steps = zip(program.digests, program.steps, strict=True)
            # A step that several programs share is computed once.
            costs |= {digest: registry.get(s.operator).cost(s.params) for digest, s in steps}
            if USES * sum(costs.values()) * pixels * 1e-9 > WORK * self._budget_s:
                return list(programs[:k])
        return list(programs)


def _refit_and_score(
    programs: Sequence[Pipeline], evaluator: Evaluator, late: Callable[[], bool]
) -> dict[Pipeline, float]:
    """Return what programs score on the images that their curves are fitted to; only of those that could be scored."""
    refitted = FeatureBank(lambda planes: evaluator.sample_pixels(planes, late)).refit(programs)
    distinct = list(dict.fromkeys(refitted))
    found = dict(zip(distinct, evaluator.evaluate(distinct, late), strict=True))
    scored = zip(programs, map(found.get, refitted), strict=True)
    return {program: float(v.left_out.mean()) for program, v in scored if isinstance(v, Scored)}


def _cross_fit(
    programs: Sequence[Pipeline], evaluator: Evaluator, units: Units, late: Callable[[], bool]
) -> dict[Pipeline, float]:
    """Return what programs score on images that neither curves nor levels are fitted to, a group at a time."""
    planes = FeatureBank(lambda programs: evaluator.sample_pixels(programs, late))
    n_folds = count_folds(units, FOLDS)
    folds = [np.flatnonzero(fold_of(units, n_folds) == k) for k in range(n_folds)]
    refitted = [planes.refit(programs, fold) for fold in folds]
    distinct = list(dict.fromkeys(chain.from_iterable(refitted)))
    found = dict(zip(distinct, evaluator.evaluate(distinct, late), strict=True))
    held_out = {}
    for k, program in enumerate(programs):
        parts = [
            v.left_out[fold] for fold, of in zip(folds, refitted, strict=True) if isinstance(v := found[of[k]], Scored)
        ]
        if len(parts) == n_folds:
            held_out[program] = float(np.concatenate(parts).mean())
    return held_out


def telling_images(evaluator: Evaluator, places: Sequence[int], plane: Pipeline) -> list[int]:
    """Return which of an evaluator's images show both foreground and background, so that curves can be fitted to each.

    Parameters
    ----------
    places : sequence of int
        The images.
    plane : Pipeline
        Any that returns a plane.
    """
    (probe,) = evaluator.sample_pixels([plane])
    if not isinstance(probe, np.ndarray):
        return []
    return [place for place, sample in zip(places, probe, strict=True) if pixels_of(sample[None]) is not None]


def contributed_to(offered: Pipeline, answer: Pipeline) -> bool:
    """Return whether a program contributed to a result, apart from numbers.

    It does if the program or one of its planes, of at least `TELLING` steps, is part of it, or if more than two thirds
    of its steps are the program's.
    """
    there = substructures(answer)
    planes = [offered.until(i) for i in find_planes(offered)]
    telling = {structure_of(plane) for plane in planes if len(plane) >= TELLING}
    if structure_of(offered) == structure_of(answer) or telling & set(there):
        return True
    brought = set(substructures(offered))
    return sum(s in brought for s in there) > MOSTLY * len(there)
