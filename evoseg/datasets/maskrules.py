"""Decide what the values or colours of a dataset's masks mean: once, over all masks together.

Only what is clear is decided; else there is one message with the readings, and the lines of `dataset.yaml` that choose
one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError
from evoseg.core.notes import one_line
from evoseg.datasets.card import COLOURS, Colour, DatasetCard, MaskValue
from evoseg.datasets.io.files import decode_mask
from evoseg.datasets.io.formats import read_bytes
from evoseg.datasets.maskstats import (
    SAMPLED,
    TRANSPARENT,
    WRAPPED,
    Counts,
    MaskStats,
    distance,
    grey_to_rgb,
    is_grey,
    is_mixture,
    mask_stats,
    pack_rgb,
    snap_to_nearest,
)
from evoseg.datasets.meaning import BINARY, CLASSES, IGNORED, INSTANCES, Decision, Meaning, Row
from evoseg.datasets.reading import HIGHEST_CLASS, MOST_CLASSES

_MOST = 0.75
"""Share of the masks that counts as "most"."""
_HALF = 0.5
_MIDDLE = (0.1, 0.9)
"""Shares of the highest value between which a value is neither noise near 0 nor near the highest."""
_PILED = 0.5
"""Share of the pixels that lie at either end of the values, in masks with soft edges; less in grey images."""
_PEAK = 0.1
"""Share of the marked pixels at the upper end, in masks with soft edges; less in maps of distance or density."""
_PLATEAUS = (0.2, 0.8)
"""Shares of the range between which such regions are looked for; smoothed objects are flat at their tops, too."""
_PLATEAU = 0.25
"""Share of the pixels of middle values inside of flat regions from which these may be regions of their own."""
_STEPS = 32
"""Steps of the range; where most of those pixels lie in a quarter of these, they do not come from wide soft edges."""
_CONFIDENT = 0.9
"""What the highest probability of a map must reach for 0.5 to be its threshold."""
_THIN = 0.1
"""Share of a value's pixels that lie between lower and higher ones, from which smooth resizing may have made some."""
_FEW_THIN = 3
"""Number of such values from which numbers of objects were resized smoothly; classes have a thin layer or two."""
_CONSTANT = 12
"""Different values that a set of class levels, such as 0, 85, 170 and 255, may have at most."""
_STEP = 16
"""Least distance of such levels."""
_PER_VALUE = 1.5
"""Pieces per value up to which the values number objects."""
_STRAY_PX = 4
"""Pixels, all in one mask, up to which a value is a slip of the hand."""
_FEW_DOUBLES = 5
"""Numbers in pieces far apart from which the numbers of an 8-bit mask have wrapped."""
_NEAR = 60
"""Distance in RGB below which two colours are one that compression has changed."""
_PURE = 20
"""Distance in RGB up to which a colour that compression has changed is called by the name of a pure one."""
_MIXED = 40
"""Distance in RGB from the line between two colours within which a third may be their mixture at an edge."""
_STRAYED = 100
"""The same for colours of few pixels, where compression blurs colour more than brightness."""
_VOID = 0xE0E0C0
"""Colour of index 255 in PASCAL VOC's palette."""
_ENDS = 0.25
"""Share of the other colour up to which a mixture with few pixels, even beyond the edge, is no colour of its own."""
_LIGHT = 0.5
"""Share of the rarest main colour up to which a colour has few pixels."""


def read_mask(path: str | Path) -> NDArray[np.bool_]:
    """Read one mask by itself: True on what is clearly foreground, object or class.

    Returns
    -------
    bool array of shape (M, N)

    Raises
    ------
    DatasetError
        As `read_image`; and if the mask can be read in more than one way.
    """
    path = Path(path)
    stored = decode_mask(path, read_bytes(path))
    found = decide([mask_stats(stored)], DatasetCard(), str(path))
    if found.unclear:
        raise DatasetError(found.unclear)
    return np.asarray(found.meaning.values(stored) > 0)


def decide(stats: Sequence[MaskStats], card: DatasetCard, where: str, remedy: str = "") -> Decision:
    """Decide what the masks of a dataset mean.

    Parameters
    ----------
    stats : sequence of MaskStats
        Of all masks.
    card : DatasetCard
        What `dataset.yaml` says.
    where : str
        The dataset, for messages.
    remedy : str
        What to do about an unclear reading, where there is no `dataset.yaml` to write into.
    """
    try:
        return _Choice(stats, card, where, remedy).decision()
    except _Unclear as unclear:
        return Decision(Meaning(), unclear=str(unclear))


class _Unclear(DatasetError):
    """Masks that can be read in more than one way."""


class _Reading(NamedTuple):
    """One possible meaning of the masks, and the lines of `dataset.yaml` that choose it."""

    words: str
    lines: str


