"""What a dataset asks for: foreground, objects, classes, points or shifts, by its card or by its truths."""

from collections.abc import Mapping
from dataclasses import dataclass

from evoseg.data.card import DatasetCard
from evoseg.data.meaning import BINARY, CLASSES, INSTANCES
from evoseg.data.survey import ImageFacts, Survey

TASKS = (BINARY, INSTANCES, "points", "registration", CLASSES)
"""Tasks that a folder can ask for."""

_TOUCHING = 0.1
"""Share of the objects from which a warning is due that they touch."""
_TYPICAL = 0.5
"""Share beyond which necks in masks are no sign of touching."""


@dataclass(frozen=True)
class Asked:
    """The task that a dataset sets.

    Attributes
    ----------
    task : str
        One of `TASKS`.
    why : str
        What says so, for people.
    certain : bool
        False if it was read off the pixels.
    """

    task: str
    why: str
    certain: bool = True


def asked(found: Survey, card: DatasetCard) -> Asked:
    """Return the task: what the card says, else what the truths are."""
    labelled = [fact for fact in found.facts.values() if fact.labelled]
    if card.task in TASKS:
        return Asked(card.task, "dataset.yaml says so")
    if card.classes:
        return Asked(CLASSES, "dataset.yaml names classes")
    tallies = [fact.tally for fact in labelled if fact.tally is not None]
    if any("moving" in fact.digests for fact in found.facts.values()):
        return Asked("registration", "the folder holds pairs of images")
    if not tallies and labelled:
        return Asked("points", "the truths are points")
    strokes = sorted({value for fact in labelled if fact.strokes and fact.tally for value in fact.tally.values})
    if len(strokes) > 1:
        return Asked(CLASSES, f"strokes mark the classes {', '.join(map(str, strokes))}", certain=False)
    return Asked(found.decision.meaning.task, found.decision.why, found.decision.certain)


def touching(facts: Mapping[str, ImageFacts], task: str) -> str:
    """Return a warning if many objects of binary masks touch, so that foreground alone would join them; else ""."""
    found = [(fact, fact.tally) for fact in facts.values() if fact.tally is not None]
    n_touching = sum(tally.n_touching for _, tally in found)
    n_objects = sum(max(len(fact.areas), tally.n_touching) for fact, tally in found)
    numbered = any(tally.n_values > 1 for _, tally in found)
    if task != "binary" or n_touching < max(3, _TOUCHING * n_objects):
        return ""
    if not numbered and n_touching > _TYPICAL * n_objects:
        return ""  # necks are how these objects are made
    if numbered:
        how = "The masks number them: take --task instances."
    else:
        how = "To part them, number the objects in the masks, and take --task instances."
    return f"about {n_touching} of {n_objects} objects touch another, and as foreground they stay joined. {how}"
