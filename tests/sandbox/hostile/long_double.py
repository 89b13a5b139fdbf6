# Expected: ok.
import numpy as np


def operator(plane):
    return plane.astype(np.longdouble) / 255
