"""Decide what the values of masks mean: levels to divide, numbers of objects, or classes."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.notes import name_some
from evoseg.datasets.maskchoice import CONSTANT, HALF, MOST, STRAY_PX, Choice, Pool, Reading, Unclear
from evoseg.datasets.maskstats import WRAPPED, MaskStats
from evoseg.datasets.meaning import BINARY, CLASSES, IGNORED, INSTANCES, Decision, Meaning, Row
from evoseg.datasets.reading import HIGHEST_CLASS

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
_LOW = 0.25
"""Share of the range below which the highest value of a mask can hardly mean what it means in the others."""
_CONFIDENT = 0.9
"""What the highest probability of a map must reach for 0.5 to be its threshold."""
_THIN = 0.1
"""Share of a value's pixels that lie between lower and higher ones, from which smooth resizing may have made some."""
_FEW_THIN = 3
"""Number of such values from which numbers of objects were resized smoothly; classes have a thin layer or two."""
_FEW_DOUBLES = 5
"""Numbers in pieces far apart from which the numbers of an 8-bit mask have wrapped."""


class LabelChoice(Choice):
    """Label images of a layout that says what 0 is."""

    def _check_named(self) -> None:
        """Leave out what `dataset.yaml` names: the layout says what its values mean."""

    def _decide(self) -> Decision:
        ignored = [float(key) for key in self.pool.keys if key < 0]
        task, why, certain = self._task(self._foreground((0.0, *ignored)))
        rows = self._rows(task, {0.0}, set(ignored), "the layout says so")
        return Decision(replace(self.meaning, task=task), rows, why, certain)


