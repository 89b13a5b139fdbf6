"""Pair masks with images by their names: equal names, or one constant rule for all.

A rule takes a constant beginning and end off the masks' names, off the images' names, or off both, and compares what
remains, perhaps without regard to case or leading zeros. It holds only if every mask gets an image of its own. Names
are cut only between words and numbers, so that 1 is never taken for 11.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product

from evoseg.core.notes import first_few

TRUTH_WORDS = frozenset(
    ("mask", "masks", "msk", "label", "labels", "lbl", "labelled", "labeled", "seg", "segm", "segmentation", "gt")
    + ("segmented", "segmentations", "truth", "groundtruth", "ground", "anno", "annos", "annotation", "annotations")
    + ("annotated", "manual", "target", "targets", "binary", "outline", "outlines", "matte", "roi", "expert")
)
"""Words by which people call masks."""
IMAGE_WORDS = frozenset(
    ("img", "imgs", "image", "images", "im", "photo", "picture", "pic", "frame", "raw", "input", "orig", "original")
    + ("training", "train", "test", "testing", "val", "scan", "slice", "tile", "crop", "rgb", "gray", "grey", "sat")
)
"""Words by which people call images."""

_TOKEN = re.compile(r"\d+|[^\W\d_]+|[\W_]")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_MOST_CUTS = 16
"""Places at one end of a name where it may be cut."""
_SHARE = 0.1
"""Share of the names from which on a pattern is worth naming."""
_SOME = 3
"""Masks from which on a rule is no accident, even if there are far more images."""


@dataclass(frozen=True)
class Rule:
    """What is removed from names before they are compared; "" is nothing.

    Attributes
    ----------
    mask, image : tuple of (str, str)
        What masks and images begin and end with.
    alike : str
        What is not told apart, for a message.
    """

    mask: tuple[str, str] = ("", "")
    image: tuple[str, str] = ("", "")
    alike: str = ""

    def said(self, masks: str = "masks") -> str:
        """Return the rule in words, with what the masks are."""
        mask, image = (f"{start}NAME{end}" for start, end in (self.mask, self.image))
        said = f"{masks} are called {mask}" if image == "NAME" else f"images are called {image}, {masks} {mask}"
        if mask == image:
            said = f"{masks} are named like their images"
        return f"{said}; {self.alike} are not told apart" if self.alike else said

    @property
    def taken(self) -> tuple[int, int]:
        """Letters and digits that are taken off at all ends, and how few other characters."""
        text = "".join((*self.mask, *self.image))
        n = sum(map(str.isalnum, text))
        return n, n - len(text)


@dataclass(frozen=True)
class Pairs:
    """Images by mask, and the rule by which they pair; None if names are equal. Without pairs, `image_of` is empty."""

    image_of: dict[str, str]
    rule: Rule | None = None


def pair_names(masks: Collection[str], images: Collection[str]) -> Pairs:
    """Pair every mask with an image of its own, by equal names or by one rule; else return no pairs.

    Parameters
    ----------
    masks, images : collection of str
        Names without their endings; each occurs once.
    """
    known = set(images)
    if all(mask in known for mask in masks):
        return Pairs({mask: mask for mask in masks})
    if len(masks) > len(known):
        return Pairs({})
    for alike, fold in _FOLDS.items():
        by_mask, by_image = {fold(mask): mask for mask in masks}, {fold(image): image for image in images}
        if len(by_mask) == len(masks) and len(by_image) == len(known) and (rule := _rule(by_mask, by_image)):
            pairs = {by_mask[mask]: by_image[image] for mask, image in _by(rule, by_mask, by_image).items()}
            return Pairs(pairs, Rule(rule.mask, rule.image, alike))
    return Pairs({})


def _no_zeros(name: str) -> str:
    return re.sub(r"\d+", lambda number: number[0].lstrip("0") or "0", name)


_FOLDS: dict[str, Callable[[str], str]] = {
    "": lambda name: name,
    "upper and lower case": str.casefold,
    "numbers with and without leading zeros": _no_zeros,
    "upper and lower case, and numbers with and without leading zeros,": lambda name: _no_zeros(name.casefold()),
}


def _rule(masks: Collection[str], images: Collection[str]) -> Rule | None:
    """Return the rule that takes least off; None if there is none, or two of them pair differently."""
    of_masks, of_images, nothing = list(_ends(masks)), list(_ends(images)), [("", "")]
    # Whole names of one side first: they leave the least to chance.
    for ends in (product(of_masks, nothing), product(nothing, of_images), product(of_masks, of_images)):
        if rules := [rule for rule in (Rule(*pair) for pair in ends) if _holds(rule, masks, images)]:
            best = min(rules, key=lambda rule: rule.taken)
            rivals = [rule for rule in rules if rule.taken[0] == best.taken[0]]
            pairing = _by(best, masks, images)
            return best if all(_by(rival, masks, images) == pairing for rival in rivals) else None
    return None


def _ends(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the beginnings and ends that all names share, cut between words and numbers, with something between."""
    some, shortest = list(names), min(map(len, names))
    starts = _starts(some)
    ends = [start[::-1] for start in _starts([name[::-1] for name in some], backwards=True)]
    return ((start, end) for start in starts for end in ends if len(start) + len(end) < shortest)


