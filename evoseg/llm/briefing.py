"""What a round is told: the leader and what is unlike it, what became of the last round, pictures, and what is left."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evoseg.evolve.advising import AdviserView
from evoseg.evolve.ports import Floats, Scored
from evoseg.evolve.proposers.curve_sums import find_sums
from evoseg.evolve.proposers.warm_start import contributed_to
from evoseg.llm.prompts import image_id, per_image, round_score
from evoseg.llm.proposals import Trial, shown_text
from evoseg.llm.roles import Schedule
from evoseg.llm.rounds import RoundRequest, Shown
from evoseg.llm.workshop import Workshop
from evoseg.operators import registry
from evoseg.operators.parameters import Range
from evoseg.pipeline import Pipeline
from evoseg.sandbox.operators import AdmittedCode

MOST_TRIED, MOST_MACROS = 12, 6
"""Earlier proposals, and definitions, that a round is told of."""
WORST_IMAGES = 2
"""Images on which the leader is shown; the best proposal of the last round is shown on one."""
CROSS_FITTED = 4
"""The best of the search that get held-out scores before a round."""
CROSS_FITTED_OF_ROUND = 8
"""The best of a round's programs that get held-out scores after it."""
MOST_TEXT = 2000
"""Characters of a program that is shown."""
FEW_IMAGES = 8
"""Images whose scores are listed one by one."""
OVERVIEW = "all labelled images, each beside itself with the truth outlined"
MOST_WORDS = 240
"""Characters of a reason."""


@dataclass(eq=False)
class Tried:
    """A proposal, and what became of it.

    Attributes
    ----------
    number, round : int
        It is called p<number>.
    name, idea : str
        The model's own words.
    programs : list of Pipeline
        What was evaluated for it.
    scored : Scored or None
        The best of these, with the best numbers that were found at once.
    first_score : float
        Before these were looked for.
    held_out : float64 array of shape (n_images,), or None
    failure : str
        Why it has no score.
    same_as : Tried or None
        An earlier one with the same scores on all images.
    is_last, counted : bool
        Whether it is of the last round; whether it was looked for among the best.
    """

    number: int
    round: int
    name: str
    idea: str
    programs: list[Pipeline] = field(default_factory=list)
    scored: Scored | None = None
    first_score: float = -np.inf
    held_out: Floats | None = None
    failure: str = ""
    same_as: "Tried | None" = None
    is_last: bool = False
    counted: bool = False

    @property
    def called(self) -> str:
        """What the model calls it."""
        return f"p{self.number}"


@dataclass(frozen=True, eq=False)
class OwnOperator:
    """An operator that the model has written.

    Attributes
    ----------
    name : str
        What the model calls it.
    round : int
    admitted : AdmittedCode
    best : Scored or None
        The best program of it alone, with an ending.
    """

    name: str
    round: int
    admitted: AdmittedCode
    best: Scored | None

    def describe(self) -> str:
        """Say how it is called and what it does."""
        code = self.admitted.code
        inputs = [f"{kind} {label}" for label, kind in zip(code.input_names, code.inputs, strict=True)]
        numbers = [
            f"{p.name}={p.domain.low:g}..{p.domain.high:g}" for p in code.parameters if isinstance(p.domain, Range)
        ]
        alone = ""
        if self.best is not None:
            _, *lines = shown_text(self.best.pipeline, {self.name: code.digest}).splitlines()
            alone = f" Alone it scores {self.best.score:.3f}, as `{'; '.join(line.strip() for line in lines)}`."
        return f"{self.name}({', '.join([*inputs, *numbers])}) -> {code.output}: {code.summary}{alone}"


@dataclass(frozen=True, eq=False)
class Leader:
    """The program that a round is shown first, and that others are compared with.

    Attributes
    ----------
    scored : Scored
    held_out : float64 array of shape (n_images,)
    """

    scored: Scored
    held_out: Floats


@dataclass
class Report:
    """What is remembered of the rounds so far.

    Attributes
    ----------
    images : set of int
        Those on which the leader was shown in the last round.
    """

    description: dict[str, Any] | None = None
    findings: str = ""
    tried: list[Tried] = field(default_factory=list)
    refused: Sequence[Mapping[str, str]] = ()
    operators: list[OwnOperator] = field(default_factory=list)
    given_macros: dict[str, str] = field(default_factory=dict)
    macros: dict[str, str] = field(default_factory=dict)
    images: set[int] = field(default_factory=set)

    @property
    def last_round(self) -> list[Tried]:
        """The proposals of the last round."""
        return [tried for tried in self.tried if tried.is_last]


