# Expected: error.
import io, pickle
import numpy as np
class Bomb:
    def __reduce__(self):
        import os
        return os.execv, ("/bin/sh", ["sh", "-c", "touch /tmp/evoseg-canary"])
def operator(plane):
    return np.load(io.BytesIO(pickle.dumps(Bomb())), allow_pickle=True)