def _starts(names: Sequence[str], *, backwards: bool = False) -> list[str]:
    first, last = min(names), max(names)
    shared = first[: next((i for i, pair in enumerate(zip(first, last, strict=False)) if len({*pair}) > 1), len(first))]
    cuts = [at for at in _cuts(names[0], backwards) if at <= len(shared)][:_MOST_CUTS]
    # Where names begin to differ, the cut must be one in each of them.
    return [shared[:at] for at in cuts if at < len(shared) or all(at in _cuts(name, backwards) for name in names)]


def _cuts(name: str, backwards: bool) -> list[int]:
    """Return where a name may be cut: between words, numbers and single other characters."""
    forwards = name[::-1] if backwards else name
    cuts = {found.start() for found in _TOKEN.finditer(forwards)} | {f.start() for f in _CAMEL.finditer(forwards)}
    return sorted(len(name) - at for at in cuts | {len(name)}) if backwards else sorted(cuts | {len(name)})


def _by(rule: Rule, masks: Collection[str], images: Collection[str]) -> dict[str, str]:
    """Return the image of each mask; of a mask that has none, nothing."""
    (start, end), (before, after) = rule.mask, rule.image
    found = {mask: f"{before}{mask[len(start) : len(mask) - len(end)]}{after}" for mask in masks}
    return {mask: image for mask, image in found.items() if image in images}


def _holds(rule: Rule, masks: Collection[str], images: Collection[str]) -> bool:
    """Return whether a rule gives every mask an image, and hardly by accident."""
    (start, end), (before, after) = rule.mask, rule.image
    first = next(iter(masks))
    if f"{before}{first[len(start) : len(first) - len(end)]}{after}" not in images:
        return False
    if any(affix.strip("-_. ") in images for affix in (start, end) if affix):
        return False  # it may be that image's
    if any(a != b and a.casefold() == b.casefold() for a, b in zip(rule.mask, rule.image, strict=True)):
        return False  # names that differ in case have a rule of their own
    on_masks, on_images = Counter(_words(start + " " + end)), Counter(_words(before + " " + after))
    lost, added = set(on_images - on_masks), set(on_masks - on_images)
    numbers = {word for word in lost | added if word.isdigit()}
    strange_lost, strange_added = lost - IMAGE_WORDS - numbers, added - TRUTH_WORDS - IMAGE_WORDS - numbers
    if not lost | added and _words(start) != _words(before):
        return False  # 1_2 is not 2_1
    if lost and added:
        # Plate 1 is not plate 2, row A not row B, and one condition not the other.
        if (numbers & lost and numbers & added) or (strange_lost and strange_added):
            return False
        if not (added & TRUTH_WORDS or lost & IMAGE_WORDS):
            return False
    if len(masks) < len(images):
        if lost | added == numbers != set():
            return False  # 5_1 may be a part of image 5
        if lost and len(masks) < _SOME and (strange_lost or strange_added):
            return False
    return len(_by(rule, masks, images)) == len(masks)


def _words(text: str) -> list[str]:
    return [word for word in _TOKEN.findall(_CAMEL.sub(" ", text).casefold()) if word.isalnum()]


def pair_by_mask_word(names: Sequence[str]) -> Pairs:
    """Pair masks and images that lie together: all masks begin, or all end, with one word for masks.

    Returns no pairs if there is no such word, or if two of them would do.
    """
    by_word: dict[tuple[str, int], list[str]] = {}
    for name in names:
        words = _words(name)
        if len(words) > 2 and words[-1].isdigit():
            words = [*words[:-2], words[-2] + words[-1]] if words[-2] in TRUTH_WORDS else words  # manual1
        if len(words) > 1:
            for at in (0, -1):
                if words[at].rstrip("0123456789") in TRUTH_WORDS:
                    by_word.setdefault((words[at], at), []).append(name)
    found = []
    for masks in by_word.values():
        taken = set(masks)
        images = [name for name in names if name not in taken]
        if images and (pairs := pair_names(masks, images)).image_of:
            found.append(pairs)
    return found[0] if len(found) == 1 else Pairs({})


def why_not(masks: Sequence[str], images: Sequence[str], word: str = "masks") -> str:
    """Say how names are made, after `pair_names` has found no pairs: by pattern if there is one, else by examples."""
    known = set(images)
    patterns: Counter[str] = Counter()
    for mask in masks:
        patterns.update(_patterns(mask, known))
    common = [f"{n} are called {said}" for said, n in patterns.most_common(3) if n > max(1, _SHARE * len(masks))]
    lone = [mask for mask in masks if not _patterns(mask, known)]
    if common:
        rest = f", and {len(lone)} fit no image ({first_few(lone)})" if lone else ""
        return f"of {len(masks)} {word}, {', '.join(common)}{rest}"
    return f"{word} are called {first_few(masks)}, images {first_few(images)}"


def _patterns(mask: str, images: Collection[str]) -> set[str]:
    """Return what a mask's name adds to those of the images with the longest names in it."""
    cuts = _cuts(mask, backwards=False)[:_MOST_CUTS]
    inner = [(a, b) for a in cuts for b in cuts if a < b and mask[a:b] in images]
    longest = max((b - a for a, b in inner), default=0)
    return {f"{mask[:a]}NAME{mask[b:]}" for a, b in inner if b - a == longest}


def nearest_name(name: str, names: Collection[str]) -> str | None:
    """Return the name that is most like another, if one is much like it."""
    folded = {other.casefold(): other for other in names}
    near = get_close_matches(name.casefold(), folded, n=1, cutoff=0.7)
    return folded[near[0]] if near else None
