"""Choose the champion among a few finalists, on evidence that the search has used as little as possible."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from evoseg.evolve.ports import Floats, Scored
from evoseg.evolve.selection import assured, price
from evoseg.evolve.skeletons import Skeleton, skeleton

MOST = 8
VOTE = "vote"
VOTE_GAIN = 0.005
"""Selection score by which a vote must beat the best single program, as it is three times as long."""


@dataclass(frozen=True, eq=False)
class Finalist:
    """A candidate with the score that the choice rests on.

    Attributes
    ----------
    scored : Scored
    selection : float64 array
        Per image of the selection split, or, where there is none, per search image with the structure's fitted and
        tuned numbers found on the other images.
    role : str
        "evolved", "classic" or "constant".
    """

    scored: Scored
    selection: Floats
    role: str

    @property
    def merit(self) -> float:
        """The assured selection score, less what length and cost must be worth."""
        return assured(self.selection) - price(self.scored.pipeline)


def nominate(
    best: Sequence[Scored], constants: Sequence[Scored], classic: Scored | None, vote: Scored | None = None
) -> list[tuple[Scored, str]]:
    """Return at most `MOST` candidates with their roles: baselines always, the rest best first.

    Evolved ones of one structure differ in numbers only, so one of them stands for all.
    """
    chosen = [(s, "constant") for s in constants] + ([(classic, "classic")] if classic else [])
    structures: set[Skeleton] = set()
    answers = {s.answer for s, _ in chosen}
    for scored in [vote, *best] if vote else best:
        structure = skeleton(scored.pipeline)
        if scored.proposer == "classic":
            continue  # the best of them is in already
        if len(chosen) < MOST and structure not in structures and scored.answer not in answers:
            chosen.append((scored, "evolved"))
            structures.add(structure)
            answers.add(scored.answer)
    return chosen


def leave_one_out(scored: Scored, variants: Mapping[Skeleton, Sequence[tuple[Floats, Floats]]]) -> Floats:
    """Return each image's score with fitted and tuned numbers taken from the other images only.

    The tuned numbers are those of the variant, among all that were tried of this structure, that is best on the
    other images; its level was compared on the other images, too.
    """
    tried = [*variants.get(skeleton(scored.pipeline), ()), (scored.scores, scored.left_out)]
    scores = np.stack([s for s, _ in tried])
    left_out = np.stack([left for _, left in tried])
    if scores.shape[1] == 1:
        return scored.left_out
    others = scores.sum(axis=1, keepdims=True) - scores
    return cast(Floats, np.take_along_axis(left_out, others.argmax(axis=0)[None], axis=0)[0])


def champion(finalists: Sequence[Finalist]) -> Finalist:
    """Return the finalist with the greatest merit, the first of equals, unless a vote is clearly better."""
    single = max((f for f in finalists if f.scored.proposer != VOTE), key=lambda f: f.merit)
    votes = [f for f in finalists if f.scored.proposer == VOTE]
    better = [f for f in votes if assured(f.selection) >= assured(single.selection) + VOTE_GAIN]
    return better[0] if better else single
