# Expected: ok.
import numpy as np

def operator(plane: Gray, *, low: Annotated[float, Range(0.0, 0.2)] = 0.02, high: Annotated[float, Range(0.05, 0.5)] = 0.2) -> Gray:
    """Keep a band of frequencies, in cycles per pixel, and show it around grey."""
    spectrum = np.fft.rfft2(plane.astype(np.float64))
    rows = np.fft.fftfreq(plane.shape[0])[:, None]
    cols = np.fft.rfftfreq(plane.shape[1])[None]
    frequency = np.hypot(rows, cols)
    spectrum *= (frequency >= min(low, high)) & (frequency <= max(low, high)) & (frequency > 0)
    return np.clip(np.fft.irfft2(spectrum, plane.shape) / 255 + 0.5, 0, 1)
