# Expected: result.
import numpy as np
class Hidden(np.ndarray):
    def tobytes(self, order="C"):
        return b"D" * (1 << 20)
    def __array_finalize__(self, other):
        pass
def operator(plane):
    return plane.view(Hidden)
