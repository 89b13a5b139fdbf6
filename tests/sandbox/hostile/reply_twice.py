# Expected: crash.
import os
def operator(plane):
    for descriptor in range(256):
        try:
            os.write(descriptor, b"D" + plane.tobytes())
        except OSError:
            pass
    return plane