def make_request(
    schedule: Schedule,
    number: int,
    view: AdviserView,
    workshop: Workshop,
    report: Report,
    leader: Leader,
) -> RoundRequest:
    """Return what a round starts from: what was known before it, also where it is resumed."""
    operators = [own for own in report.operators if own.round < number]
    codes = {own.name: own.admitted.code.digest for own in operators}
    short = [s for s in view.best if len(shown_text(s.pipeline, codes)) <= MOST_TEXT]
    others = complements(leader.scored, short, schedule.others)
    known = {"leader": leader.scored.pipeline} | {f"other{i}": s.pipeline for i, s in enumerate(others, 1)}
    before = [tried for tried in report.tried if tried.round < number]
    references = known | {tried.called: tried.scored.pipeline for tried in before if tried.scored is not None}
    earlier = [tried for tried in before if not tried.is_last][-MOST_TRIED:]
    context = {
        "card": workshop.card(view.stats),
        "description": report.description,
        "budget": _budget(view, schedule.rounds - number + 1),
        "leader": _describe_leader(leader, codes),
        "others": [_describe_other(f"other{i}", s, leader, codes) for i, s in enumerate(others, 1)],
        "last_round": _last_round(report, leader, known, codes),
        "tried": [_line(tried, leader, known) for tried in earlier],
        "refused": [f"{refused['name']}: {refused['reason'][:MOST_WORDS]}" for refused in report.refused],
        "operators": [own.describe() for own in operators],
        "macros": list((report.given_macros | report.macros).values())[-MOST_MACROS:],
        "similar": list(workshop.task.similar()) if number == 1 else [],
    }
    pictures = {"pictures": _pictures(leader, report, workshop)} if workshop.sees else {}
    if workshop.sees and number == 1:
        pictures["overview"] = [Shown(OVERVIEW, workshop.overview())]
    return RoundRequest(
        number,
        schedule.chain(number),
        view.stats.channels,
        context,
        pictures,
        references,
        report.given_macros | report.macros,
        codes,
    )


def choose_leader(number: int, view: AdviserView, report: Report) -> Leader:
    """Return the program with the best held-out score, of the search's best and of what rounds have brought."""
    output = view.best[0].pipeline.output
    found = [Leader(s, view.cross_fit(s)) for s in view.best[:CROSS_FITTED]]
    for tried in report.tried:
        if tried.round < number and tried.scored is not None and tried.held_out is not None:
            found += [Leader(tried.scored, tried.held_out)] if tried.scored.pipeline.output is output else []
    short = [one for one in found if len(shown_text(one.scored.pipeline)) <= MOST_TEXT]
    return max(short or found, key=lambda one: float(one.held_out.mean()))


def complements(leader: Scored, others: Sequence[Scored], n: int) -> list[Scored]:
    """Return up to n candidates that are better than the leader, and each other, on as much as possible.

    Near copies of the leader, or of each other, are left out: they say nothing that the search does not try by itself.
    """
    chosen: list[Scored] = []
    left = [s for s in others if not contributed_to(leader.pipeline, s.pipeline)]
    best = leader.scores
    while left and len(chosen) < n:
        gains = [float(np.maximum(s.scores - best, 0).mean()) for s in left]
        chosen.append(left.pop(int(np.argmax(gains))))
        best = np.maximum(best, chosen[-1].scores)
        left = [s for s in left if not contributed_to(chosen[-1].pipeline, s.pipeline)]
    return chosen


def _budget(view: AdviserView, rounds_left: int) -> dict[str, Any]:
    left: dict[str, Any] = {}
    if view.evaluations_left is not None:
        left |= {"evaluations_left": view.evaluations_left, "rounds_left": rounds_left}
    if np.isfinite(view.seconds_left):
        left["seconds_left"] = round(view.seconds_left)
    return left


def _describe_leader(leader: Leader, codes: Mapping[str, str]) -> dict[str, Any]:
    return {
        "program": shown_text(leader.scored.pipeline, codes)[:MOST_TEXT],
        "score": round_score(leader.scored.score),
        "held_out": round_score(float(leader.held_out.mean())),
        "held_out_per_image": per_image(leader.held_out),
    }


def _describe_other(name: str, scored: Scored, leader: Leader, codes: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "program": shown_text(scored.pipeline, codes),
        "score": round_score(scored.score),
        "better_than_the_leader_on": compare_images(scored.scores, leader.scored.scores)["better"],
    }


