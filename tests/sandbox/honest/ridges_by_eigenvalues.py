# Expected: ok.
import numpy as np
from scipy import ndimage as ndi
from functools import partial

_SCALES = (1.0, 2.0)

def _hessian(x, sigma):
    blur = partial(ndi.gaussian_filter, x, sigma)
    return blur(order=(2, 0)), blur(order=(1, 1)), blur(order=(0, 2))

def operator(plane) -> Gray:
    """Dark ridges at two scales, by the larger eigenvalue of the Hessian."""
    best = np.zeros(plane.shape)
    for sigma in _SCALES:
        a, b, c = (sigma**2 * part for part in _hessian(plane.astype(float), sigma))
        _, root = 0, np.sqrt(((a - c) / 2) ** 2 + b**2)
        with np.errstate(all="ignore"):
            best = np.maximum(best, (a + c) / 2 + root)
    return np.clip(best / 64, 0, 1)
