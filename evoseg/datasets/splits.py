"""Which images are for searching, for selection and for the test: as given, or drawn at random by their names.

The draw is keyed by the stems, so that it does not depend on the seed of a search: a second search with another seed
must not see the first one's test images.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError
from evoseg.core.folds import Units
from evoseg.core.streams import stream
from evoseg.datasets.card import DatasetCard
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.survey import THUMBNAIL, ImageFacts

NEAR_DUPLICATE = 0.985
"""Correlation of two thumbnails from which images count as near-duplicates.

Measured on 26 datasets: two exposures of one part reach 0.990; unlike images at most 0.982 (two eyes in one round
frame), consecutive sections of a stack 0.80.
"""

_BLOCK = 512
"""Images that are compared with all others at a time."""


@dataclass(frozen=True)
class Splits:
    """Stems by what they are used for, each sorted.

    Attributes
    ----------
    search : tuple of str
        Images on which candidates are evaluated; empty if all images are given as test images.
    selection : tuple of str
        Images on which finalists are compared; empty if too few images are labelled.
    test : tuple of str
        Held-out images, used once, for the best pipeline; empty if too few images are labelled.
    """

    search: tuple[str, ...]
    selection: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


def split(dataset: Dataset, *, strokes_apart: bool = True) -> Splits:
    """Split a dataset; its files are read, unless they have been, to keep near-duplicates together.

    Parameters
    ----------
    strokes_apart : bool
        False for the rule of early versions, which drew test images among those with scribbles too.

    Raises
    ------
    DatasetError
        If a file cannot be read, a group lies on both sides, or nothing is left to search in although the test is
        drawn.
    """
    found = dataset.survey
    if found.problems:
        raise DatasetError(found.problems[0])
    return split_facts(found.facts, dataset.card, strokes_apart=strokes_apart)


def split_to_search(dataset: Dataset) -> Splits:
    """Split a dataset that a search is to begin on.

    Raises
    ------
    DatasetError
        As `split`; also if all images are given as test images.
    """
    splits = split(dataset)
    if not splits.search:
        raise DatasetError(
            f"{dataset.title}: no image is left for the search: all {len(splits.test)} images that may be used are "
            "test images. Label more images, or name some under `train:` in dataset.yaml. `evoseg score` scores "
            "pipelines on this folder as it is."
        )
    return splits


def split_facts(facts: Mapping[str, ImageFacts], card: DatasetCard, *, strokes_apart: bool = True) -> Splits:
    """Split by the card, or by the facts of a survey.

    Images of which strokes alone are known select and test only where no image is labelled as a whole: their score says
    nothing of the rest of the pixels.

    Raises
    ------
    DatasetError
        If a group lies on both sides, nothing is left to search in although the test is drawn, or the given test or
        selection images have strokes only and others are labelled as a whole.
    """
    labelled = sorted(stem for stem, fact in facts.items() if fact.labelled)
    foreground = {stem for stem in labelled if facts[stem].n_foreground}
    bonds = [*_group_bonds(card.groups, labelled), *near_duplicates([facts[stem] for stem in labelled])]
    strokes = strokes_among(facts) if strokes_apart else frozenset()
    if "test" not in card.splits:
        return draw(labelled, bonds, foreground, strokes)
    return _given(card, labelled, bonds, foreground, strokes)


def strokes_among(facts: Mapping[str, ImageFacts]) -> frozenset[str]:
    """Return the labelled images of which strokes alone are known; none where no image is labelled as a whole."""
    partly = frozenset(stem for stem, fact in facts.items() if fact.labelled and fact.partly)
    return partly if any(fact.labelled and not fact.partly for fact in facts.values()) else frozenset()


def n_test(n_labelled: int) -> int:
    """Return how many of the labelled images test: 30 % and at least 3 from 10 on, 2 from 6 on, else none."""
    if n_labelled >= 10:
        return max(3, int(0.3 * n_labelled + 0.5))
    return 2 if n_labelled >= 6 else 0


def n_selection(n_rest: int) -> int:
    """Return how many of the images that do not test select: a quarter from 20 on, else none."""
    return int(0.25 * n_rest + 0.5) if n_rest >= 20 else 0


def draw(
    labelled: Sequence[str],
    bonds: Iterable[tuple[str, str]],
    foreground: Collection[str],
    strokes: Collection[str] = (),
) -> Splits:
    """Draw splits of the sizes above, as nearly as bonds allow.

    Parameters
    ----------
    labelled : sequence of str
        Their names alone decide the draw; order does not matter.
    bonds : iterable of pairs of str
        Stems that stay together: of one group, or near-duplicates.
    foreground : collection of str
        Stems with any foreground. One such unit is kept for the search, the next for the test.
    strokes : collection of str
        Stems that neither select nor test.

    Raises
    ------
    DatasetError
        If no image is labelled, or none has foreground.
    """
    stems = sorted(labelled)
    rng = stream(0, "split", *stems)
    units = _shuffled(_units(stems, bonds), rng)
    _require_search(stems, foreground)
    test, rest = _take(units, n_test(len(stems)), foreground, strokes)
    selection, search = _take(rest, n_selection(sum(map(len, rest))), foreground, strokes)
    return Splits(_flat(search), _flat(selection), _flat(test))


def halve(dataset: Dataset, stems: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Draw two halves of some labelled images, as nearly as groups and near-duplicates allow.

    Images of which strokes alone are known go into the first half, unless all are of this kind.

    Raises
    ------
    DatasetError
        If none of the images has foreground, or they all belong together.
    """
    stems = sorted(stems)
    facts = {stem: dataset.survey.facts[stem] for stem in stems}
    foreground = {stem for stem in stems if facts[stem].n_foreground}
    _require_search(stems, foreground)
    bonds = [*_group_bonds(dataset.card.groups, stems), *near_duplicates(list(facts.values()))]
    units = _shuffled(_units(stems, bonds), stream(0, "halves", *stems))
    second, first = _take(units, len(stems) // 2, foreground, strokes_among(facts))
    if not second:
        raise DatasetError(
            f"{dataset.title}: its {len(stems)} images cannot be divided into two independent halves, since they are "
            "of one group or nearly equal. Add images of other objects, with masks."
        )
    return _flat(first), _flat(second)


def independent_units(dataset: Dataset, stems: Sequence[str]) -> Units:
    """Return which unit each of some images is of: those of one group, and near-duplicates, are one unit.

    Returns
    -------
    intp array of shape (n_images,)
        Numbers from 0, in the order of the units' first images.
    """
    bonds = [*_group_bonds(dataset.card.groups, stems), *near_duplicates([dataset.survey.facts[s] for s in stems])]
    unit_of = {stem: unit for unit in _units(stems, bonds) for stem in unit}
    numbers: dict[tuple[str, ...], int] = {}
    return np.array([numbers.setdefault(unit_of[stem], len(numbers)) for stem in stems], np.intp)


def near_duplicates(facts: Sequence[ImageFacts]) -> list[tuple[str, str]]:
    """Return pairs of stems whose files are equal, or whose small pictures nearly are.

    Enough pairs to join all images that are alike, directly or over others: of n equal ones n - 1, not n² / 2.
    """
    bonds: list[tuple[str, str]] = []
    first: dict[object, str] = {}
    pictures: dict[str, NDArray[np.float32]] = {}
    for fact in facts:
        digest = fact.own_digest
        for same in (digest, fact.thumbnail.tobytes()) if fact.thumbnail.any() else (digest,):
            if (twin := first.setdefault(same, fact.stem)) != fact.stem:
                bonds.append((twin, fact.stem))
        if fact.thumbnail.any() and first[fact.thumbnail.tobytes()] == fact.stem:
            pictures[fact.stem] = fact.thumbnail
    if pictures:
        names = list(pictures)
        bonds += [(names[a], names[b]) for a, b in _near(np.stack(list(pictures.values())))]
    return sorted({(min(bond), max(bond)) for bond in bonds})


def _near(vectors: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return enough pairs of near-duplicates among vectors of unit length, shape (n, THUMBNAIL ** 2), to join them all.

    Distances cannot grow under a projection. So the rows are sorted by one coordinate, then compared by a few low
    frequencies, and in full only where those agree.
    """
    limit = 2 - 2 * NEAR_DUPLICATE + 1e-4  # squared distance; more than rounding can take
    low = vectors @ _low_frequencies()
    key = low[:, int(np.argmax(low.var(axis=0)))]
    order = np.argsort(key, kind="stable")
    key, low, vectors = key[order], low[order], vectors[order]
    squares = (low**2).sum(axis=1)
    label = np.arange(len(vectors))
    found: list[tuple[int, int]] = []
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(vectors)))
        cols = slice(start, int(np.searchsorted(key, key[rows][-1] + np.sqrt(limit), "right")))
        near = squares[rows, None] + squares[None, cols] - 2 * (low[rows] @ low[cols].T) <= limit
        near &= label[rows, None] != label[None, cols]  # what is joined need not be compared again
        asked = np.flatnonzero(near.any(axis=0)) + start
        alike = vectors[rows] @ vectors[asked].T >= NEAR_DUPLICATE
        for row in np.flatnonzero(alike.any(axis=1)):
            hits = asked[alike[row] & (label[asked] != label[row + start])]
            while len(hits):
                found.append((int(row) + start, int(hits[0])))
                label[label == label[hits[0]]] = label[row + start]
                hits = hits[label[hits] != label[row + start]]
    return [(int(order[a]), int(order[b])) for a, b in found]


def _low_frequencies() -> NDArray[np.float32]:
    """Return the lowest 8 x 8 waves of a cosine transform, shape (THUMBNAIL ** 2, 64), orthonormal."""
    n, k = np.arange(THUMBNAIL), np.arange(8)[:, None]
    waves = np.sqrt(np.where(k == 0, 1, 2) / THUMBNAIL) * np.cos(np.pi * (2 * n + 1) * k / (2 * THUMBNAIL))
    return np.kron(waves, waves).T.astype(np.float32)


def _given(card: DatasetCard, labelled: Sequence[str], bonds: Sequence[tuple[str, str]],
           foreground: Collection[str], strokes: Collection[str]) -> Splits:  # fmt: skip
    """Take the card's splits; what it leaves open is drawn."""
    test = card.splits["test"]
    given = card.splits.get("selection", ())
    rest = card.splits.get("train") or tuple(stem for stem in labelled if stem not in {*test, *given})
    if rest or not test:
        _require_search(rest, foreground)
    test, given = (_whole(name, stems, strokes) for name, stems in (("test", test), ("selection", given)))
    if "selection" in card.splits:
        splits = Splits(tuple(sorted(rest)), tuple(sorted(given)), tuple(sorted(test)))
    else:
        units = _shuffled(_units(sorted(rest), bonds), stream(0, "split", *sorted(rest)))
        selection, search = _take(units, n_selection(len(rest)), foreground, strokes)
        splits = Splits(_flat(search), _flat(selection), tuple(sorted(test)))
    _check_groups(splits, card.groups)
    return splits


def _whole(name: str, stems: Sequence[str], strokes: Collection[str]) -> tuple[str, ...]:
    """Leave out images with strokes; a split of nothing else is an error, since its score would be of another kind."""
    whole = tuple(stem for stem in stems if stem not in strokes)
    if stems and not whole:
        raise DatasetError(
            f"all {len(stems)} given {name} images have scribbles only, although other images are labelled as a whole. "
            f"Name some of those under `{name}:` in dataset.yaml, or label the {name} images as a whole."
        )
    return whole


def straddling(splits: Splits, bonds: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the bonds whose two stems lie in different splits."""
    side = {stem: name for name, stems in vars(splits).items() for stem in stems}
    return [(a, b) for a, b in bonds if a in side and b in side and side[a] != side[b]]


def _check_groups(splits: Splits, groups: Mapping[str, str]) -> None:
    used = [stem for stems in vars(splits).values() for stem in stems]
    for a, b in straddling(splits, _group_bonds(groups, used)):
        raise DatasetError(
            f"{a} and {b} are of the group {groups[a]} but in different splits, so the test images would not be "
            "independent. Correct groups or splits."
        )


def _require_search(stems: Sequence[str], foreground: Collection[str]) -> None:
    if not stems:
        raise DatasetError("no image is left for the search. Label more images, or give `train` more of them.")
    if not any(stem in foreground for stem in stems):
        raise DatasetError(
            f"none of the {len(stems)} search images has any foreground. Check the masks, or add images with objects."
        )


def _group_bonds(groups: Mapping[str, str], stems: Sequence[str]) -> list[tuple[str, str]]:
    first: dict[str, str] = {}
    return [
        (first[groups[stem]], stem) for stem in stems if stem in groups and first.setdefault(groups[stem], stem) != stem
    ]


def _units(stems: Sequence[str], bonds: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Join bonded stems into units that stay together."""
    unit = {stem: [stem] for stem in stems}
    for a, b in bonds:
        if a in unit and b in unit and unit[a] is not unit[b]:
            small, large = sorted((unit[a], unit[b]), key=len)
            large += small
            unit.update(dict.fromkeys(small, large))
    return sorted(tuple(sorted(members)) for members in {id(members): members for members in unit.values()}.values())


def _shuffled(units: Sequence[Any], rng: Generator) -> list[Any]:
    return [units[i] for i in rng.permutation(len(units))]


def _take(
    units: Sequence[tuple[str, ...]], wanted: int, foreground: Collection[str], strokes: Collection[str]
) -> tuple[list[Any], list[Any]]:
    """Take units of `wanted` stems in all, as nearly as they allow, and leave at least one with foreground.

    Units with strokes are never taken. Of those with foreground, one with strokes or else the largest is left in any
    case, and the first of the others that fits is taken first. Where no unit fits, the smallest is taken if that leaves
    as many stems as it takes.
    """
    if not wanted or len(units) < 2:
        return [], list(units)
    drawn = {unit for unit in units if any(stem in strokes for stem in unit)}
    full = {unit for unit in units if any(stem in foreground for stem in unit)}
    keep = max((unit for unit in units if unit in full), key=lambda unit: (unit in drawn, len(unit)))
    others = [unit for unit in units if unit is not keep and unit not in drawn]
    if not others:
        return [], list(units)
    first = [unit for unit in others if unit in full and len(unit) <= wanted][:1]
    taken: list[tuple[str, ...]] = []
    n_taken = 0
    for unit in first + [unit for unit in others if unit not in first]:
        if n_taken + len(unit) <= wanted:
            taken.append(unit)
            n_taken += len(unit)
    smallest = min(others, key=len)
    if not taken and 2 * len(smallest) <= sum(map(len, units)):
        taken = [smallest]
    gone = set(taken)
    return taken, [unit for unit in units if unit not in gone]


def _flat(units: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(sorted(stem for unit in units for stem in unit))
