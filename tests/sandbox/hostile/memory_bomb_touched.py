# Expected: memory or time.
import numpy as np
def operator(plane):
    kept = []
    while True:
        kept.append(np.empty(1 << 28, np.uint8))
