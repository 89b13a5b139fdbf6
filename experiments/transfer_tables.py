"""Tables of study (a), from the rows of transfer.py; a target's family never takes part in what is chosen for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evoseg.base.streams import stream
from evoseg.library.advice import Adviser, Candidate, problem_of, related
from evoseg.library.ledger import Reuse
from evoseg.library.retrieval import ranked
from evoseg.library.task import SolvedTask

K = (1, 3, 5)
DRAWS = 200
RESAMPLES = 10_000

Choice = Callable[["Study", SolvedTask, list[Candidate]], list[Candidate]]


@dataclass(frozen=True, eq=False)
class Study:
    """What was measured.

    Attributes
    ----------
    tasks : mapping of str to SolvedTask
        By name.
    score : mapping of (target, source, role, rescaled) to float
        Refitted.
    rows : sequence of dict
    """

    tasks: Mapping[str, SolvedTask]
    score: Mapping[tuple[str, str, str, bool], float]
    rows: Sequence[dict[str, Any]]

    def of(self, target: str, candidate: Candidate) -> float:
        """Return what a candidate scored on a target."""
        return self.score[target, candidate.task.name, candidate.stored.role, candidate.scale != 1.0]

    def own(self, target: str) -> float:
        """Return what the best of a target's own pipelines scores."""
        return max(s for (t, source, _, _), s in self.score.items() if t == source == target)

    def adviser(self, target: SolvedTask) -> Adviser:
        """Return an adviser that knows nothing of a target's family."""
        ids = {t.name: t for t in self.tasks.values() if not related(t, target)}
        ledger = [
            Reuse(ids[r["source"]].id, ids[r["target"]].id, r["form"], r["scale"], None, r["refitted"])
            for r in self.rows
            if r["source"] in ids and r["target"] in ids
        ]
        return Adviser(ledger, {t.id: t for t in ids.values()})


def plain(candidates: list[Candidate]) -> list[Candidate]:
    """Return each task's best pipeline as it is: all that a library without variants has."""
    return [c for c in candidates if c.stored.role == "best" and c.scale == 1.0]


def near(descriptor: str) -> Choice:
    """Return a choice of the most similar tasks by one descriptor."""

    def choice(study: Study, target: SolvedTask, candidates: list[Candidate]) -> list[Candidate]:
        here = target.described[descriptor]
        return sorted(plain(candidates), key=lambda c: -float(here @ c.task.described[descriptor]))

    return choice


def popular(study: Study, target: SolvedTask, candidates: list[Candidate]) -> list[Candidate]:
    """Choose the pipelines that did best elsewhere."""
    adviser = study.adviser(target)
    return sorted(plain(candidates), key=lambda c: -adviser.popularity(c.key))


def ours(study: Study, target: SolvedTask, candidates: list[Candidate]) -> list[Candidate]:
    """Choose as a search does."""
    found = []
    for k in range(1, max(K) + 1):
        # What is chosen for k is a set; the first of it at each k is what is new.
        chosen = [c for c, _ in ranked(study.adviser(target), problem_of(target), candidates, k)]
        found += [c for c in chosen if c not in found]
    return found


def model(study: Study, target: SolvedTask, candidates: list[Candidate]) -> list[Candidate]:
    """Choose by expected scores alone, one pipeline of a task."""
    return distinct(candidates, study.adviser(target).expected(problem_of(target), candidates))


def distinct(candidates: list[Candidate], merit: Sequence[float]) -> list[Candidate]:
    """Return the best candidate of each task, the one of greatest merit first."""
    firsts: dict[str, Candidate] = {}
    for i in sorted(range(len(candidates)), key=lambda i: -merit[i]):
        firsts.setdefault(candidates[i].task.id, candidates[i])
    return list(firsts.values())


def oracle(study: Study, target: SolvedTask, candidates: list[Candidate]) -> list[Candidate]:
    """Choose by what was found out only afterwards."""
    return sorted(candidates, key=lambda c: -study.of(target.name, c))


def tables(rows: Sequence[dict[str, Any]], tasks: Sequence[SolvedTask], ideas: Mapping[str, Choice]) -> str:
    """Return the tables in Markdown.

    Parameters
    ----------
    ideas : mapping of str to Choice
        Further ways to choose.
    """
    score = {(r["target"], r["source"], r["role"], r["scale"] != 1.0): r["refitted"] for r in rows}
    study = Study({t.name: t for t in tasks}, score, rows)
    targets = [t for t in tasks if any(r["target"] == t.name for r in rows)]
    learned = sorted({name for t in tasks for name in t.vectors})
    return "\n\n".join([_arms(study, targets, learned, ideas), _descriptors(study, targets), _shares(study, targets)])


