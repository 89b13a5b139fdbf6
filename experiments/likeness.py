#!/usr/bin/env python3
"""How often `similar` finds the bundled task of a folder's kind, and how often it says that there is none.

    python experiments/likeness.py FOLDER... --out rows.jsonl     measure folders that are not in the file
    python experiments/likeness.py --out rows.jsonl               print the tables

A FOLDER is a dataset from another laboratory than the bundled tasks; its `about.yaml` names bundled tasks of its kind
as `sibling: [crackforest]`, or none. Each is measured with its masks and without. Beside it, each bundled task is
compared with those of other families.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import split_to_search
from evoseg.inference.inputs import list_inputs
from evoseg.library.collection import Library
from evoseg.library.description import describe
from evoseg.library.embedders import likeness_to_noise, needed_embedders
from evoseg.library.likeness import ALIKE, likeness
from evoseg.library.pictures import dataset_of
from evoseg.library.task import STATISTICS, are_related

MASKS = STATISTICS["masks"].id
TOP = 3


def rows_of(folder: Path, library: Library) -> list[dict[str, Any]]:
    """Return what is found for a folder, with its masks, if it has any, and without."""
    networks = needed_embedders(library)
    siblings = yaml.safe_load((folder / "about.yaml").read_text())["sibling"]
    if (folder / "masks").is_dir():
        dataset = Dataset(folder)
        described = describe(dataset, split_to_search(dataset).search, networks).described
    else:
        images = {file.stem: (rows := file.read()).rows(0, rows.shape[0]) for file in list_inputs([folder / "images"])}
        dataset = Dataset.from_arrays(images, title=folder.name)
        described = describe(dataset, dataset.stems, networks).described
    arms = {False: {name: vector for name, vector in described.items() if name != MASKS}}
    arms |= {True: described} if MASKS in described else {}
    noise = likeness_to_noise(networks[0], described, library.norms)
    rows = []
    for masks, vectors in arms.items():
        values: dict[str, float] = {}  # by dataset: tasks on the same images share a row of `similar`
        for i, found in library.most_alike(vectors):
            values.setdefault(dataset_of(library.bundled[i]), found.value)
        ranks = [1 + list(values).index(name) for name in siblings]
        best = next(iter(values))
        alike = values[best] >= max(ALIKE, noise)
        row = {"best": best, "likeness": round(values[best], 3), "alike": alike, "rank": min(ranks, default=None)}
        rows.append({"folder": folder.name, "masks": masks, "siblings": siblings, **row})
    return rows


def bundled_rows(library: Library, *, masks: bool) -> list[bool]:
    """Return, per dataset, whether a task of another family is said to be alike."""
    found, first = {}, needed_embedders(library)[0]
    for task in library.bundled.values():
        here = {name: vector for name, vector in task.described.items() if masks or name != MASKS}
        noise = likeness_to_noise(first, here, library.norms)
        others = (other for other in library.bundled.values() if not are_related(task, other))
        best = max(likeness(here, other.described, library.norms).value for other in others)
        found[dataset_of(task)] = best >= max(ALIKE, noise)
    return list(found.values())


def main() -> int:
    """Measure what is asked for, and print the tables."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folders", type=Path, nargs="*", help="folders with images/, masks/ if there are any, about.yaml")
    ask.add_argument("--out", type=Path, required=True)
    asked = ask.parse_args()
    known = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    with tempfile.TemporaryDirectory() as empty, Library(Path(empty) / "library.db") as library:
        for folder in asked.folders:
            if any(row["folder"] == folder.name for row in known):
                continue
            rows = rows_of(folder, library)
            known += rows
            with asked.out.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            print(*rows, sep="\n", file=sys.stderr, flush=True)
        unrelated = {masks: bundled_rows(library, masks=masks) for masks in (True, False)}
    heads = ("right task first", "in the top 3", "mean 1 / rank", "said to be alike", "no task of its kind: said")
    print(f"| | {' | '.join(heads)} | family left out: said |")
    print("| --- " * 7 + "|")
    for masks in (True, False):
        here = [row for row in known if row["masks"] == masks]
        ranks = np.array([row["rank"] for row in here if row["siblings"]])
        alike = [row["alike"] for row in here if row["siblings"]]
        # Folders without masks, such as drawn noise, are judged by their images in both arms.
        none = {row["folder"]: row["alike"] for row in known if not row["siblings"] and row["masks"] <= masks}
        none |= {row["folder"]: row["alike"] for row in here if not row["siblings"]}
        cells = [
            f"{(ranks == 1).sum()} of {len(ranks)}",
            f"{(ranks <= TOP).sum()}",
            f"{(1 / ranks).mean():.2f}",
            f"{sum(alike)}",
            f"{len(none) - sum(none.values())} of {len(none)}",
            f"{len(unrelated[masks]) - sum(unrelated[masks])} of {len(unrelated[masks])}",
        ]
        print(f"| {'with masks' if masks else 'images only'} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
