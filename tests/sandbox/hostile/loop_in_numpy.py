# Expected: time or memory.
import numpy as np
def operator(plane):
    matrix = np.ones((9000, 9000))
    for _ in range(100):
        matrix = matrix @ matrix
    return plane
