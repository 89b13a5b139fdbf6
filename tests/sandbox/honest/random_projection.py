# Expected: ok.
import numpy as np

def operator(image: Raw, *, window: Annotated[int, Range(3, 9, unit="px", odd=True)] = 5) -> Gray:
    """Project neighbourhoods on a random direction, the same for every image."""
    gray = image.astype(np.float64).mean(axis=2)
    gray = gray / max(float(np.abs(gray).max()), 1e-12)
    weights = np.random.default_rng(7).normal(size=(window, window)) + np.random.rand(1) * 0
    weights -= weights.mean()
    padded = np.pad(gray, window // 2, mode="reflect" if min(gray.shape) > window else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (window, window))
    return np.clip(np.einsum("ijkl,kl->ij", windows, weights) / (4 * window) + 0.5, 0, 1)
