"""Masks with several classes: which there are, and the dataset of each class on its own."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError
from evoseg.datasets.card import class_word
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.meaning import IGNORED, Decision, Meaning
from evoseg.datasets.reading import HIGHEST_CLASS
from evoseg.datasets.sources import FolderSource, Part, Source
from evoseg.datasets.splits import Splits, split


def as_classes(dataset: Dataset, names: Mapping[int, str] | None = None) -> Dataset:
    """Return the dataset with annotated outlines drawn as the classes that they name, not as objects; others as it is.

    Parameters
    ----------
    dataset : Dataset
    names : mapping of int to str, optional
        The numbers of the classes. By default those of `dataset.yaml`, or 1, 2 ... in the order in which classes were
        chosen, or else in that of the alphabet.

    Raises
    ------
    DatasetError
        If the outlines do not say what class each is of, or not one that is named.
    """
    source = dataset.source
    if not isinstance(source, FolderSource) or (other := source.by_class(names or {})) is source:
        return dataset
    found = Dataset.from_source(dataset.root, other)
    if found.survey.problems:
        raise DatasetError(found.survey.problems[0])
    return found


def classes_of(dataset: Dataset) -> dict[int, str]:
    """Return the names of the classes by their values in the masks: those of the card, or all values above 0.

    Raises
    ------
    DatasetError
        If the values cannot be classes, or one that the card names is in no mask.
    """
    tallies = [fact.tally for fact in dataset.survey.facts.values() if fact.tally is not None]
    values = sorted({value for tally in tallies for value in tally.values})
    if any(tally.n_values and not tally.values for tally in tallies) or not values:
        raise DatasetError(
            f"{dataset.title}: the masks contain values that cannot be classes; a class is a whole number from 1 to "
            f"{HIGHEST_CLASS}, and a mask has few of them. Renumber them, or choose another task."
        )
    named = dataset.card.classes
    if missing := [value for value in named if value not in values]:
        raise DatasetError(
            f"{dataset.title}: no mask holds the class {missing[0]} ({named[missing[0]]}); the values are "
            f"{', '.join(map(str, values))}. Correct classes: in dataset.yaml."
        )
    if named:
        return dict(sorted(named.items()))
    names = dict(enumerate(map(class_word, dataset.survey.decision.meaning.names), 1))
    return {value: names.get(value, f"class-{value}") for value in values}


def of_class(dataset: Dataset, value: int) -> Dataset:
    """Return the dataset whose foreground is one class; splits are those of the whole dataset.

    Raises
    ------
    DatasetError
        If there is no such class.
    """
    classes = classes_of(dataset)
    if value not in classes:
        raise DatasetError(f"{dataset.title}: there is no class {value}; there are {', '.join(map(str, classes))}.")
    return Dataset.from_source(dataset.root, OneClass(dataset.source, value, classes[value], split(dataset)))


class OneClass:
    """A source whose masks are one class of another's; all other classes are background."""

    def __init__(self, source: Source, value: int, name: str, splits: Splits) -> None:
        self.name = name
        self.stems, self.labelled, self.planes = source.stems, source.labelled, source.planes
        self.transform = source.transform
        self.reading = replace(source.reading, value=value, masks=source.decision.meaning.text)
        self.decision = Decision(Meaning())
        title = f"{source.card.title}: {name}" if source.card.title else name
        # All classes share splits, so that no class's search sees a test image of another's.
        given = {"train": splits.search, "selection": splits.selection, "test": splits.test}
        self.card = replace(source.card, title=title, task="binary", foreground=name, classes={}, splits=given)
        self._source, self._value = source, value

    def has(self, part: str, stem: str) -> bool:
        """Return whether the part exists."""
        return self._source.has(part, stem)

    def where(self, part: str, stem: str) -> str:
        """Return what to call the part in a message."""
        return self._source.where(part, stem)

    def names(self, part: str, stem: str) -> tuple[str, ...]:
        """Return the channel names of an image or plane."""
        return self._source.names(part, stem)

    def read(self, part: str, stem: str) -> Part:
        """Return the part; of a mask, where it is of the class."""
        found = self._source.read(part, stem)
        if part != "mask":
            return found
        mask: NDArray[np.int8] = (found.array == self._value).astype(np.int8)
        if found.array.dtype.kind == "i":
            mask[found.array < 0] = IGNORED
        return replace(found, array=mask, digest=sha256(f"{found.digest} {self._value}".encode()).hexdigest())
