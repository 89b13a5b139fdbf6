# Expected: ok.
import random
import numpy as np
def operator(plane):
    np.random.seed(123)
    random.seed(4)
    np.random.seed = random.seed = lambda *a: None
    return plane