def _candidates(study: Study, target: SolvedTask) -> list[Candidate]:
    """Return all that was tried on a target and is no relative of it."""
    found = []
    for r in study.rows:
        source = study.tasks[r["source"]]
        if r["target"] == target.name and not related(source, target):
            stored = next(p for p in source.pipelines if p.role == r["role"])
            found.append(Candidate(source, stored, r["scale"]))
    return found


def _arms(study: Study, targets: Sequence[SolvedTask], learned: Sequence[str], ideas: Mapping[str, Choice]) -> str:
    arms: dict[str, Choice] = {
        "popular": popular,
        **{name: near(name) for name in ("images-1", *learned, "masks-1")},
        "model alone": model,
        **ideas,
        "ours": ours,
        "oracle": oracle,
    }
    best = {"random": np.array([_random(study, t) for t in targets])}
    for name, choice in arms.items():
        chosen = [choice(study, t, _candidates(study, t)) for t in targets]
        best[name] = np.array([[_best(study, t, c[:k]) for k in K] for t, c in zip(targets, chosen, strict=True)])
    lines = ["| chosen by | k = 1 | k = 3 | k = 5 | 95 % | of the oracle | ours less this, k = 5 |", "| --- " * 7 + "|"]
    for name, values in best.items():
        at5 = values[:, -1]
        low, high = _interval(at5)
        d_low, d_high = _interval(best["ours"][:, -1] - at5)
        difference = float((best["ours"][:, -1] - at5).mean())
        lines.append(
            f"| {name} | {' | '.join(f'{v:.3f}' for v in values.mean(axis=0))} | {low:.3f} to {high:.3f} | "
            f"{at5.mean() / best['oracle'][:, -1].mean():.2f} | {difference:+.3f} ({d_low:+.3f} to {d_high:+.3f}) |"
        )
    return "\n".join(lines)


def _best(study: Study, target: SolvedTask, chosen: Sequence[Candidate]) -> float:
    """Return the best refitted score among some, as a share of the target's own."""
    return max(study.of(target.name, c) for c in chosen) / study.own(target.name)


def _random(study: Study, target: SolvedTask) -> list[float]:
    rng = stream(0, "transfer", target.name)
    pool = plain(_candidates(study, target))
    orders = [rng.permutation(len(pool)) for _ in range(DRAWS)]
    return [float(np.mean([_best(study, target, [pool[i] for i in order[:k]]) for order in orders])) for k in K]


def _interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean over targets."""
    draws = stream(0, "bootstrap", len(values)).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def _descriptors(study: Study, targets: Sequence[SolvedTask]) -> str:
    """Return, per descriptor, how well similarity tells transfer, pair by pair and within targets."""
    names = sorted({name for t in targets for name in t.described})
    lines = ["| similarity by | R2 | Spearman | Spearman within a target | best source among 5 |", "| --- " * 5 + "|"]
    for name in names:
        pooled: list[tuple[float, float]] = []
        within, hits = [], []
        for target in targets:
            pool = plain(_candidates(study, target))
            close = [float(target.described[name] @ c.task.described[name]) for c in pool]
            scores = [study.of(target.name, c) / study.own(target.name) for c in pool]
            pooled += zip(close, scores, strict=True)
            within.append(_rank_correlation(close, scores))
            hits.append(int(np.argmax(scores)) in np.argsort(close)[::-1][:5])
        x, y = zip(*pooled, strict=True)
        r2 = float(np.corrcoef(x, y)[0, 1] ** 2)
        lines.append(
            f"| {name} | {r2:.3f} | {_rank_correlation(x, y):.2f} | {np.mean(within):.2f} | {np.mean(hits):.2f} |"
        )
    return "\n".join(lines)


def _rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (x, y)]
    return float(np.corrcoef(*ranks)[0, 1])


def _shares(study: Study, targets: Sequence[SolvedTask]) -> str:
    """Return what refitting and rescaling are worth, on average over all pairs of strangers."""
    lines = ["| pipeline | pairs | as it is | refitted |", "| --- " * 4 + "|"]
    for role in ("best", "short", "cheap"):
        for scaled in (False, True):
            found = [
                (r["retrieved"] / study.own(r["target"]), r["refitted"] / study.own(r["target"]))
                for r in study.rows
                if r["role"] == role
                and (r["scale"] != 1.0) == scaled
                and not related(study.tasks[r["source"]], study.tasks[r["target"]])
            ]
            if found:
                before, after = np.mean(found, axis=0)
                words = f"{role}, rescaled" if scaled else role
                lines.append(f"| {words} | {len(found)} | {before:.2f} | {after:.2f} |")
    return "\n".join(lines)