@dataclass(frozen=True)
class _Pool:
    """Counts per key, summed over masks."""

    keys: NDArray[Any]
    pixels: Counts
    border: Counts
    between: Counts
    flat: Counts
    solid: Counts
    masks: Counts

    @classmethod
    def of(cls, stats: Sequence[MaskStats]) -> "_Pool":
        """Sum over masks."""
        keys, place = np.unique(np.concatenate([one.keys for one in stats]), return_inverse=True)
        names = ("pixels", "border", "between", "flat", "solid")
        sums = [np.bincount(place, np.concatenate([getattr(one, name) for one in stats])) for name in names]
        counts = [found.astype(np.int64) for found in (*sums, np.bincount(place))]
        return cls(keys, *counts)

    def only(self, kept: NDArray[np.bool_]) -> "_Pool":
        """Return some of the keys."""
        return _Pool(
            *(getattr(self, name)[kept] for name in ("keys", "pixels", "border", "between", "flat", "solid", "masks"))
        )

    def without(self, keys: Iterable[float]) -> "_Pool":
        """Return all but some keys."""
        return self.only(~np.isin(self.keys, list(keys)))


@dataclass
class _Choice:
    """The masks of one dataset, and the rules that decide what their values mean."""

    stats: Sequence[MaskStats]
    card: DatasetCard
    where: str
    remedy: str
    warnings: list[str] = field(default_factory=list)

    def decision(self) -> Decision:
        """Return what the masks mean."""
        open_ones = [one for one in self.stats if not one.stored.declared]
        said = self.card.masks
        if not open_ones:
            return self._of_labels()
        palettes = [one for one in open_ones if one.stored.table is not None]
        how = _palette(palettes)
        colours = how == "colour" or any(one.stored.colours for one in open_ones)
        named = [
            value for key in ("background", "foreground", "ignore", "classes") for value in getattr(said, key) or ()
        ]
        colours = colours or any(isinstance(value, Colour) and not is_grey(value.rgb) for value in named)
        self.meaning = Meaning(colours=colours, palette="level" if how == "level" else "index")
        self.masks = [_in_keys(one, self.meaning) for one in open_ones]
        self.pool = _Pool.of(self.masks)
        self.total = max(1, int(self.pool.pixels.sum()))
        self._check_named()
        found = self._of_colours() if colours else self._of_values()
        return replace(found, warnings=tuple(self.warnings))

    # What dataset.yaml says.

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
            raise _Unclear(
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
                raise _Unclear(f"{message}; they hold {self._listed(self.pool.keys)}. Correct it.")

    @property
    def _steps(self) -> bool:
        """Whether the values are fractions of many steps, none of which stands for anything."""
        return self.pool.keys.dtype.kind == "f" and len(self.pool.keys) > _CONSTANT

    # How keys are called.

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

    # Errors.

    def unclear(self, what: str, readings: Sequence[_Reading], keys: Iterable[float] | None = None) -> _Unclear:
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
            return _Unclear("\n".join([*lines, f"  {self.remedy}"]))
        lines.append("  Add the lines to dataset.yaml that are right:")
        for reading in readings:
            lines.append(f"  - {reading.words}:")
            lines += [f"      {line}" for line in reading.lines.splitlines()]
        return _Unclear("\n".join(lines))

    def classes_lines(self, keys: Iterable[float]) -> str:
        """Return lines that name classes."""
        keys = [key for key in keys if self.meaning.colours or key > 0]
        bad = any(not self.meaning.colours and (key > HIGHEST_CLASS or key != round(key)) for key in keys)
        if len(keys) > _CONSTANT or bad or TRANSPARENT in keys:
            return "background: []\ntask: classes"
        names = [f"  {self.yaml(key)}: class-{i + 1}" for i, key in enumerate(keys)]
        return "\n".join(["classes:", *names])

    # Values.

    def _of_labels(self) -> Decision:
        """Decide about label images of a layout that says what 0 is, or about no mask at all."""
        self.meaning = Meaning()
        if not self.stats:
            return Decision(Meaning())
        self.masks = list(self.stats)
        self.pool = _Pool.of(self.masks)
        self.total = max(1, int(self.pool.pixels.sum()))
        ignored = [float(key) for key in self.pool.keys if key < 0]
        task, why, certain = self._task(self._foreground((0.0, *ignored)))
        rows = self._rows(task, {0.0}, set(ignored), "the layout says so")
        return Decision(replace(self.meaning, task=task), rows, why, certain)

    def _of_values(self) -> Decision:
        said = self.card.masks
        ignored = set(self.said("ignore") or ())
        named = {key for word in ("background", "foreground") for key in self.said(word) or ()}
        whole = all(one.keys.dtype.kind != "f" for one in self.masks)
        if said.ignore is None and whole and 0 in self.pool.keys:
            ignored |= {float(key) for key in self.pool.keys if key < 0 and key not in named}
        if said.threshold is not None:
            self._check_threshold(said.threshold)
            return self._thresholded(said.threshold, ignored, "dataset.yaml says so")
        main = self.pool.without(ignored)
        if not len(main.keys):
            return Decision(Meaning())
        self._refuse_white_first(main)
        kind = self._kind(main, whole)
        if kind == "levels":
            return self._levels(main, whole, ignored)
        if kind == "mixed":
            plateaus = main.only((main.solid > _HALF * main.pixels) & (main.pixels > 0.002 * self.total))
            middle = _middle(main)
            if len(plateaus.keys) > 2 and np.isin(plateaus.keys, middle.keys).any():
                raise self._smeared(main, plateaus)
            return self._levels(main, whole, ignored, whole and middle.solid.sum() > 0.1 * middle.pixels.sum())
        if not whole:
            return self._few_floats(main, ignored)
        strays = self._strays(main, named | set(self.said("classes") or ()))
        ignored |= strays
        main = main.without(strays)
        if (foreground := self.said("foreground")) is not None:
            return self._explicit(set(foreground), ignored, main)
        background = self._background_value(main)
        self._refuse_void(main, background)
        return self._labels(main, background, ignored)

    def _refuse_white_first(self, main: _Pool) -> None:
        """Ask about files that show their lowest stored value as white, unless they show the ground as black."""
        said = self.card.masks
        if said.background or said.foreground:
            return
        low, high = float(main.keys[0]), float(main.keys[-1])
        inverting = [one for one in self.masks if one.stored.white_first]
        doubtful = [
            self._shown(one)
            for one in inverting
            if one.border[one.keys < _centre(one.keys if len(one.keys) > 1 else main.keys)].sum()
            <= _HALF * one.border.sum()
        ]
        if low == high or len(doubtful) <= (1 - _MOST) * len(inverting):
            return
        raise self.unclear(
            f"{_some(doubtful)} store white as 0 and show it on most of the border, and programs differ in which side "
            "they take",
            [
                _Reading("what is shown dark is foreground", f"foreground: {self.name(low)}"),
                _Reading("what is shown white is foreground", f"foreground: {self.name(high)}"),
            ],
        )

    def _kind(self, main: _Pool, whole: bool) -> str:
        """Return "solid" for values that fill regions, "levels" for soft edges, "mixed" for regions with soft edges."""
        if len(main.keys) <= 2:
            return "solid"
        low, high = float(main.keys[0]), float(main.keys[-1])
        inner = main.only((main.keys > low) & (main.keys < high))
        middle = _middle(main)
        if not whole and len(main.keys) > _CONSTANT:
            return "mixed" if _has_plateaus(middle, low, high) else "levels"
        marked = max(1, int(main.pixels[1:].sum()))
        if len(middle.keys) and middle.pixels.sum() >= 0.01 * marked:
            soft = middle.between.sum() > _HALF * middle.pixels.sum()
            if soft and len(middle.keys) == 1 and whole and not self.lossy:
                return "solid"  # a rim of one value, which no smoothing leaves
            by_value = (middle.between > _HALF * middle.pixels).mean()
            if soft and _has_plateaus(middle, low, high):
                return "mixed"
        else:
            soft = self.lossy or (len(inner.keys) > 2 and inner.solid.sum() < _HALF * inner.pixels.sum())
            by_value = float((inner.solid < _HALF * inner.pixels).mean())
        if soft:
            return "levels"
        if by_value > _HALF and len(main.keys) > 4:
            return "mixed"
        return "mixed" if self.lossy else "solid"

    def _levels(self, main: _Pool, whole: bool, ignored: set[float], doubtful: bool = False) -> Decision:
        """Take half of the highest value as the threshold, where values pile up at both ends."""
        low, high = float(main.keys[0]), float(main.keys[-1])
        keys, pixels = main.keys, main.pixels
        marked = pixels[keys > low + _MIDDLE[0] * (high - low)].sum()
        peak = pixels[keys >= low + _MIDDLE[1] * (high - low)].sum()
        piled = peak >= _PEAK * marked and pixels.sum() - marked + peak >= _PILED * pixels.sum()
        most = max(self.masks, key=lambda one: one.n_distinct)
        spread = f"values from {self.name(low)} to {self.name(high)} in up to {most.n_distinct:,} steps"
        half = high / 2
        probable = not whole and low >= 0 and high <= 1
        if probable:
            half = 0.5
        sure = high >= _CONFIDENT if probable else 0 <= low <= _MIDDLE[0] * high and piled
        if doubtful or not sure:
            at = 0 if low < 0 else half if low < half else (low + high) / 2
            what = f"{spread}, which do not pile up at both ends"
            if probable:
                what = f"{spread}: as of a map of probabilities that are all low"
            raise self.unclear(
                what,
                [_Reading(f"values from {at:g} on are foreground (or another threshold)", f"threshold: {at:g}")],
                (),
            )
        if not probable:
            self._refuse_pictures(low, high)
        kind = "probabilities" if probable else "soft edges"
        why = (
            "probabilities: divided at 0.5"
            if probable
            else f"soft edges: divided at half of the highest value, {high:g}"
        )
        if self.lossy:
            why = f"JPEG has changed values: divided at half of the highest, {high:g}"
        self.warnings.append(
            f"masks hold {spread}, such as {self._shown(most)}; they are taken for {kind}, and values from {half:g} "
            "on are foreground. To choose another threshold, write `threshold:` into dataset.yaml."
        )
        return self._thresholded(half, ignored, why)

    def _refuse_pictures(self, low: float, high: float) -> None:
        """Refuse single masks whose values do not pile up at the ends, where those of all masks together do."""
        spread = []
        for one in self.masks:
            middle = (one.keys > low + _MIDDLE[0] * (high - low)) & (one.keys < low + _MIDDLE[1] * (high - low))
            if one.pixels[middle].sum() > _PILED * one.pixels.sum():
                spread.append(self._shown(one))
        if spread:
            raise _Unclear(
                f"{_some(spread)}: the values are spread like those of an image, and unlike those of the other masks. "
                "Replace the file by a mask, or write `threshold:` into dataset.yaml to choose where foreground begins."
            )

    def _check_threshold(self, threshold: float) -> None:
        if not self.pool.keys[0] < threshold <= self.pool.keys[-1]:
            raise _Unclear(
                f"{self._line('threshold')}threshold is {threshold:g}, but the values of the masks are "
                f"{self.name(self.pool.keys[0])} to {self.name(self.pool.keys[-1])}. Correct it."
            )

    def _thresholded(self, threshold: float, ignored: set[float], why: str) -> Decision:
        background, foreground = self.said("background"), self.said("foreground")
        below = any(key >= threshold for key in background or ()) or any(key < threshold for key in foreground or ())
        numbers = tuple((key, IGNORED) for key in sorted(ignored))
        meaning = replace(self.meaning, threshold=threshold, below=below, numbers=numbers)
        main = self.pool.without(ignored)
        rows = []
        for name, kept, is_foreground in (
            (f"below {threshold:g}", main.keys < threshold, below),
            (f"from {threshold:g} on", main.keys >= threshold, not below),
        ):
            taken = "foreground" if is_foreground else "background"
            rows.append(Row(name, taken, float(main.pixels[kept].sum()) / self.total, why))
        rows += self._ignored_rows(ignored)
        if not (background or foreground):
            marked = main.keys[(main.keys < threshold) == below]
            lowest = "0" if self._steps and main.keys[0] >= 0 else self.name(main.keys[0])
            self._warn_if_inverted(set(marked.tolist()), f"foreground: {lowest}")
        return Decision(meaning, tuple(rows), "the masks' values are levels, as of soft edges")

    def _smeared(self, main: _Pool, plateaus: _Pool) -> _Unclear:
        others = len(main.keys) - len(plateaus.keys)
        what = (
            f"{self._listed(plateaus.keys)} fill regions"
            + (f", and {others:,} other values lie at their edges" if others else "")
            + ", as after JPEG compression or smooth resizing; a mixture of two values may be a third. "
            "Export the masks again, without compression and with the nearest value when resized"
        )
        half = float(main.keys[-1]) / 2
        reading = _Reading(f"all regions from {half:g} on are one foreground", f"threshold: {half:g}")
        return self.unclear(what, [reading], plateaus.keys)

    def _few_floats(self, main: _Pool, ignored: set[float]) -> Decision:
        """Take two values as ground and foreground; ask about more."""
        if len(main.keys) <= 2 and not ignored and 0 in main.keys:
            task, why, certain = self._task(self._foreground((0.0,)))
            return Decision(self.meaning, self._rows(task, {0.0}, set(), ""), why, certain)
        readings = [
            _Reading(f"{self.name(key)} and more is foreground", f"threshold: {self.name(key)}")
            for key in main.keys[1:4]
        ]
        raise self.unclear(f"they hold {self._listed(main.keys)}, which are no whole numbers", readings)

    def _strays(self, main: _Pool, named: set[float]) -> set[float]:
        """Return values of a few stray pixels in one mask, where all masks otherwise contain the same few values."""
        n = len(self.masks)
        usual = main.only(main.masks >= max(2, n / 2))
        if n < 3 or not len(usual.keys) or len(usual.keys) > _CONSTANT:
            return set()
        rare = (main.masks == 1) & (main.pixels <= _STRAY_PX) & ~np.isin(main.keys, [*named])
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

    def _dominant(self, pool: _Pool) -> float | None:
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
            area = border_only or one.pixels[inside].sum() > _HALF * one.pixels.sum()
            votes.append(area and one.border[inside].sum() > _HALF * one.border.sum())
        return float(np.mean(votes)) >= _MOST

    def _background_value(self, main: _Pool) -> set[float]:
        """Return the values of background: what dataset.yaml says, else 0."""
        if (said := self.said("background")) is not None:
            return set(said)
        if 0 in main.keys or self.card.classes or len(main.keys) < 2:
            return {0.0}
        likely = self._dominant(main)
        constant = len(main.keys) <= _CONSTANT and bool((main.masks >= len(self.masks) / 2).all())
        if likely is None and not constant and self._is_numbered(self._foreground(())):
            return {0.0}
        others = [float(key) for key in main.keys if key != likely]
        readings = []
        numbered = self._is_numbered(self._foreground(() if likely is None else (likely,)))
        if likely is not None:
            words = f"{self.name(likely)}, which covers most and touches the border, is background"
            lines = f"background: {self.yaml(likely)}"
            if 1 < len(others) <= _CONSTANT and not numbered:
                lines += "\n" + self.classes_lines(others)
            readings.append(_Reading(words, lines))
        for key in main.keys[:1] if likely is None else others if len(others) == 1 else []:
            readings.append(_Reading(f"{self.name(key)} is background", f"background: {self.yaml(key)}"))
        if main.keys[0] < 0:
            words = f"{self._listed(main.keys[main.keys < 0])} marks pixels that count nowhere"
            marks = ", ".join(self.yaml(key) for key in main.keys[main.keys < 0])
            readings.append(_Reading(words, f"ignore: [{marks}]\nbackground: []"))
        else:
            everything = "background: []" if numbered else self.classes_lines(main.keys)
            kind = "an object" if numbered else "a class"
            readings.append(_Reading(f"there is no background, and each value is {kind}", everything))
        raise self.unclear(f"no mask holds 0; they hold {self._listed(main.keys)}", readings)

    def _refuse_void(self, main: _Pool, background: set[float]) -> None:
        """Ask about a highest value that often means "not labelled", and about rims of one value."""
        named = set(self.said("classes") or ())
        rest = main.without(background)
        if self.card.masks.ignore is not None or len(rest.keys) < 2:
            return
        top, below = float(rest.keys[-1]), rest.keys[:-1]
        together = any(np.isin(one.keys, [top]).any() and np.isin(one.keys, below).any() for one in self.masks)
        tops = (255, 65535) if not self.card.classes else (255,)
        small = below[-1] <= 40 or (below[-1] <= 200 and len(below) >= below[-1] / 2)
        if top in tops and top not in named and small and together:
            numbered = self._is_numbered(self._foreground((*background, top)))
            each = "ignore: []" if numbered else self.classes_lines(rest.keys)
            if top > HIGHEST_CLASS and not numbered:
                each = f"foreground: [{', '.join(self.yaml(key) for key in rest.keys)}]"
            raise self.unclear(
                f"beside {self._listed([*sorted(background & set(main.keys.tolist())), *below])} they hold "
                f"{self.name(top)}, which often marks pixels to leave out (void)",
                [
                    _Reading(f"pixels of {self.name(top)} count nowhere", f"ignore: {self.yaml(top)}"),
                    _Reading(f"{self.name(top)} is foreground, a class or an object like the others", each),
                    _Reading(f"{self.name(top)} is background", f"background: [0, {self.yaml(top)}]"),
                ],
            )
        for i, key in enumerate(rest.keys):
            rim = rest.between[i] > _HALF * rest.pixels[i] and len(rest.keys) == 2 and key != top
            if rim and not named:
                raise self.unclear(
                    f"{self.name(key)} lies almost only between {self.name(main.keys[0])} and {self.name(top)}, as a "
                    "rim",
                    [
                        _Reading("the rim is unsure and counts nowhere", f"ignore: {self.yaml(key)}"),
                        _Reading("the rim belongs to the objects", f"foreground: [{self.yaml(key)}, {self.yaml(top)}]"),
                        _Reading("the rim is background", f"foreground: {self.yaml(top)}"),
                        _Reading("it is a class of its own", self.classes_lines(rest.keys)),
                    ],
                )

    def _explicit(self, foreground: set[float], ignored: set[float], main: _Pool) -> Decision:
        """Take the values that dataset.yaml names as foreground, and all others as background."""
        numbers = [(key, 1) for key in foreground] + [(key, IGNORED) for key in ignored]
        meaning = replace(self.meaning, numbers=tuple(sorted(numbers)), rest=0)
        ground = set(main.keys.tolist()) - foreground
        rows = self._rows(BINARY, ground, ignored, "dataset.yaml says so")
        return Decision(meaning, rows, "dataset.yaml says what is foreground")

    def _labels(self, main: _Pool, background: set[float], ignored: set[float]) -> Decision:
        """Take each value for itself: foreground, a class or an object."""
        numbers = [(key, IGNORED) for key in ignored if key >= 0 or self.said("ignore") is not None]
        numbers += [(key, 0) for key in background if key != 0 and key in self.pool.keys]
        if 0 in main.keys and 0 not in background:
            numbers.append((0.0, int(main.keys[-1]) + 1))
        numbers += [
            (key, int(main.keys[-1]) + 2 + i) for i, key in enumerate(main.keys[main.keys < 0]) if key not in background
        ]
        foreground = self._foreground((*background, *ignored))
        wrapped = [one for one in self.masks if self._wrapped(one)] if self.card.task in ("", INSTANCES) else []
        task, why, certain = self._task(foreground, bool(wrapped))
        if task == CLASSES and not certain and (main.between > _THIN * main.pixels).sum() >= _FEW_THIN:
            raise self._smeared(main, main.only(main.between <= _THIN * main.pixels))
        meaning = replace(
            self.meaning, numbers=tuple(sorted(numbers)), task=task, part_from=WRAPPED if wrapped else None
        )
        for one in wrapped[:1]:
            doubles = int((one.apart > 1).sum())
            names = f" and {len(wrapped) - 1} more" if len(wrapped) > 1 else ""
            self.warnings.append(
                f"{self._shown(one)}{names}: all numbers up to 255 occur, {doubles} of them in pieces that lie far "
                "apart, so the numbers of the objects probably started again after 255, the highest that 8 bits hold. "
                "Such pieces count as objects of their own. An object numbered 256 may have been lost, since it became "
                "0. Export the labels again with 16 bits."
            )
        said = self.card.masks
        if not (said.background or self.card.classes) and task == BINARY:
            marked = set(main.keys.tolist()) - background
            self._warn_if_inverted(marked, "foreground: 0" if 0 in main.keys else "background: ...")
        elif not (said.background or self.card.classes) and task == CLASSES:
            likely = self._dominant(main)
            if likely is not None and likely not in background:
                self.warnings.append(
                    f"the value {self.name(likely)} covers most of most masks and their border: is it background? If "
                    f"so, write `background: [0, {self.yaml(likely)}]` into dataset.yaml."
                )
        always = len(self.masks) > 2 and len(main.keys) <= 4 and bool((main.masks == len(self.masks)).all())
        if task == INSTANCES and not self.card.task and always:
            names = self._listed(main.keys[~np.isin(main.keys, [*background])])
            self.warnings.append(
                f"every mask holds {names}, each in about one piece: if these are classes rather than numbers of "
                "objects, name them under `classes:` in dataset.yaml; if not, write `task: instances`."
            )
        return Decision(meaning, self._rows(task, background, ignored, ""), why, certain)

    def _wrapped(self, one: MaskStats) -> bool:
        n_doubled = int((one.apart > 1).sum())
        full = one.dtype == np.uint8 and len(one.keys) > WRAPPED and one.keys[-1] == 255
        return full and n_doubled >= _FEW_DOUBLES

    def _warn_if_inverted(self, foreground: set[float], line: str) -> None:
        self._warn_of_some_inverted(foreground)
        if not self._covers(foreground):
            return
        pool = self.pool.only(np.isin(self.pool.keys, list(foreground)))
        share = 100 * pool.pixels.sum() / self.total
        self.warnings.append(
            f"{share:.0f} % of the pixels are foreground, which touches most of the border in most masks: are the "
            f"masks inverted? If so, write `{line}` into dataset.yaml; if not, `background: 0`."
        )

    def _warn_of_some_inverted(self, foreground: set[float]) -> None:
        """Warn of masks that are foreground along most of the border, where all the others have little there."""
        shares = {}
        for one in self.masks:
            inside = np.isin(one.keys, list(foreground))
            if inside.any() and not inside.all():
                area = one.pixels[inside].sum() / max(1, one.pixels.sum())
                border = one.border[inside].sum() / max(1, one.border.sum())
                shares[self._shown(one)] = border if (area > _HALF) == (border > _HALF) else _HALF
        turned = [mask for mask, share in shares.items() if share > _MOST]
        if turned and all(share > _MOST or share < 1 - _MOST for share in shares.values()):
            if len(turned) == len(shares):
                return
            self.warnings.append(
                f"{_some(turned)}: foreground covers most of the mask and of its border, but little of "
                "the border in all other masks. If some masks are inverted, invert them, so that all mean the same."
            )

    # Objects or classes.

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
        pool = _Pool.of(masks)
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
        constant = len(pool.keys) <= _CONSTANT and bool((pool.masks >= len(several) / 2).all())
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
                _Reading(f"each {self.word} of a mask is an object", "task: instances"),
                _Reading("all of them are one foreground", "task: binary"),
            ],
        )

    def _one_each(self, pool: _Pool) -> tuple[str, str, bool]:
        """Decide what several values mean if each mask contains only one of them."""
        if any(one.stored.single for one in self.masks):
            return BINARY, "the layout has one kind of foreground", True
        if not self.meaning.colours and set(pool.keys.tolist()) <= {1, 255, 65535}:
            return BINARY, f"each mask holds one value, {' or '.join(map(self.name, pool.keys))}", True
        raise self.unclear(
            f"each mask holds one {self.word} beside background, and they are {self._listed(pool.keys)}",
            [
                _Reading("they are classes, of which an image shows one", self.classes_lines(pool.keys)),
                _Reading("they are all the same foreground", "task: binary"),
            ],
        )

    # Colours.

    def _of_colours(self) -> Decision:
        if self.card.masks.threshold is not None:
            raise _Unclear(f"{self._line('threshold')}the masks hold colours, which have no threshold. Remove it.")
        nearest = self._merge_edges()
        pool = self.pool = _Pool.of(self.masks)
        ignored = set(self.said("ignore") or ())
        named = {key for word in ("background", "foreground", "classes") for key in self.said(word) or ()}
        if not nearest:
            ignored |= self._strays(pool.without(ignored), named)
        main = pool.without(ignored)
        if (foreground := self.said("foreground")) is not None:
            return self._mapped(main, set(foreground), ignored, nearest, BINARY, "dataset.yaml says so", True)
        if (classes := self.said("classes")) is not None:
            for key in classes:
                if key not in main.keys:
                    raise _Unclear(
                        f"{self._line('classes')}no mask holds the colour {self.name(key)}; they hold "
                        f"{self._listed(main.keys)}. Correct classes."
                    )
            return self._mapped(main, classes, ignored, nearest, CLASSES, "dataset.yaml names classes", True)
        self._refuse_void_colour(main)
        background = self._background_colour(main)
        rest = main.without(background)
        task, why, certain = self._task(self._foreground((*background, *ignored)))
        if task == INSTANCES:
            numbers = [(key, 0) for key in background] + [(key, IGNORED) for key in ignored]
            numbers += [(float(key), int(key) + 1) for key in rest.keys] if nearest else []
            meaning = replace(self.meaning, numbers=tuple(sorted(numbers)), nearest=nearest, part_from=0, task=task)
            return Decision(meaning, self._rows(task, background, ignored, ""), why, certain)
        return self._mapped(main, tuple(float(key) for key in rest.keys), ignored, nearest, task, why, certain)

    def _refuse_void_colour(self, main: _Pool) -> None:
        """Ask about the colour that rims have in PASCAL VOC, which evaluation there leaves out."""
        if self.card.masks.ignore is not None or self.said("background") is not None or _VOID not in main.keys:
            return
        raise self.unclear(
            f"they hold {self.name(_VOID)}, the colour that PASCAL VOC gives to pixels to leave out (void)",
            [
                _Reading(f"pixels of {self.name(_VOID)} count nowhere", f"ignore: {self.yaml(_VOID)}"),
                _Reading(f"{self.name(_VOID)} is a colour like the others", "ignore: []"),
            ],
        )

    def _mapped(
        self, main: _Pool, keys: Iterable[float], ignored: set[float], nearest: bool, task: str, why: str, certain: bool
    ) -> Decision:
        """Number colours from 1, or take all of them for one foreground; others are background."""
        chosen = list(keys)
        each = [1] * len(chosen) if task == BINARY else range(1, len(chosen) + 1)
        ground = set(main.keys.tolist()) - set(chosen)
        numbers = [*zip(chosen, each, strict=True), *((key, IGNORED) for key in ignored), *((key, 0) for key in ground)]
        names = tuple(self.name(key).lstrip("#") for key in chosen) if task == CLASSES else ()
        meaning = replace(self.meaning, numbers=tuple(sorted(numbers)), rest=0, nearest=nearest, task=task, names=names)
        said = "dataset.yaml says so" if "dataset.yaml" in why else ""
        return Decision(
            meaning, self._rows(task, ground, ignored, said, dict(zip(chosen, each, strict=True))), why, certain
        )

    def _merge_edges(self) -> bool:
        """Replace mixtures at edges, and colours that compression has changed, by the main colours; say whether so."""
        pool = self.pool
        solid = pool.solid >= _HALF * pool.pixels
        if not self.lossy and (
            solid.all() or (~solid).sum() <= 0.2 * solid.sum() or pool.pixels[~solid].max() <= _STRAY_PX
        ):
            return False
        named = [key for word in ("background", "foreground", "ignore", "classes") for key in self.said(word) or ()]
        settled = bool(self.said("foreground") or self.said("classes"))
        settled = settled or (bool(self.said("background")) and self.card.task == BINARY)
        mains: list[float] = []
        clusters = _clusters(pool, named)
        for key, (pixels, at_edges) in sorted(clusters.items(), key=lambda item: -item[1][0]):
            if key in named or key == TRANSPARENT:
                mains.append(key)
                continue
            rare = pixels < max(9, 1e-3 * self.total / len(self.masks))
            light = len(mains) < 2 or pixels < _LIGHT * min(clusters[main][0] for main in mains)
            edge = at_edges > _HALF * pixels
            if rare or (edge and is_mixture(key, mains, _STRAYED if light else _MIXED)):
                continue
            if light and is_mixture(key, mains, _MIXED, _ENDS):
                continue
            if is_mixture(key, mains, _MIXED):
                if settled:
                    continue
                raise self._smeared_colours(pool, [*mains, key])
            mains.append(key)
        if len(mains) > _CONSTANT and not settled:
            raise self._smeared_colours(pool, mains)
        listed = np.array(sorted(mains[: len(named) + SAMPLED]))
        self.masks = [one.under(snap_to_nearest(one.keys, listed)) for one in self.masks]
        self.warnings.append(
            f"masks hold {len(pool.keys):,} colours or more, as after JPEG compression or smooth resizing; each pixel "
            f"counts as the nearest of {self._listed(listed)}."
        )
        return True

    def _smeared_colours(self, pool: _Pool, mains: Sequence[float]) -> _Unclear:
        ground = self.yaml(mains[0])
        words = f"{self.name(mains[0])} is background, and all other colours are one foreground"
        readings = [_Reading(words, f"background: {ground}\ntask: binary")]
        readings += [
            _Reading(f"{self.name(key)} is foreground, and all other colours are not", f"foreground: {self.yaml(key)}")
            for key in mains[1:4]
            if key != TRANSPARENT
        ]
        return self.unclear(
            f"{len(pool.keys):,} colours, as after JPEG compression or smooth resizing, and a mixture of two of the "
            "main ones may be a third. Export the masks again, without compression and with the nearest colour when "
            "resized",
            readings,
            mains,
        )

    def _background_colour(self, main: _Pool) -> set[float]:
        """Return the colours of background: what dataset.yaml says, else transparency, or what covers most."""
        if (said := self.said("background")) is not None:
            return set(said)
        if TRANSPARENT in main.keys and self._covers([TRANSPARENT], border_only=True):
            return {float(TRANSPARENT)}
        if len(main.keys) == 1:
            return {float(main.keys[0])} & {0.0, float(TRANSPARENT)}
        likely = float(main.keys[np.argmax(main.border)])
        usual = likely == 0 or (likely == 0xFFFFFF and 0 not in main.keys)
        rivals = {0, TRANSPARENT} & set(main.keys.tolist()) - {likely}
        if not rivals and self._covers([likely], border_only=usual):
            return {likely}
        guesses = [likely, *(key for key in (TRANSPARENT, 0, 0xFFFFFF) if key in main.keys and key != likely)]
        readings = [_Reading(f"{self.name(key)} is background", f"background: {self.yaml(key)}") for key in guesses]
        readings += [
            _Reading(f"{self.name(key)} is foreground, and nothing else", f"foreground: {self.yaml(key)}")
            for key in main.keys[main.keys != likely]
            if len(main.keys) <= 3 or (key in COLOURS.values() and not is_grey(int(key)))
        ]
        words = "there is no background, and each colour is a class"
        readings.append(_Reading(words, self.classes_lines(main.keys)))
        raise self.unclear(
            f"they hold the colours {self._listed(main.keys)}, and it may be that none is background"
            if len(guesses) == 1
            else f"they hold the colours {self._listed(main.keys)}, and more than one may be background",
            readings,
        )

    # The table.

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
        if len(rows) > _CONSTANT:
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