def compare_images(scores: Floats, leader: Floats) -> dict[str, dict[str, str]]:
    """Return on which images scores differ most from the leader's, with the differences."""
    difference = scores - leader
    order = difference.argsort(kind="stable")
    worse = {image_id(int(i)): f"{difference[i]:+.3f}" for i in order[: FEW_IMAGES // 2] if difference[i] < -0.002}
    better = {
        image_id(int(i)): f"{difference[i]:+.3f}" for i in order[::-1][: FEW_IMAGES // 2] if difference[i] > 0.002
    }
    return {"better": better, "worse": worse}


def _outcome(tried: Tried, leader: Leader) -> str:
    """Say in a line what became of a proposal."""
    if tried.scored is None:
        return f"failed: {tried.failure[:MOST_WORDS]}"
    pipeline = tried.scored.pipeline
    words = f"{tried.scored.score:.3f} ({tried.scored.score - leader.scored.score:+.3f})"
    if tried.scored.score > tried.first_score + 0.0005:
        words += f", {tried.first_score:.3f} before tuning"
    if tried.held_out is not None:
        held_out = float(tried.held_out.mean())
        words += f", held out {held_out:.3f} ({held_out - float(leader.held_out.mean()):+.3f})"
        # Without this, such a program looks as if it carried over to new images unusually well.
        words += "" if _has_fitted(pipeline) else " with nothing to fit"
    if sums := find_sums(pipeline):
        words += f", its sum ended by {', '.join(step.operator for step in pipeline.steps[sums[-1] + 1 :])}"
    if tried.same_as is not None:
        words += f", the same answers as {tried.same_as.called}"
    return words


def _has_fitted(pipeline: Pipeline) -> bool:
    """Return whether a program has curves or levels that are fitted to the search images."""
    return any(registry.get(step.operator).fitted for step in pipeline.steps)


def _line(tried: Tried, leader: Leader, known: Mapping[str, Pipeline]) -> str:
    now = next((f", now `{name}`" for name, program in known.items() if _is(tried, program)), "")
    return f"{tried.called} {tried.name}: {_outcome(tried, leader)}{now}"


def _is(tried: Tried, program: Pipeline) -> bool:
    return tried.scored is not None and tried.scored.pipeline.form == program.form


def _last_round(
    report: Report, leader: Leader, known: Mapping[str, Pipeline], codes: Mapping[str, str]
) -> dict[str, Any]:
    """Return what became of the last round's proposals, the best of them with its program if that is not known yet."""
    last = report.last_round
    if not last:
        return {}
    found: dict[str, Any] = {"you_found": report.findings[:MOST_WORDS]} if report.findings else {}
    found["outcomes"] = [_line(tried, leader, known) for tried in last]
    best = _best_of(last)
    if best is not None and best.scored is not None and not any(_is(best, program) for program in known.values()):
        found["best"] = {
            "name": best.called,
            "program": shown_text(best.scored.pipeline, codes)[:MOST_TEXT],
            **compare_images(best.scored.scores, leader.scored.scores),
        }
    return found


def _best_of(several: Sequence[Tried]) -> Tried | None:
    """Return the proposal with the best held-out score; where none has one, that with the best score."""
    scored = [(tried, tried.scored) for tried in several if tried.scored is not None]
    by_held_out = [(float(tried.held_out.mean()), tried) for tried, _ in scored if tried.held_out is not None]
    by_score = [(one.score, tried) for tried, one in scored]
    return max(by_held_out or by_score, key=lambda pair: pair[0], default=(0.0, None))[1]


def _pictures(leader: Leader, report: Report, workshop: Workshop) -> list[Shown]:
    """Return pictures of the leader on its worst images, and of the last round's best where it is worse."""
    scored, images = leader.scored, worst_images(leader.held_out, report.images)
    shown = [
        Shown(f"{image_id(i)}: image, leader's outlines, its errors", workshop.draw(i, scored.pipeline), i)
        for i in images
    ]
    best = _best_of(report.last_round)
    if best is not None and best.scored is not None and not _is(best, scored.pipeline):
        i = int((best.scored.scores - scored.scores).argmin())
        caption = f"{image_id(i)}: {'' if i in images else 'image, '}{best.called}'s outlines, its errors"
        shown.append(Shown(caption, workshop.draw(i, best.scored.pipeline, image_too=i not in images)))
    return shown


def worst_images(scores: Floats, before: Collection[int]) -> list[int]:
    """Return the images with the lowest scores, but others of the worst ones in place of those shown before."""
    worst = [int(i) for i in scores.argsort(kind="stable")[: 2 * WORST_IMAGES]]
    return sorted(worst, key=lambda i: i in before)[:WORST_IMAGES]


def describe_trial(
    trial: Trial, outcome: Tried | None, view: AdviserView, workshop: Workshop, leader: Leader, picture: str
) -> tuple[dict[str, Any], str | None]:
    """Return what came of an experiment, with a picture, of that name, if the model takes them."""
    if trial.kind == "stats":
        return workshop.describe_plane(trial.programs[0]), None
    if trial.kind == "show":
        if not workshop.sees:
            return {"failed": "you take no pictures; ask for stats instead."}, None
        url = workshop.show(trial.image, trial.programs[0] if trial.programs else None, trial.window)
        return {"image": image_id(trial.image), "picture": picture}, url
    assert outcome is not None
    if outcome.scored is None:
        return {"failed": outcome.failure[:MOST_WORDS]}, None
    scored = outcome.scored
    outcome.held_out = view.cross_fit(scored)
    result = {
        "called": outcome.called,
        "outcome": _outcome(outcome, leader),
        **compare_images(scored.scores, leader.scored.scores),
        "score_per_image": per_image(scored.scores),
    }
    if not workshop.sees:
        return result, None
    worst = int(scored.scores.argmin())
    return result | {"picture": picture, "picture_of": image_id(worst)}, workshop.draw(worst, scored.pipeline)
