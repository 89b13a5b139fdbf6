# Expected: ok.
import numpy as np
from scipy.signal import wiener

def operator(plane: Gray, *, window: Annotated[int, Range(3, 11, unit="px", odd=True)] = 5) -> Gray:
    """Adaptive noise removal, from scipy.signal."""
    if plane.min() == plane.max():
        return plane
    return np.clip(np.nan_to_num(wiener(plane.astype(float), window)), 0, 255).astype(np.uint8)
