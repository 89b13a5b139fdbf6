"""The lineage of a run: every candidate that its search decided upon, and which candidates it was made from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import inspect, select

from evoseg.evolve.loop import Candidate
from evoseg.evolve.ports import Failed, Pruned
from evoseg.pipeline import Pipeline, print_text, read_text
from evoseg.runs import database
from evoseg.runs.database import CANDIDATE, StoreError
from evoseg.runs.run_folder import DATABASE

SCORED, PRUNED, FAILED = "scored", "pruned", "failed"


@dataclass(frozen=True)
class StoredCandidate:
    """A candidate of a run, and how it came about.

    Attributes
    ----------
    number : int
        From 1, in the order in which the search proposed them; parents have lower numbers than their children.
    generation, evaluations : int
        The generation, and the number of full evaluations up to this candidate.
    seconds : float, s
        The search's clock when its generation was evaluated.
    stage : str
        "foreground" for a mask that a search for objects or points began with, else "".
    proposer : str
    parents : tuple of int
        Numbers of the candidates that it was made from.
    request : int or None
        Number of the call to a language model that brought it.
    outcome : str
        "scored", "pruned" (dismissed after a few images) or "failed".
    score : float or None
        Mean over the search images; of a pruned one, over the few images that it was tried on.
    left_out : float or None
        Mean over the search images, each with a level that was chosen on the others.
    jittered : float or None
        Mean over jittered copies of some search images; None for one that was not tried on them.
    reason : str
        Why it failed.
    digest : str
        Checksum of the program.
    steps : int
    cost : float, ms per megapixel
    program : str
        Its text.
    """

    number: int
    generation: int
    evaluations: int
    seconds: float
    stage: str
    proposer: str
    parents: tuple[int, ...]
    request: int | None
    outcome: str
    score: float | None
    left_out: float | None
    jittered: float | None
    reason: str
    digest: str
    steps: int
    cost: float
    program: str

    @property
    def pipeline(self) -> Pipeline:
        """The program."""
        return read_text(self.program, settled=False).settled()


class LineageNumbers:
    """Numbers candidates in the order in which a search decides upon them, beginning with the first."""

    def __init__(self) -> None:
        self._n = 0
        self._by_form: dict[str, int] = {}

    def rows(self, candidates: Iterable[Candidate]) -> list[dict[str, Any]]:
        """Return candidates as rows."""
        return [self._row(candidate) for candidate in candidates]

    def _row(self, candidate: Candidate) -> dict[str, Any]:
        pipeline = candidate.evaluation.pipeline
        # Parents of an earlier generation are there; what the search never decided upon has no number.
        parents = [self._by_form[form] for form in candidate.parents if form in self._by_form]
        self._n += 1
        self._by_form[pipeline.form] = self._n
        settled = pipeline.settled()
        return {
            "number": self._n,
            "generation": candidate.generation,
            "evaluations": candidate.evaluations,
            "seconds": candidate.seconds,
            "stage": candidate.stage,
            "proposer": candidate.proposer,
            "parents": " ".join(map(str, parents)),
            "request": candidate.request,
            **_outcome(candidate),
            "digest": settled.digest,
            "steps": len(pipeline),
            "cost": pipeline.cost,
            "program": print_text(settled),
        }


def _outcome(candidate: Candidate) -> dict[str, Any]:
    nothing = {"score": None, "left_out": None, "jittered": None, "reason": ""}
    evaluation = candidate.evaluation
    if isinstance(evaluation, Failed):
        return nothing | {"outcome": FAILED, "reason": evaluation.reason.encode("utf-8", "backslashreplace").decode()}
    if isinstance(evaluation, Pruned):
        return nothing | {"outcome": PRUNED, "score": evaluation.score}
    jittered = None if evaluation.jittered is None else float(np.nanmean(evaluation.jittered))
    left_out = float(evaluation.left_out.mean())
    return nothing | {"outcome": SCORED, "score": evaluation.score, "left_out": left_out, "jittered": jittered}


def read_candidates(folder: Path) -> list[StoredCandidate]:
    """Return all candidates of a run, in their order.

    Raises
    ------
    StoreError
        If there is no run in the folder, its database is damaged, or an early version of evoseg has made it.
    """
    path = folder / DATABASE
    with database.opened(path) as connection:
        if not inspect(connection).has_table(CANDIDATE.name):
            raise StoreError(
                f"{path}: made by an early version of evoseg, which did not record what candidates were made from. "
                f"`evoseg runs show {folder} --front` lists the best ones; a new search records everything."
            )
        try:
            rows = database.rows_of(connection, select(CANDIDATE).order_by(CANDIDATE.c.number))
            found = [_candidate(row._asdict()) for row in rows]
        except (TypeError, ValueError) as error:
            raise StoreError(f"{path}: damaged (its lineage cannot be read). {database.REST}") from error
    known = set[int]()
    for one in found:
        if not known.issuperset(one.parents):
            raise StoreError(f"{path}: damaged (the parents of candidate {one.number} are missing). {database.REST}")
        known.add(one.number)
    return found


def _candidate(row: Mapping[str, Any]) -> StoredCandidate:
    return StoredCandidate(**{**row, "parents": tuple(map(int, row["parents"].split()))})


def find_candidate(candidates: Sequence[StoredCandidate], digest: str) -> StoredCandidate | None:
    """Return the first candidate with a digest, None if there is none."""
    return next((one for one in candidates if one.digest == digest), None)


TURN = 0.005
"""By how much a candidate must score higher than all that it was made from to be called a turning point."""


@dataclass(frozen=True)
class Node:
    """A candidate in the ancestry of another.

    Attributes
    ----------
    candidate : StoredCandidate
    parents : tuple of int
        Numbers of the nearest ancestors that are shown, the best first.
    gain : float or None
        By how much it scores higher than the best of these; None without any.
    n_between : int
        How many ancestors in a row are left out between it and one of these.
    """

    candidate: StoredCandidate
    parents: tuple[int, ...]
    gain: float | None
    n_between: int


def trace_ancestry(
    candidates: Sequence[StoredCandidate], champion: StoredCandidate, *, everything: bool = False
) -> dict[int, Node]:
    """Return a candidate and what it was made from, by number, the oldest first.

    Parameters
    ----------
    everything : bool
        Whether all ancestors are returned, and not just the turning points: those that score at least `TURN` higher
        than all that they were made from, those that were made from nothing, and the candidate itself.
    """
    by_number = {one.number: one for one in candidates}
    ancestors = _ancestors(by_number, champion)
    best_before: dict[int, float] = {}
    shown: dict[int, Node] = {}
    behind: dict[int, tuple[tuple[int, ...], int]] = {}
    for one in ancestors:
        # Scores of a mask and of the objects that were made from it are not on one scale.
        comparable = [p for p in one.parents if by_number[p].stage == one.stage]
        before = max((best_before[p] for p in comparable), default=float("-inf"))
        own = one.score if one.score is not None else float("-inf")
        best_before[one.number] = max(before, own)
        nearest = _nearest(one.parents, shown, behind)
        if everything or not one.parents or own >= before + TURN or one is champion:
            parents = tuple(sorted(nearest, key=lambda n: (by_number[n].stage != one.stage, -_score(by_number[n]))))
            skipped = max((behind[p][1] for p in one.parents if p in behind), default=0)
            bar = [_score(by_number[p]) for p in parents if by_number[p].stage == one.stage]
            shown[one.number] = Node(one, parents, own - max(bar) if bar else None, skipped)
        else:
            behind[one.number] = nearest, 1 + max((behind[p][1] for p in one.parents if p in behind), default=0)
    return shown


def _ancestors(by_number: Mapping[int, StoredCandidate], champion: StoredCandidate) -> list[StoredCandidate]:
    """Return a candidate and all that it descends from, the oldest first."""
    found = {champion.number}
    for number in range(champion.number, 0, -1):
        if number in found:
            found.update(by_number[number].parents)
    return [by_number[number] for number in sorted(found)]


def _nearest(
    parents: Sequence[int], shown: Mapping[int, Node], behind: Mapping[int, tuple[tuple[int, ...], int]]
) -> tuple[int, ...]:
    """Return the nearest ancestors that are shown."""
    nearest = [n for p in parents for n in ((p,) if p in shown else behind[p][0])]
    return tuple(dict.fromkeys(nearest))


def _score(one: StoredCandidate) -> float:
    return one.score if one.score is not None else float("-inf")


def main_line(nodes: Mapping[int, Node], champion: StoredCandidate) -> list[Node]:
    """Return the line of the best parents that leads to a candidate, the oldest first."""
    line = [nodes[champion.number]]
    while line[-1].parents:
        line.append(nodes[line[-1].parents[0]])
    return line[::-1]
