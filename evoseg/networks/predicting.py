"""What torch says of whole images: in tiles, so that memory is bounded, and equal to what the exported file says."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from evoseg.core.kinds import Raw
from evoseg.networks.architecture import Member, Standard
from evoseg.networks.cache import ALIGNMENT, to_tensor
from evoseg.operators.network import prepare, restore

_TILE = 768
"""Side of what is kept of a tile, px at working resolution; a multiple of 16."""


def predict(members: Sequence[Member], standard: Standard, reduction: int, image: Raw) -> NDArray[np.uint8]:
    """Return the planes of an image by the mean of some networks, as `write_ensemble` writes it.

    Returns
    -------
    uint8 array of shape (K, M, N)
    """
    channels, matched = len(standard.mean), standard.matched(image)
    rows, cols = image.shape[:2]
    side = _TILE * reduction
    # Enlarging looks a pixel of the network's further than the network itself.
    margin = -(-(max(member.reach() for member in members) + 1) // ALIGNMENT) * ALIGNMENT * reduction
    planes: NDArray[np.uint8] | None = None
    for top in range(0, rows, side):
        for left in range(0, cols, side):
            above, before = max(0, top - margin), max(0, left - margin)
            seen = image[above : top + side + margin, before : left + side + margin]
            given = _mean(members, standard.apply(prepare(seen, channels, reduction, matched)))
            found = restore(given, reduction, seen.shape[:2])[:, top - above :, left - before :]
            if planes is None:
                planes = np.empty((len(found), rows, cols), np.uint8)
            kept = planes[:, top : top + side, left : left + side]
            kept[...] = found[:, : kept.shape[1], : kept.shape[2]]
    assert planes is not None
    return planes


def _mean(members: Sequence[Member], image: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        x = to_tensor(image)
        logits = [member.decoder(x, member.encoder(x)) for member in members]
        return np.asarray(torch.sigmoid(torch.cat(logits).mean(0)).numpy(), np.float32)
