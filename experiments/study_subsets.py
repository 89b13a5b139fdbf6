#!/usr/bin/env python3
"""How much the tables of a study depend on which datasets it has, from the bundled transfer results.

    python experiments/study_subsets.py [--size 8] [--draws 200]

Prints what all datasets give, by each measure of likeness, and within which range the correlation within a dataset lies
in studies of a few datasets that are drawn at random. Scores are those of pipelines_db/ledger.csv; no image is read.
"""

import argparse
import sys

import numpy as np

from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.datasets.dataset import Dataset
from evoseg.library.collection import bundled_tasks, bundled_transfers
from evoseg.library.description import description_of
from evoseg.library.study import Row, StudiedDataset, Study, measure_likeness
from evoseg.library.study_tables import KS, StudyTables, associate
from evoseg.library.task import are_related

NO_IMAGES = Dataset.from_arrays([np.zeros((4, 4), np.uint8)], [np.ones((4, 4), bool)])
UNKNOWN = "simple statistics"
"""The measure that takes images."""


def study_of_ledger() -> Study:
    """Return the study that the bundled transfer results are of, as far as they tell: IoU alone."""
    tasks = {task.id: task for task in bundled_tasks() if task.output is Kind.MASK}
    datasets = [
        StudiedDataset(
            task.name,
            NO_IMAGES,
            NO_IMAGES.stems,
            NO_IMAGES.stems,
            description_of(task),
            task.id,
            frozenset(other.id for other in tasks.values() if are_related(task, other)),
        )
        for task in tasks.values()
    ]
    rows = []
    for r in bundled_transfers():
        if r.source in tasks and r.target in tasks:
            source = tasks[r.source]
            role = next(p.role for p in source.pipelines if p.pipeline.form == r.form)
            tried = Row(tasks[r.target].name, r.source, source.name, role, r.form, r.scale, fitted=r.refitted)
            rows.append(Row(**vars(tried) | {"iou": r.retrieved or 0.0, "refitted_iou": r.refitted}))
    likeness = measure_likeness(datasets, list(tasks.values()))
    known = {name: values for name, values in likeness.items() if name != UNKNOWN}
    return Study(tuple(datasets), tuple(tasks.values()), tuple(rows), known, on_test=False)


def main() -> int:
    """Print the tables."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--size", type=int, default=8, help="datasets of each small study")
    ask.add_argument("--draws", type=int, default=200, help="small studies")
    asked = ask.parse_args()
    tables = StudyTables(study_of_ledger())
    scores = tables.between(tables.matrix("iou", refitted=True))
    print(f"| measure | R2 | rank | p | within | p | within, {asked.size} datasets |\n{'| --- ' * 7}|")
    for name, found in tables.associations("iou", refitted=True).items():
        alike, few = tables.between(tables.study.likeness[name]), []
        for draw in range(asked.draws):
            some = stream(0, "subsets", draw).permutation(len(scores))[: asked.size]
            few.append(associate(alike[np.ix_(some, some)], scores[np.ix_(some, some)], permutations=1).within)
        cells = f"{found.r2:.3f} | {found.rank:.2f} | {found.rank_p:.2g} | {found.within:.2f} | {found.within_p:.2g}"
        print(f"| {name} | {cells} | {min(few):.2f} to {max(few):.2f} |")
    print(f"\n| sources chosen by | {' | '.join(f'best among {k} | share of the best' for k in KS)} |")
    print(f"{'| --- ' * (1 + 2 * len(KS))}|")
    for choice in tables.choices():
        cells = [f"{hit:.2f} | {share:.2f}" for hit, share in zip(choice.hits, choice.shares, strict=True)]
        print(f"| {choice.name} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
