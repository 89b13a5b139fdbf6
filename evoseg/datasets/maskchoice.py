"""What the rules for values and for colours of masks share: counts over all masks, names, messages and the table."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError
from evoseg.core.notes import one_line
from evoseg.datasets.card import Colour, DatasetCard, MaskValue
from evoseg.datasets.maskstats import SAMPLED, TRANSPARENT, Counts, MaskStats
from evoseg.datasets.meaning import BINARY, CLASSES, INSTANCES, Decision, Meaning, Row
from evoseg.datasets.reading import HIGHEST_CLASS, MOST_CLASSES

MOST = 0.75
"""Share of the masks that counts as "most"."""
HALF = 0.5
CONSTANT = 12
"""Different values that a set of class levels, such as 0, 85, 170 and 255, may have at most."""
_PER_VALUE = 1.5
"""Pieces per value up to which the values number objects."""
STRAY_PX = 4
"""Pixels, all in one mask, up to which a value is a slip of the hand."""
_STEP = 16
"""Least distance of levels that the eye tells apart."""


class Unclear(DatasetError):
    """Masks that can be read in more than one way."""


class Reading(NamedTuple):
    """One possible meaning of the masks, and the lines of `dataset.yaml` that choose it."""

    words: str
    lines: str


@dataclass(frozen=True)
class Pool:
    """Counts per key, summed over masks."""

    keys: NDArray[Any]
    pixels: Counts
    border: Counts
    between: Counts
    flat: Counts
    solid: Counts
    masks: Counts

    @classmethod
    def of(cls, stats: Sequence[MaskStats]) -> "Pool":
        """Sum over masks."""
        keys, place = np.unique(np.concatenate([one.keys for one in stats]), return_inverse=True)
        names = ("pixels", "border", "between", "flat", "solid")
        sums = [np.bincount(place, np.concatenate([getattr(one, name) for one in stats])) for name in names]
        counts = [found.astype(np.int64) for found in (*sums, np.bincount(place))]
        return cls(keys, *counts)

    def only(self, kept: NDArray[np.bool_]) -> "Pool":
        """Return some of the keys."""
        return Pool(
            *(getattr(self, name)[kept] for name in ("keys", "pixels", "border", "between", "flat", "solid", "masks"))
        )

    def without(self, keys: Iterable[float]) -> "Pool":
        """Return all but some keys."""
        return self.only(~np.isin(self.keys, list(keys)))


@dataclass
class Choice(ABC):
    """The masks of one dataset, and what the rules about their values or colours need.

    Parameters
    ----------
    masks : sequence of MaskStats
        By the keys of the meaning.
    meaning : Meaning
        As far as it is known: whether keys are values or colours.
    card : DatasetCard
    where : str
        The dataset, for messages.
    remedy : str
        What to do about an unclear reading, where there is no `dataset.yaml` to write into.
    """

    masks: Sequence[MaskStats]
    meaning: Meaning
    card: DatasetCard
    where: str
    remedy: str
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Count over all masks."""
        self.pool = Pool.of(self.masks)
        self.total = max(1, int(self.pool.pixels.sum()))

    def decision(self) -> Decision:
        """Return what the masks mean.

        Raises
        ------
        Unclear
            If they can be read in more than one way.
        """
        self._check_named()
        return replace(self._decide(), warnings=tuple(self.warnings))

    @abstractmethod
    def _decide(self) -> Decision:
        """Return what the masks mean, without warnings."""

    def said(self, key: str) -> tuple[float, ...] | None:
        """Return the keys that `dataset.yaml` names under a word; None if it is silent."""
        values: tuple[MaskValue, ...] | None = getattr(self.card.masks, key)
        return None if values is None else tuple(self._key(key, value) for value in values)

    def _key(self, word: str, value: MaskValue) -> float:
        if isinstance(value, Colour):
            return value.rgb if self.meaning.colours else value.rgb & 255
        if not self.meaning.colours or value == TRANSPARENT:
            return value
        if value not in (0, 255) or len(getattr(self.card.masks, word) or ()) == 3:
            raise Unclear(
                f"{self._line(word)}{word} names the value {value:g}, but the masks hold colours. Write a colour as a "
                "name, such as red, or in quotes, as '#ff0000'."
            )
        return int(value) * 0x010101

    def _line(self, word: str) -> str:
        line = self.card.masks.lines.get(word)
        return f"{self.where}/dataset.yaml: line {line}: " if line else f"{self.where}: "

    def _check_named(self) -> None:
        """Refuse values that no mask contains, which are probably mistakes; values to ignore may be missing."""
        for word in ("background", "foreground", "ignore"):
            for key in self.said(word) or ():
                if key in self.pool.keys or (self.lossy and self.meaning.colours) or self._steps:
                    continue
                message = f"{self._line(word)}no mask holds the {self.word} {self.name(key)} that {word} names"
                if word == "ignore" or (word == "background" and key in (0, TRANSPARENT)):
                    self.warnings.append(f"{message}.")
                    continue
                raise Unclear(f"{message}; they hold {self._listed(self.pool.keys)}. Correct it.")
        if (ignored := self.said("ignore")) and len(self.pool.keys) and np.isin(self.pool.keys, ignored).all():
            raise Unclear(
                f"{self._line('ignore')}ignore names every {self.word} of the masks ({self._listed(self.pool.keys)}), "
                "so no pixel is left to score. Correct it."
            )

    @property
    def _steps(self) -> bool:
        """Whether the values are fractions of many steps, none of which stands for anything."""
        return self.pool.keys.dtype.kind == "f" and len(self.pool.keys) > CONSTANT

    @property
    def word(self) -> str:
        """What a key is."""
        return "colour" if self.meaning.colours else "value"

    def name(self, key: float) -> str:
        """Return a key as people write it."""
        if not self.meaning.colours:
            return f"{key:.4g}" if key != round(key) else f"{int(key)}"
        return "transparent" if key == TRANSPARENT else str(Colour(int(key)))

    def yaml(self, key: float) -> str:
        """Return a key as it stands in dataset.yaml."""
        name = self.name(key)
        if name == "transparent":
            return str(TRANSPARENT)
        return f"'{name}'" if name.startswith("#") else name

    def _listed(self, keys: Iterable[float], most: int = 6) -> str:
        names = [self.name(key) for key in keys]
        if len(names) > most:
            return f"{', '.join(names[: most - 1])} ... {names[-1]} ({len(names)} {self.word}s)"
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

    @property
    def lossy(self) -> bool:
        """Whether a mask is a JPEG."""
        return any(one.stored.lossy for one in self.masks)

    def _shown(self, one: MaskStats) -> str:
        """Return the file of a mask, from the dataset's folder on."""
        return one.where.removeprefix(f"{self.where}/")

    def unclear(self, what: str, readings: Sequence[Reading], keys: Iterable[float] | None = None) -> Unclear:
        """Return the message about masks that can be read in more than one way."""
        shown = self.pool if keys is None else self.pool.only(np.isin(self.pool.keys, list(keys)))
        order = np.argsort(-shown.pixels, kind="stable")[:8]
        border = max(1, int(self.pool.border.sum()))
        table = [
            f"    {self.name(shown.keys[i]):>12}  {100 * shown.pixels[i] / self.total:5.1f} % of the pixels, "
            f"{100 * shown.border[i] / border:5.1f} % of the border"
            for i in sorted(order, key=lambda i: float(shown.keys[i]))
        ]
        if len(shown.keys) > len(order):
            table.append(f"    and {len(shown.keys) - len(order)} {self.word}s more")
        lines = [f"{one_line(self.where)}: it is not clear what the masks mean: {what}.", *table]
        if self.remedy:
            return Unclear("\n".join([*lines, f"  {self.remedy}"]))
        lines.append("  Add the lines that are right to dataset.yaml:")
        for reading in readings:
            lines.append(f"  - {reading.words}:")
            lines += [f"      {line}" for line in reading.lines.splitlines()]
        return Unclear("\n".join(lines))

    def classes_lines(self, keys: Iterable[float]) -> str:
        """Return lines that name classes."""
        keys = [key for key in keys if self.meaning.colours or key > 0]
        bad = any(not self.meaning.colours and (key > HIGHEST_CLASS or key != round(key)) for key in keys)
        if len(keys) > CONSTANT or bad or TRANSPARENT in keys:
            return "background: []\ntask: classes"
        names = [f"  {self.yaml(key)}: class-{i + 1}" for i, key in enumerate(keys)]
        return "\n".join(["classes:", *names])

    def _strays(self, main: Pool, named: set[float]) -> set[float]:
        """Return values of a few stray pixels in one mask, where all masks otherwise contain the same few values."""
        n = len(self.masks)
        usual = main.only(main.masks >= max(2, n / 2))
        if n < 3 or not len(usual.keys) or len(usual.keys) > CONSTANT:
            return set()
        rare = (main.masks == 1) & (main.pixels <= STRAY_PX) & ~np.isin(main.keys, [*named])
        strays = {float(key) for key in main.keys[rare]}
        others = set(main.keys.tolist()) - set(usual.keys.tolist()) - strays
        numbered = len(usual.without([0]).keys) > 1 and self._is_numbered(self._foreground([0, *strays]))
        if others or len(strays) > 3 or numbered:
            return set()
        for key in strays:
            mask = next(one for one in self.masks if key in one.keys)
            count = int(mask.pixels[mask.keys == key][0])
            self.warnings.append(
                f"{self._shown(mask)}: {count} pixel{'s' * (count > 1)} of {self.word} {self.name(key)}, which no "
                "other mask holds; left out, as a slip. Correct the mask, or name the value in dataset.yaml."
            )
        return strays

    def _dominant(self, pool: Pool) -> float | None:
        """Return the key that covers most, and most of the border, in most masks."""
        for key in pool.keys[np.argsort(-pool.pixels)][:1]:
            if self._covers([key]):
                return float(key)
        return None

    def _covers(self, keys: Iterable[float], border_only: bool = False) -> bool:
        """Return whether keys cover more than half of most masks, and of their border."""
        wanted, votes = list(keys), []
        for one in self.masks:
            inside = np.isin(one.keys, wanted)
            area = border_only or one.pixels[inside].sum() > HALF * one.pixels.sum()
            votes.append(area and one.border[inside].sum() > HALF * one.border.sum())
        return float(np.mean(votes)) >= MOST

    def _foreground(self, background: Iterable[float]) -> list[MaskStats]:
        """Return the masks without keys of background, those that hold something else."""
        ground = list(background)
        masks = [one.only(~np.isin(one.keys, ground)) for one in self.masks]
        return [one for one in masks if len(one.keys)]

    def _is_numbered(self, masks: Sequence[MaskStats]) -> bool:
        several = [one for one in masks if len(one.keys) > 1]
        return sum(_numbered(one) for one in several) > len(several) / 2

    def _task(self, masks: Sequence[MaskStats], wrapped: bool = False) -> tuple[str, str, bool]:
        """Return what foreground is: one thing, numbered objects or classes; why; and whether that is certain."""
        if not masks:
            return BINARY, "the masks hold one value", True
        several = [one for one in masks if len(one.keys) > 1]
        pool = Pool.of(masks)
        if len(pool.keys) == 1:
            return BINARY, "the masks hold one value", True
        if self.card.task in (BINARY, INSTANCES, CLASSES) or self.card.classes:
            return self.card.task or CLASSES, "dataset.yaml says so", True
        if all(one.stored.single for one in masks):
            return BINARY, "each file is one object", True
        if not several:
            return self._one_each(pool)
        if wrapped:
            return INSTANCES, "the values number objects, more than 8 bits hold", False
        numbered = sum(map(_numbered, several))
        constant = len(pool.keys) <= CONSTANT and bool((pool.masks >= len(several) / 2).all())
        counted = [(int(one.pieces[one.pieces > 0].sum()), int((one.pieces > 0).sum())) for one in several]
        per_value = sum(n for n, _ in counted) / max(1, sum(n for _, n in counted))
        whole = pool.keys.dtype.kind != "f"
        few = len(pool.keys) <= MOST_CLASSES and whole and (self.meaning.colours or pool.keys[-1] <= HIGHEST_CLASS)
        listed = self._listed(pool.keys)
        if constant and few and not self.meaning.colours and _are_levels(pool.keys):
            return CLASSES, f"the masks' values, {listed}, are the same wide steps in each", False
        if (
            constant
            and few
            and self.meaning.colours
            and len(pool.keys) <= 4
            and (len(several) > 1 or per_value > _PER_VALUE)
        ):
            return CLASSES, f"the masks' colours, {listed}, are the same in each", False
        if numbered > len(several) / 2 and not (constant and per_value > _PER_VALUE):
            return INSTANCES, f"in {numbered} of {len(masks)} masks each {self.word} is one object", False
        if few:
            return CLASSES, f"the masks' {self.word}s, {listed}, come in several pieces each", False
        raise self.unclear(
            f"{len(pool.keys)} {self.word}s in several pieces each are no numbers of objects, nor classes, which are "
            f"at most {MOST_CLASSES} whole numbers up to {HIGHEST_CLASS}",
            [
                Reading(f"each {self.word} of a mask is an object", "task: instances"),
                Reading("all of them are one foreground", "task: binary"),
            ],
        )

    def _one_each(self, pool: Pool) -> tuple[str, str, bool]:
        """Decide what several values mean if each mask contains only one of them."""
        if any(one.stored.single for one in self.masks):
            return BINARY, "the layout has one kind of foreground", True
        if not self.meaning.colours and set(pool.keys.tolist()) <= {1, 255, 65535}:
            return BINARY, f"each mask holds one value, {' or '.join(map(self.name, pool.keys))}", True
        raise self.unclear(
            f"each mask holds one {self.word} beside background, and they are {self._listed(pool.keys)}",
            [
                Reading("they are classes, of which an image shows one", self.classes_lines(pool.keys)),
                Reading("they are all the same foreground", "task: binary"),
            ],
        )

    def _rows(
        self, task: str, background: set[float], ignored: set[float], why: str, numbers: dict[float, int] | None = None
    ) -> tuple[Row, ...]:
        """Return the meaning of each key as rows of a table; numbered objects share a row."""
        ground = self.pool.only(np.isin(self.pool.keys, list(background)))
        rest = self.pool.without({*background, *ignored})
        reasons = {0.0: "0 is background"} if not self.meaning.colours else {0.0: "black is background"}
        rows = [
            Row(
                self.name(key),
                "background",
                n / self.total,
                why or reasons.get(float(key), "covers most of the border"),
            )
            for key, n in zip(ground.keys, ground.pixels, strict=True)
        ]
        if len(rows) > CONSTANT:
            rows = [Row(f"{len(rows)} {self.word}s", "background", float(ground.pixels.sum()) / self.total, why)]
        if task == INSTANCES or len(rest.keys) > MOST_CLASSES:
            name = self._listed(rest.keys) if len(rest.keys) < 3 else f"{len(rest.keys)} {self.word}s"
            if not self.meaning.colours and len(rest.keys) > 2:
                name = f"{self.name(rest.keys[0])} to {self.name(rest.keys[-1])}"
            taken = "an object each" if task == INSTANCES else "foreground"
            rows.append(Row(name, taken, float(rest.pixels.sum()) / self.total, why or "each in about one piece"))
        else:
            rows += [
                self._row(task, float(key), int(n), why, numbers) for key, n in zip(rest.keys, rest.pixels, strict=True)
            ]
        return (*rows, *self._ignored_rows(ignored))

    def _row(self, task: str, key: float, n: int, why: str, numbers: dict[float, int] | None) -> Row:
        name = self.name(key)
        if task != CLASSES:
            return Row(
                name, "foreground", n / self.total, why or ("above 0" if not self.meaning.colours else "not background")
            )
        number = (numbers or {}).get(key, int(key))
        called = self.card.classes.get(number, "")
        if self.card.classes and not called:
            return Row(name, "background", n / self.total, "dataset.yaml names other classes")
        return Row(
            name, f"class {number}" + f" ({called})" * bool(called), n / self.total, why or "in several masks or pieces"
        )

    def _ignored_rows(self, ignored: set[float]) -> tuple[Row, ...]:
        said = self.said("ignore") or ()
        pool = self.pool.only(np.isin(self.pool.keys, list(ignored)))
        return tuple(
            Row(
                self.name(key),
                "ignored",
                n / self.total,
                "dataset.yaml says so" if key in said else "below 0" if key < 0 else "a slip: a few pixels in one mask",
            )
            for key, n in zip(pool.keys, pool.pixels, strict=True)
        )


def _numbered(one: MaskStats) -> bool:
    """Return whether the values of a mask number objects: several of them, each of hardly more than one piece."""
    pieces = one.pieces[one.pieces >= 0]
    return len(one.keys) > 1 and int(pieces.sum()) <= _PER_VALUE * min(len(one.keys), SAMPLED)


def _are_levels(keys: NDArray[Any]) -> bool:
    """Return whether values are steps that the eye tells apart, such as 128 and 255."""
    return bool((np.diff(keys, prepend=0) >= _STEP).all())
