# Expected: error.
import numpy as np
def operator(plane):
    from scipy.io import wavfile
    wavfile.write("/tmp/evoseg-canary.wav", 8000, plane.ravel())
    return plane