def _centre(keys: NDArray[Any]) -> float:
    return (float(keys[0]) + float(keys[-1])) / 2


def _some(names: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _palette(palettes: Sequence[MaskStats]) -> str:
    """Return how palette masks are read: by "index", by grey "level", or by "colour"."""
    if not palettes:
        return "index"
    seen: dict[int, int] = {}
    consistent = True
    for one in palettes:
        assert one.stored.table is not None
        colours = pack_rgb(one.stored.table)
        for index in one.keys:
            if index >= len(colours):
                raise DatasetError(f"{one.where}: a palette index is beyond the palette's {len(colours)} colours.")
            colour = int(colours[index])
            consistent = consistent and seen.setdefault(int(index), colour) == colour
    distinct = len(set(seen.values())) == len(seen)
    dark = all(not one.stored.table[0].any() for one in palettes if one.stored.table is not None)
    if distinct and consistent and all(is_grey(colour) for colour in seen.values()):
        return "level"
    if not consistent and all(is_grey(colour) for colour in seen.values()):
        return "level"
    votes = [one.pixels[one.keys == 0].sum() > _HALF * one.pixels.sum() for one in palettes]
    if consistent and (dark or (len(seen) > 2 and float(np.mean(votes)) >= _MOST)):
        return "index"
    return "colour"


def _in_keys(one: MaskStats, meaning: Meaning) -> MaskStats:
    """Return counts by the keys of a meaning: by colour, grey level or value."""
    table, keys = one.stored.table, one.keys
    if table is not None and meaning.colours:
        return one.under(pack_rgb(table)[keys].astype(np.int64))
    if table is not None and meaning.palette == "level":
        return one.under(table[:, 0][keys].astype(np.int64))
    if meaning.colours and not one.stored.colours:
        return replace(one, keys=grey_to_rgb(keys))
    return one


def _numbered(one: MaskStats) -> bool:
    """Return whether the values of a mask number objects: several of them, each of hardly more than one piece."""
    pieces = one.pieces[one.pieces >= 0]
    return len(one.keys) > 1 and int(pieces.sum()) <= _PER_VALUE * min(len(one.keys), SAMPLED)


def _are_levels(keys: NDArray[Any]) -> bool:
    """Return whether values are steps that the eye tells apart, such as 128 and 255."""
    return bool((np.diff(keys, prepend=0) >= _STEP).all())


def _clusters(pool: _Pool, named: Iterable[float]) -> dict[float, tuple[int, int]]:
    """Return the pixels, in all and at edges, of each colour with what compression has made of it."""
    clusters = dict.fromkeys(map(float, named), (0, 0))
    for i in np.argsort(-pool.pixels, kind="stable"):
        key = float(pool.keys[i])
        near = [other for other in clusters if distance(key, other) < _NEAR and TRANSPARENT not in (key, other)]
        if not near and key != TRANSPARENT:
            pure = next((float(rgb) for rgb in COLOURS.values() if distance(key, rgb) < _PURE), key)
            key = pure if pure not in clusters else key
        home = min(near, key=lambda other: distance(key, other)) if near else key
        pixels, at_edges = clusters.get(home, (0, 0))
        clusters[home] = pixels + int(pool.pixels[i]), at_edges + int(pool.pixels[i] - pool.flat[i])
    return clusters


def _middle(pool: _Pool) -> _Pool:
    """Return the values that are near neither the lowest nor the highest."""
    low, high = float(pool.keys[0]), float(pool.keys[-1])
    share = (pool.keys - low) / max(high - low, 1e-9)
    return pool.only((share > _MIDDLE[0]) & (share < _MIDDLE[1]))


def _has_plateaus(middle: _Pool, low: float, high: float) -> bool:
    """Return whether many values in the middle fill regions and lie near a few levels, as classes after compression."""
    share = (middle.keys - low) / (high - low)
    middle = middle.only((share > _PLATEAUS[0]) & (share < _PLATEAUS[1]))
    if middle.flat.sum() <= _PLATEAU * middle.pixels.sum():
        return False
    steps = np.minimum((middle.keys - low) / (high - low) * _STEPS, _STEPS - 1).astype(int)
    counts = np.sort(np.bincount(steps, middle.flat, _STEPS))[::-1]
    return bool(counts[: _STEPS // 4].sum() > _MOST * counts.sum())