class ValueChoice(Choice):
    """Masks of values, and the rules that decide what these mean."""

    def _decide(self) -> Decision:
        said = self.card.masks
        ignored = set(self.said("ignore") or ())
        named = {key for word in ("background", "foreground") for key in self.said(word) or ()}
        whole = all(one.keys.dtype.kind != "f" for one in self.masks)
        if said.ignore is None and whole and 0 in self.pool.keys:
            ignored |= {float(key) for key in self.pool.keys if key < 0 and key not in named}
        main = self.pool.without(ignored)
        if not len(main.keys):
            return Decision(Meaning())
        if said.threshold is not None:
            self._check_threshold(said.threshold)
            return self._thresholded(said.threshold, ignored, "dataset.yaml says so")
        self._refuse_white_first(main)
        kind = self._kind(main, whole)
        if kind == "levels":
            return self._levels(main, whole, ignored)
        if kind == "mixed":
            plateaus = main.only((main.solid > HALF * main.pixels) & (main.pixels > 0.002 * self.total))
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

    def _refuse_white_first(self, main: Pool) -> None:
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
            <= HALF * one.border.sum()
        ]
        if low == high or len(doubtful) <= (1 - MOST) * len(inverting):
            return
        raise self.unclear(
            f"{name_some(doubtful)} store white as 0 and show it on most of the border, so programs disagree about "
            "which side is foreground",
            [
                Reading("what is shown dark is foreground", f"foreground: {self.name(low)}"),
                Reading("what is shown white is foreground", f"foreground: {self.name(high)}"),
            ],
        )

    def _kind(self, main: Pool, whole: bool) -> str:
        """Return "solid" for values that fill regions, "levels" for soft edges, "mixed" for regions with soft edges."""
        if len(main.keys) <= 2:
            return "solid"
        low, high = float(main.keys[0]), float(main.keys[-1])
        inner = main.only((main.keys > low) & (main.keys < high))
        middle = _middle(main)
        if not whole and len(main.keys) > CONSTANT:
            return "mixed" if _has_plateaus(middle, low, high) else "levels"
        marked = max(1, int(main.pixels[1:].sum()))
        if len(middle.keys) and middle.pixels.sum() >= 0.01 * marked:
            soft = middle.between.sum() > HALF * middle.pixels.sum()
            if soft and len(middle.keys) == 1 and whole and not self.lossy:
                return "solid"  # a rim of one value, which no smoothing leaves
            by_value = (middle.between > HALF * middle.pixels).mean()
            if soft and _has_plateaus(middle, low, high):
                return "mixed"
        else:
            soft = self.lossy or (len(inner.keys) > 2 and inner.solid.sum() < HALF * inner.pixels.sum())
            by_value = float((inner.solid < HALF * inner.pixels).mean())
        if soft:
            return "levels"
        if by_value > HALF and len(main.keys) > 4:
            return "mixed"
        return "mixed" if self.lossy else "solid"

    def _levels(self, main: Pool, whole: bool, ignored: set[float], doubtful: bool = False) -> Decision:
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
                [Reading(f"values from {at:g} on are foreground (or another threshold)", f"threshold: {at:g}")],
                (),
            )
        if not probable:
            self._refuse_pictures(low, high)
            self._refuse_other_scales(low, high, half)
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
            raise Unclear(
                f"{name_some(spread)}: the values are spread like those of an image, and unlike those of the other "
                "masks. Replace the file by a mask, or write `threshold:` into dataset.yaml to choose where foreground "
                "begins."
            )

    def _refuse_other_scales(self, low: float, high: float, half: float) -> None:
        """Refuse masks whose values all lie far below the threshold, such as 0 and 1 among masks of 0 to 255."""
        lower = []
        for one in self.masks:
            own = one.only((one.keys > low) & (one.keys <= high))
            if not len(own.keys) or own.keys[-1] >= low + _LOW * (high - low):
                continue
            # An object beyond the border of a tile, or noise, leaves low values, too: a rim, slopes or specks.
            top = own.only(own.keys >= (low + own.keys[-1]) / 2)
            inside = (top.flat - top.border).sum() > HALF * top.pixels.sum()
            if inside and (top.pixels > STRAY_PX * np.maximum(top.pieces, 1)).any():
                lower.append(self._shown(one))
        if lower:
            raise Unclear(
                f"{name_some(lower)}: all values are far below those of other masks, which reach {high:g} and are "
                f"divided at {half:g}, so nothing here would be foreground. Write foreground with the same value "
                "in all masks, or `threshold:` into dataset.yaml to choose where foreground begins."
            )

    def _check_threshold(self, threshold: float) -> None:
        if not self.pool.keys[0] < threshold <= self.pool.keys[-1]:
            raise Unclear(
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

    def _smeared(self, main: Pool, plateaus: Pool) -> Unclear:
        others = len(main.keys) - len(plateaus.keys)
        what = (
            f"{self._listed(plateaus.keys)} fill regions"
            + (f", and {others:,} other values lie at their edges" if others else "")
            + ", as after JPEG compression or smooth resizing; a mixture of two values may be a third. "
            "Export the masks again, without compression and with the nearest value when resized"
        )
        half = float(main.keys[-1]) / 2
        reading = Reading(f"all regions from {half:g} on are one foreground", f"threshold: {half:g}")
        return self.unclear(what, [reading], plateaus.keys)

    def _few_floats(self, main: Pool, ignored: set[float]) -> Decision:
        """Take two values as ground and foreground; ask about more."""
        if len(main.keys) <= 2 and not ignored and 0 in main.keys:
            task, why, certain = self._task(self._foreground((0.0,)))
            return Decision(self.meaning, self._rows(task, {0.0}, set(), ""), why, certain)
        readings = [
            Reading(f"{self.name(key)} and more is foreground", f"threshold: {self.name(key)}")
            for key in main.keys[1:4]
        ]
        raise self.unclear(f"they hold {self._listed(main.keys)}, which are not whole numbers", readings)

    def _background_value(self, main: Pool) -> set[float]:
        """Return the values of background: what dataset.yaml says, else 0."""
        if (said := self.said("background")) is not None:
            return set(said)
        if 0 in main.keys or self.card.classes or len(main.keys) < 2:
            return {0.0}
        likely = self._dominant(main)
        constant = len(main.keys) <= CONSTANT and bool((main.masks >= len(self.masks) / 2).all())
        if likely is None and not constant and self._is_numbered(self._foreground(())):
            return {0.0}
        others = [float(key) for key in main.keys if key != likely]
        readings = []
        numbered = self._is_numbered(self._foreground(() if likely is None else (likely,)))
        if likely is not None:
            words = f"{self.name(likely)}, which covers most and touches the border, is background"
            lines = f"background: {self.yaml(likely)}"
            if 1 < len(others) <= CONSTANT and not numbered:
                lines += "\n" + self.classes_lines(others)
            readings.append(Reading(words, lines))
        for key in main.keys[:1] if likely is None else others if len(others) == 1 else []:
            readings.append(Reading(f"{self.name(key)} is background", f"background: {self.yaml(key)}"))
        if main.keys[0] < 0:
            words = f"{self._listed(main.keys[main.keys < 0])} marks pixels to leave out"
            marks = ", ".join(self.yaml(key) for key in main.keys[main.keys < 0])
            readings.append(Reading(words, f"ignore: [{marks}]\nbackground: []"))
        else:
            everything = "background: []" if numbered else self.classes_lines(main.keys)
            kind = "an object" if numbered else "a class"
            readings.append(Reading(f"there is no background, and each value is {kind}", everything))
        raise self.unclear(f"no mask holds 0; they hold {self._listed(main.keys)}", readings)

    def _refuse_void(self, main: Pool, background: set[float]) -> None:
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
                    Reading(f"pixels of {self.name(top)} are left out", f"ignore: {self.yaml(top)}"),
                    Reading(f"{self.name(top)} is foreground, a class or an object like the others", each),
                    Reading(f"{self.name(top)} is background", f"background: [0, {self.yaml(top)}]"),
                ],
            )
        for i, key in enumerate(rest.keys):
            rim = rest.between[i] > HALF * rest.pixels[i] and len(rest.keys) == 2 and key != top
            if rim and not named:
                raise self.unclear(
                    f"{self.name(key)} lies almost only between {self.name(main.keys[0])} and {self.name(top)}, as a "
                    "rim",
                    [
                        Reading("the rim is unsure and left out", f"ignore: {self.yaml(key)}"),
                        Reading("the rim belongs to the objects", f"foreground: [{self.yaml(key)}, {self.yaml(top)}]"),
                        Reading("the rim is background", f"foreground: {self.yaml(top)}"),
                        Reading("it is a class of its own", self.classes_lines(rest.keys)),
                    ],
                )

    def _explicit(self, foreground: set[float], ignored: set[float], main: Pool) -> Decision:
        """Take the values that dataset.yaml names as foreground, and all others as background."""
        numbers = [(key, 1) for key in foreground] + [(key, IGNORED) for key in ignored]
        meaning = replace(self.meaning, numbers=tuple(sorted(numbers)), rest=0)
        ground = set(main.keys.tolist()) - foreground
        rows = self._rows(BINARY, ground, ignored, "dataset.yaml says so")
        return Decision(meaning, rows, "dataset.yaml says what is foreground")

    def _labels(self, main: Pool, background: set[float], ignored: set[float]) -> Decision:
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
                shares[self._shown(one)] = border if (area > HALF) == (border > HALF) else HALF
        turned = [mask for mask, share in shares.items() if share > MOST]
        if turned and all(share > MOST or share < 1 - MOST for share in shares.values()):
            if len(turned) == len(shares):
                return
            self.warnings.append(
                f"{name_some(turned)}: foreground covers most of the mask and of its border, but little of "
                "the border in all other masks. If some masks are inverted, invert them, so that all mean the same."
            )


def _centre(keys: NDArray[Any]) -> float:
    return (float(keys[0]) + float(keys[-1])) / 2


def _middle(pool: Pool) -> Pool:
    """Return the values that are near neither the lowest nor the highest."""
    low, high = float(pool.keys[0]), float(pool.keys[-1])
    share = (pool.keys - low) / max(high - low, 1e-9)
    return pool.only((share > _MIDDLE[0]) & (share < _MIDDLE[1]))


def _has_plateaus(middle: Pool, low: float, high: float) -> bool:
    """Return whether many values in the middle fill regions and lie near a few levels, as classes after compression."""
    share = (middle.keys - low) / (high - low)
    middle = middle.only((share > _PLATEAUS[0]) & (share < _PLATEAUS[1]))
    if middle.flat.sum() <= _PLATEAU * middle.pixels.sum():
        return False
    steps = np.minimum((middle.keys - low) / (high - low) * _STEPS, _STEPS - 1).astype(int)
    counts = np.sort(np.bincount(steps, middle.flat, _STEPS))[::-1]
    return bool(counts[: _STEPS // 4].sum() > MOST * counts.sum())
