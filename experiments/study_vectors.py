"""Learned vectors of the seed tasks by weights of one's choice, such as those that saw no benchmark data."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from evoseg.data.dataset import Dataset
from evoseg.data.splits import split
from evoseg.library.describing import describe
from evoseg.library.embedder import Embedder
from evoseg.library.task import SolvedTask


def described_by(tasks: Iterable[SolvedTask], weights: Path, root: Path, out: Path) -> tuple[SolvedTask, ...]:
    """Return tasks whose learned vectors are made of their datasets' search images with some weights, and no others.

    Parameters
    ----------
    root : path
        The folder that holds the datasets, each named as its task.
    out : path
        A study's rows; the vectors are kept beside it, by the embedder's id and the dataset's name.

    Raises
    ------
    EvosegError
        If the weights or a dataset cannot be read.
    """
    embedder, cache = Embedder(weights), out.with_suffix(".vectors.json")
    everything = json.loads(cache.read_text()) if cache.exists() else {}
    known = everything.setdefault(embedder.id, {})
    found = []
    for task in tasks:
        if task.name not in known:
            dataset = Dataset(root / task.name)
            vector = describe(dataset, split(dataset).search, embedder).vectors[embedder.id]
            known[task.name] = [float(v) for v in vector]
            cache.write_text(json.dumps(everything))
        found.append(replace(task, vectors={embedder.id: np.array(known[task.name], np.float32)}))
    return tuple(found)
