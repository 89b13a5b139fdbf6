# Expected: result or error or crash.
import ctypes
import gc

import numpy as np


def operator(plane):
    # The dictionary behind a type's read-only one.
    (attributes,) = (found for found in gc.get_referents(np.ndarray.__dict__) if isinstance(found, dict))
    attributes["shape"] = property(lambda self: (32, 40))
    attributes["tobytes"] = lambda self: b"D" * 10**7
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(np.ndarray))
    return np.zeros(3)
