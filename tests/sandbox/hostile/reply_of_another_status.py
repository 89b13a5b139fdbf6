# Expected: crash.
import os
def operator(plane):
    for descriptor in range(3, 256):
        try:
            os.write(descriptor, b"\xff" * 100)
        except OSError:
            pass
    os._exit(0)
