"""Recognise an image that was seen before, also after another encoding, size or lighting."""

from collections.abc import Iterable, Mapping
from hashlib import shake_256

import numpy as np
from numpy.typing import NDArray

from evoseg.data.survey import THUMBNAIL

BITS = 256
SAME = 16
"""Bits in which two pictures of one scene differ at most: about a correlation of 0.98 of their thumbnails, where
`evoseg.data.splits` begins to call images near-duplicates. Unlike images differ in some 50 to 130."""


def _planes() -> NDArray[np.float32]:
    """Return hyperplanes that no version of a library can change: signs that are bits of a hash."""
    signs = np.unpackbits(np.frombuffer(shake_256(b"evoseg hash 1").digest(BITS * THUMBNAIL**2 // 8), np.uint8))
    return signs.reshape(BITS, THUMBNAIL**2).astype(np.float32) * 2 - 1


_PLANES = _planes()


def image_hash(thumbnail: NDArray[np.float32]) -> str | None:
    """Return the hash of an image by its thumbnail (M. Charikar, STOC 2002): near pictures differ in few bits.

    Parameters
    ----------
    thumbnail : float32 array of shape (THUMBNAIL ** 2,)
        As `evoseg.data.survey.thumbnail` makes it.

    Returns
    -------
    str of BITS / 4 hexadecimal digits, or None for an image without structure, which could be any
    """
    if not thumbnail.any():
        return None
    return np.packbits(_PLANES @ thumbnail > 0).tobytes().hex()


def first_seen(test: Mapping[str, str | None], seen: Iterable[str]) -> str | None:
    """Return the first of some images, by stem, that is among the pictures that a task has seen; None if none is."""
    known = [bytes.fromhex(digits) for digits in seen]
    if not known:
        return None
    bits = np.unpackbits(np.frombuffer(b"".join(known), np.uint8).reshape(len(known), -1), axis=1)
    for stem, digits in test.items():
        if digits is not None:
            other = np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8))
            if int((bits != other).sum(axis=1).min()) <= SAME:
                return stem
    return None
