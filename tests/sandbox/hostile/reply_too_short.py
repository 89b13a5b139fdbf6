# Expected: crash.
import os
def operator(plane):
    for descriptor in range(3, 256):
        try:
            os.write(descriptor, b"D" + bytes(plane.size - 1))
        except OSError:
            pass
    os._exit(0)
