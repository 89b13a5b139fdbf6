# Expected: ok.
import numpy as np

def operator(mask: Mask) -> Mask:
    """Skeleton by Zhang and Suen's thinning."""
    image = np.pad(mask, 1).astype(np.uint8)
    while True:
        removed = 0
        for first in (True, False):
            p = [np.roll(image, shift, (0, 1)) for shift in ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))]
            neighbours = sum(p)
            turns = sum((a == 0) & (b == 1) for a, b in zip(p, p[1:] + p[:1]))
            a, b = (p[0] * p[2] * p[4], p[2] * p[4] * p[6]) if first else (p[0] * p[2] * p[6], p[0] * p[4] * p[6])
            gone = (image == 1) & (neighbours >= 2) & (neighbours <= 6) & (turns == 1) & (a == 0) & (b == 0)
            removed += int(gone.sum())
            image[gone] = 0
        if not removed:
            return image[1:-1, 1:-1] > 0
