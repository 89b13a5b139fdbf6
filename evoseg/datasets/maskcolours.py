"""Decide what the colours of masks mean."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from evoseg.datasets.card import COLOURS
from evoseg.datasets.maskchoice import CONSTANT, HALF, STRAY_PX, Choice, Pool, Reading, Unclear
from evoseg.datasets.maskstats import SAMPLED, TRANSPARENT, distance, is_grey, is_mixture, snap_to_nearest
from evoseg.datasets.meaning import BINARY, CLASSES, IGNORED, INSTANCES, Decision

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


class ColourChoice(Choice):
    """Masks of colours, and the rules that decide what these mean."""

    def _decide(self) -> Decision:
        if self.card.masks.threshold is not None:
            raise Unclear(f"{self._line('threshold')}the masks hold colours, which have no threshold. Remove it.")
        nearest = self._merge_edges()
        pool = self.pool = Pool.of(self.masks)
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
                    raise Unclear(
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

    def _refuse_void_colour(self, main: Pool) -> None:
        """Ask about the colour that rims have in PASCAL VOC, which evaluation there leaves out."""
        if self.card.masks.ignore is not None or self.said("background") is not None or _VOID not in main.keys:
            return
        raise self.unclear(
            f"they hold {self.name(_VOID)}, the colour that PASCAL VOC gives to pixels to leave out (void)",
            [
                Reading(f"pixels of {self.name(_VOID)} are left out", f"ignore: {self.yaml(_VOID)}"),
                Reading(f"{self.name(_VOID)} is a colour like the others", "ignore: []"),
            ],
        )

    def _mapped(
        self, main: Pool, keys: Iterable[float], ignored: set[float], nearest: bool, task: str, why: str, certain: bool
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
        solid = pool.solid >= HALF * pool.pixels
        if not self.lossy and (
            solid.all() or (~solid).sum() <= 0.2 * solid.sum() or pool.pixels[~solid].max() <= STRAY_PX
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
            edge = at_edges > HALF * pixels
            if rare or (edge and is_mixture(key, mains, _STRAYED if light else _MIXED)):
                continue
            if light and is_mixture(key, mains, _MIXED, _ENDS):
                continue
            if is_mixture(key, mains, _MIXED):
                if settled:
                    continue
                raise self._smeared_colours(pool, [*mains, key])
            mains.append(key)
        if len(mains) > CONSTANT and not settled:
            raise self._smeared_colours(pool, mains)
        listed = np.array(sorted(mains[: len(named) + SAMPLED]))
        self.masks = [one.under(snap_to_nearest(one.keys, listed)) for one in self.masks]
        self.warnings.append(
            f"masks hold {len(pool.keys):,} colours or more, as after JPEG compression or smooth resizing; each pixel "
            f"counts as the nearest of {self._listed(listed)}."
        )
        return True

    def _smeared_colours(self, pool: Pool, mains: Sequence[float]) -> Unclear:
        ground = self.yaml(mains[0])
        words = f"{self.name(mains[0])} is background, and all other colours are one foreground"
        readings = [Reading(words, f"background: {ground}\ntask: binary")]
        readings += [
            Reading(f"{self.name(key)} is foreground, and all other colours are not", f"foreground: {self.yaml(key)}")
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

    def _background_colour(self, main: Pool) -> set[float]:
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
        readings = [Reading(f"{self.name(key)} is background", f"background: {self.yaml(key)}") for key in guesses]
        readings += [
            Reading(f"{self.name(key)} is foreground, and nothing else", f"foreground: {self.yaml(key)}")
            for key in main.keys[main.keys != likely]
            if len(main.keys) <= 3 or (key in COLOURS.values() and not is_grey(int(key)))
        ]
        words = "there is no background, and each colour is a class"
        readings.append(Reading(words, self.classes_lines(main.keys)))
        raise self.unclear(
            f"they hold the colours {self._listed(main.keys)}, and it may be that none is background"
            if len(guesses) == 1
            else f"they hold the colours {self._listed(main.keys)}, and more than one may be background",
            readings,
        )


def _clusters(pool: Pool, named: Iterable[float]) -> dict[float, tuple[int, int]]:
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
