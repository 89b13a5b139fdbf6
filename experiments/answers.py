#!/usr/bin/env python3
"""The two answers of a search: how good each is, what was expected, and which rule had best chosen between them.

    python experiments/answers.py DATASETS --out rows.jsonl [--continue] [--only crackforest,neu_patches]
        [--seeds 1] [--seconds 60] [--arms all,four,taught]
    python experiments/answers.py --table rows.jsonl

Test images are never opened: every third of the other images is the test. In the arm "all", the rest is labelled; in
"four" and "taught", four of them are, and in "taught" the others are there without their masks, so that networks label
them for the filters. One search at a time, in this process; a row holds every finalist with its scores per image.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from study import Row, add_row, arms_of, asked_for, options, trials_in  # beside this file

from evoseg.datasets.dataset import Dataset
from evoseg.datasets.memmap import write_pack
from evoseg.datasets.splits import Splits, split
from evoseg.evolve.evaluation.evaluator import JobEvaluator
from evoseg.evolve.evaluation.jobs import InProcess
from evoseg.evolve.finalists import predict_score
from evoseg.evolve.journal import RecordedClock
from evoseg.evolve.solve import Solution, solve
from evoseg.evolve.tasks.mask_task import BinaryTask
from evoseg.runs.options import SearchOptions
from evoseg.runs.settings import resolve_settings
from evoseg.runs.trained import RunTrainer

ARMS = ("all", "four", "taught")
FEW = 4
ALL_DATASETS = (
    *("aluminium_defects", "carotid_ultrasound", "carrot_field", "colon_polyps", "crackforest", "drive_vessels"),
    *("dsb2018_fluo", "dsb2018_histology", "epfl_roads", "glas_glands", "idrid_exudates", "isbi2012_em"),
    *("leather_defects", "magnetic_tile_blowhole", "magnetic_tile_crack", "neu_inclusion", "neu_patches"),
    *("ni_superalloy", "old_documents", "sar_ships", "skin_lesions", "tile_defects", "usiigaci_phase"),
    *("vnc_mitochondria", "wbc_nuclei", "woven_fabric"),
)
MARGINS = (-0.2, -0.1, -0.05, -0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)


def run(root: Path, name: str, arm: str, seed: int, seconds: float) -> Row:
    """Search on parts of the training images, and return every finalist with its scores on the others."""
    dataset, splits = parts(Dataset(root / name), arm)
    task = BinaryTask("iou")
    options = SearchOptions(task="binary", metric="iou", seconds=seconds, seed=seed, workers=1, library="none")
    settings = replace(resolve_settings(options), networks=True)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        clock = RecordedClock(settings.search_settings().budget)
        found = solve(
            dataset,
            splits,
            task,
            settings.search_settings(),
            Path(folder),
            clock,
            trainer=RunTrainer(Path(folder), settings, clock),
        )
        tested = test_finalists(found, dataset, task, Path(folder))
    return {
        "dataset": name,
        "arm": arm,
        "seed": seed,
        "evaluations": 0,
        "seconds": seconds,
        "cpu_s": round(time.process_time() - began, 1),
        "recommended": found.recommended,
        "networks": found.networks if isinstance(found.networks, str) else dict(found.networks.notes),
        "answers": {
            name: told(answer.finalist, tested) | {"expected": answer.expected.tolist()}
            for name, answer in found.answers.items()
        },
        "finalists": [told(finalist, tested) for finalist in found.finalists],
    }


def parts(dataset: Dataset, arm: str) -> tuple[Dataset, Splits]:
    """Return the images that take part, and which of them test."""
    given = split(dataset)
    stems = sorted((*given.search, *given.selection))
    test, rest = tuple(stems[2::3]), tuple(s for i, s in enumerate(stems) if i % 3 != 2)
    if arm == "all":
        return dataset, Splits(rest, (), test)
    labelled = rest[:FEW]
    used = [*labelled, *test, *(rest[FEW:] if arm == "taught" else ())]
    samples = [dataset.load(stem) for stem in used]
    masks = [None if s.stem not in (*labelled, *test) else s.mask for s in samples]
    known = [None if m is None else s.known for s, m in zip(samples, masks, strict=True)]
    return Dataset.from_arrays([s.image for s in samples], masks, known=known, names=used), Splits(labelled, (), test)


def test_finalists(found: Solution, dataset: Dataset, task: BinaryTask, folder: Path) -> dict[str, list[float]]:
    """Return the scores of all finalists on the held-out images, by digest."""
    items = [(stem, task.arrays(dataset.load(stem))) for stem in found.splits.test]
    pack = write_pack(folder / "held-out.pack", items)
    sizes = {i: item["image"][..., 0].size for i, item in enumerate(pack.items)}
    evaluator = JobEvaluator(task, InProcess(task, pack.items, 1 << 30), sizes)
    programs = list(dict.fromkeys(f.scored.pipeline for f in found.finalists))
    judged = evaluator.judge(programs)
    return {
        p.digest: task.score(s).tolist() for p, s in zip(programs, judged, strict=True) if isinstance(s, np.ndarray)
    }


def told(finalist: Any, tested: dict[str, list[float]]) -> Row:
    """Return what a row says of a finalist."""
    return {
        "role": finalist.role,
        "search": finalist.scored.score,
        "selection": finalist.selection.tolist(),
        "test": tested.get(finalist.scored.pipeline.digest, []),
        "steps": len(finalist.scored.pipeline),
        "cost": finalist.scored.pipeline.cost,
    }


def table(rows: Iterable[Row]) -> str:
    """Return the means per arm, what was expected, and the regret of recommending by each margin."""
    rows = list(rows)
    lines = [
        "| arm | runs | readable | accurate | recommended | the better of both |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for arm in ARMS:
        here = [r for r in rows if r["arm"] == arm]
        if here:
            readable, accurate = ([mean_test(r, name) for r in here] for name in ("readable", "accurate"))
            chosen = [mean_test(r, r["recommended"]) for r in here]
            best = [max(pair) for pair in zip(readable, accurate, strict=True)]
            cells = (f"{statistics.mean(column):.3f}" for column in (readable, accurate, chosen, best))
            lines.append(f"| {arm} | {len(here)} | {' | '.join(cells)} |")
    both = [r for r in rows if "accurate" in r["answers"]]
    lines += ["", "| margin | regret | network recommended |", "| --- | --- | --- |"]
    for margin in MARGINS:
        taken = ["accurate" if difference(r) > margin else "readable" for r in both]
        regret = [
            max(mean_test(r, n) for n in r["answers"]) - mean_test(r, t) for r, t in zip(both, taken, strict=True)
        ]
        lines.append(f"| {margin:+.2f} | {statistics.mean(regret):.4f} | {taken.count('accurate')} of {len(both)} |")
    lines += ["", "| answer | expected - test | its absolute value | in the interval |", "| --- | --- | --- | --- |"]
    for name in ("readable", "accurate"):
        gaps, inside = [], []
        for r in both:
            answer = r["answers"][name]
            foretold = predict_score(np.array(answer["expected"]), len(answer["test"]), searched=True)
            gaps.append(foretold.score - statistics.mean(answer["test"]))
            inside.append(foretold.low <= statistics.mean(answer["test"]) <= foretold.high)
        size = statistics.mean(map(abs, gaps))
        lines.append(f"| {name} | {statistics.mean(gaps):+.3f} | {size:.3f} | {sum(inside)} of {len(inside)} |")
    return "\n".join([*lines, "", *rules(both)])


def rules(rows: Sequence[Row]) -> list[str]:
    """Return what rules of choosing among the pipelines with a network would have given."""

    def plain(found: list[Row]) -> Row:
        return found[0]

    def best(found: list[Row]) -> Row:
        return max(found, key=lambda f: statistics.mean(f["selection"]))

    def ahead(by: float) -> Callable[[list[Row]], Row]:
        return lambda found: best(found) if difference_of(best(found), found[0]) > by else found[0]

    ways = {"the plain one": plain, "the best of all": best}
    ways |= {f"the best if ahead by {by:g}": ahead(by) for by in (0.01, 0.02, 0.03, 0.05)}
    lines = ["| among networks | test |", "| --- | --- |"]
    for name, way in ways.items():
        scores = [statistics.mean(way([f for f in r["finalists"] if f["role"] == "network"])["test"]) for r in rows]
        lines.append(f"| {name} | {statistics.mean(scores):.4f} |")
    scores = [mean_test(r, "accurate") for r in rows]
    return [*lines, f"| as it is | {statistics.mean(scores):.4f} |"]


def difference(row: Row) -> float:
    """Return by how much the accurate answer was expected to be better."""
    return float(np.mean(np.array(row["answers"]["accurate"]["expected"]) - row["answers"]["readable"]["expected"]))


def difference_of(one: Row, other: Row) -> float:
    """Return by how much one finalist is ahead of another."""
    return statistics.mean(one["selection"]) - statistics.mean(other["selection"])


def mean_test(row: Row, name: str) -> float:
    """Return an answer's mean score on the held-out images; the readable one's where there is no other."""
    return statistics.mean(row["answers"].get(name, row["answers"]["readable"])["test"])


def main() -> int:
    """Run what is asked for and not there yet."""
    ask = options(__doc__, 0, ALL_DATASETS)
    ask.add_argument("--arms", default="all")
    ask.add_argument("--seconds", type=float, default=60)
    asked = asked_for(ask, table)
    arms, done = arms_of(ask, asked.arms, ARMS), trials_in(asked.out)
    trials = [
        (name, arm, seed)
        for seed in range(asked.seeds)
        for name in asked.only.split(",")
        for arm in arms
        if (name, arm, seed, 0) not in done
    ]
    for n, (name, arm, seed) in enumerate(trials, 1):
        row = run(asked.root, name, arm, seed, asked.seconds)
        add_row(asked.out, row)
        scores = ", ".join(f"{answer} {mean_test(row, answer):.3f}" for answer in row["answers"])
        print(f"{n}/{len(trials)} {name} {arm} {seed}: {scores}", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
