"""Decide what the values or colours of a dataset's masks mean: once, over all masks together.

Only what is clear is decided; else there is one message with the readings, and the lines of `dataset.yaml` that choose
one.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError
from evoseg.datasets.card import Colour, DatasetCard, MaskKeys
from evoseg.datasets.io.files import decode_mask
from evoseg.datasets.io.formats import read_bytes
from evoseg.datasets.maskchoice import HALF, MOST, Choice, Unclear
from evoseg.datasets.maskcolours import ColourChoice
from evoseg.datasets.maskstats import MaskStats, grey_to_rgb, is_grey, mask_stats, pack_rgb
from evoseg.datasets.maskvalues import LabelChoice, ValueChoice
from evoseg.datasets.meaning import Decision, Meaning


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
    if not stats:
        return Decision(Meaning())
    try:
        return _choice(stats, card, where, remedy).decision()
    except Unclear as unclear:
        return Decision(Meaning(), unclear=str(unclear))


def _choice(stats: Sequence[MaskStats], card: DatasetCard, where: str, remedy: str) -> Choice:
    """Return the rules for colours or for values, whichever the masks hold."""
    undeclared = [one for one in stats if not one.stored.declared]
    if not undeclared:
        return LabelChoice(stats, Meaning(), card, where, remedy)
    palette = _palette([one for one in undeclared if one.stored.table is not None])
    colours = palette == "colour" or any(one.stored.colours for one in undeclared) or _names_colours(card.masks)
    meaning = Meaning(colours=colours, palette="level" if palette == "level" else "index")
    masks = [_in_keys(one, meaning) for one in undeclared]
    return (ColourChoice if colours else ValueChoice)(masks, meaning, card, where, remedy)


def _names_colours(said: MaskKeys) -> bool:
    """Return whether `dataset.yaml` names a colour that is no shade of grey."""
    named = [value for key in ("background", "foreground", "ignore", "classes") for value in getattr(said, key) or ()]
    return any(isinstance(value, Colour) and not is_grey(value.rgb) for value in named)


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
    votes = [one.pixels[one.keys == 0].sum() > HALF * one.pixels.sum() for one in palettes]
    if consistent and (dark or (len(seen) > 2 and float(np.mean(votes)) >= MOST)):
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
